//! The pages of the ledger: the marks of many consecutive offsets of a partition, written out or, where
//! they are alike, folded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fates::READ;
use crate::record::Origin;

/// The offsets of a chunk.
pub(super) const CHUNK: u64 = 4096;
/// The marks in one word, a byte each.
const LANES: u64 = 8;
const WORDS: usize = (CHUNK / LANES) as usize;

/// Source, partition and number of a chunk.
pub(super) type ChunkId = (u16, u32, u64);

/// The chunk that a record's marks are in.
pub(super) fn chunk_id(origin: Origin) -> ChunkId {
    (origin.source, origin.partition, origin.offset / CHUNK)
}

/// The marks of consecutive offsets of one partition.
pub(super) struct Chunk([AtomicU64; WORDS]);

impl Chunk {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// The marks of each offset, in their order.
    pub(super) fn marks(&self) -> impl Iterator<Item = u8> {
        let words = self.0.iter().map(|word| word.load(Ordering::Relaxed));
        words.flat_map(u64::to_le_bytes)
    }

    /// The marks of the offset at this place.
    pub(super) fn marks_at(&self, place: u64) -> u8 {
        let word = self.0[(place / LANES) as usize].load(Ordering::Relaxed);
        word.to_le_bytes()[(place % LANES) as usize]
    }

    /// Takes all marks out.
    pub(super) fn take(&self) -> Vec<u8> {
        let words = self.0.iter().map(|word| word.swap(0, Ordering::Relaxed));
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// Adds marks, one to each offset from the first on.
    pub(super) fn absorb(&self, marks: impl IntoIterator<Item = u8>) {
        for (place, marks) in (0..CHUNK).zip(marks) {
            self.add(Lanes::of(place, marks));
        }
    }

    /// Adds marks that are in one word.
    pub(super) fn add(&self, lanes: Lanes) {
        let word = &self.0[(lanes.word % WORDS as u64) as usize];
        // A look costs less than a write that changes nothing.
        if word.load(Ordering::Relaxed) & lanes.marks != lanes.marks {
            word.fetch_or(lanes.marks, Ordering::Relaxed);
        }
    }
}

/// Marks on offsets that stand in one word, to be written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lanes {
    /// The word's number, counted from offset 0 of the partition.
    word: u64,
    marks: u64,
}

impl Lanes {
    /// These marks on one offset.
    pub(super) fn of(offset: u64, marks: u8) -> Self {
        Self {
            word: offset / LANES,
            marks: u64::from(marks) << (offset % LANES * 8),
        }
    }

    /// Adds marks of the same word; false where they are of another.
    pub(super) fn join(&mut self, other: Self) -> bool {
        let is_same = self.word == other.word;
        if is_same {
            self.marks |= other.marks;
        }
        is_same
    }
}

pub(super) enum Page {
    /// Still being marked.
    Open(Arc<Chunk>),
    /// Every record of the chunk, and of as many after it, bears the same marks.
    Uniform(Uniform),
}

/// Consecutive chunks whose records are at the same places and bear the same marks.
#[derive(Clone)]
pub(super) struct Uniform {
    pub(super) marks: u8,
    /// Where there are records in each chunk: stretches of offsets, from and until. Some sources'
    /// offsets have gaps.
    stretches: Box<[(u16, u16)]>,
    pub(super) chunks: u64,
}

impl Uniform {
    /// A chunk whose records all bear the same marks, and need no more of them.
    pub(super) fn of(chunk: &Chunk) -> Option<Self> {
        let (mut all, mut stretches) = (0, Vec::<(u16, u16)>::new());
        let mut extend = |place: u16, length: u16| match stretches.last_mut() {
            Some((_, until)) if *until == place => *until += length,
            _ => stretches.push((place, place + length)),
        };
        for (first, word) in (0_u16..).step_by(LANES as usize).zip(&chunk.0) {
            let word = word.load(Ordering::Relaxed);
            if all != 0 && word == u64::from_le_bytes([all; LANES as usize]) {
                extend(first, LANES as u16);
                continue;
            }
            for (place, marks) in (first..).zip(word.to_le_bytes()) {
                if marks == 0 {
                    continue;
                }
                if marks == READ || (all != 0 && all != marks) {
                    return None;
                }
                all = marks;
                extend(place, 1);
            }
        }
        (all != 0).then_some(Self {
            marks: all,
            stretches: stretches.into(),
            chunks: 1,
        })
    }

    pub(super) fn records(&self) -> u64 {
        let lengths = self.stretches.iter();
        self.chunks
            * lengths
                .map(|(from, until)| u64::from(until - from))
                .sum::<u64>()
    }

    /// The first record at or after a place in a chunk.
    pub(super) fn first(&self, place: u64) -> Option<u64> {
        let stretches = self.stretches.iter();
        let mut places = stretches.map(|(from, until)| (u64::from(*from), u64::from(*until)));
        places.find_map(|(from, until)| (place < until).then_some(from.max(place)))
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.marks == other.marks && self.stretches == other.stretches
    }

    /// So many of the chunks.
    pub(super) fn repeated(&self, chunks: u64) -> Self {
        Self {
            chunks,
            ..self.clone()
        }
    }

    /// One of the chunks, written out.
    pub(super) fn spread(&self) -> Chunk {
        let chunk = Chunk::new();
        for (from, until) in &self.stretches {
            for place in *from..*until {
                chunk.add(Lanes::of(place.into(), self.marks));
            }
        }
        chunk
    }
}
