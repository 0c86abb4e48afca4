//! The ledger of fates: what became of every single record that a source has read.
//!
//! Each record ends as exactly one of processed, late, dead-lettered, filtered or held. A record
//! that goes several ways through the graph leaves one mark on each; the gravest decides: a dead
//! letter before late, late before held, held before processed, and filtered only if it was
//! processed nowhere. A record that has left no mark at all is lost, which is a bug.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::record::Origin;

/// One way in which a record's path through the graph can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It reached the end of a path.
    Processed = 1,
    /// A step that says so has taken it out.
    Filtered = 2,
    /// It came too late for its watermark.
    Late = 4,
    /// It went to the dead letters.
    Dead = 8,
    /// It is still waiting in a step's state.
    Held = 16,
}

const READ: u8 = 128;
const CHUNK: u64 = 4096;

/// How many records have ended in which way; the five sum to `records_in`, or records were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Records that the sources have read.
    pub records_in: u64,
    /// Records that went through every step they should.
    pub processed: u64,
    /// Records that came too late.
    pub late: u64,
    /// Records in the dead letters.
    pub dead_letters: u64,
    /// Records that a filtering step took out everywhere.
    pub filtered: u64,
    /// Records still waiting in a step's state.
    pub held: u64,
}

impl Fates {
    /// Whether every record read has ended in exactly one way.
    pub fn balance(&self) -> bool {
        self.records_in
            == self.processed + self.late + self.dead_letters + self.filtered + self.held
    }

    fn count(&mut self, marks: u8, records: u64) {
        if marks & READ != 0 {
            self.records_in += records;
        }
        let has = |fate: Fate| marks & fate as u8 != 0;
        let counter = if has(Fate::Dead) {
            &mut self.dead_letters
        } else if has(Fate::Late) {
            &mut self.late
        } else if has(Fate::Held) {
            &mut self.held
        } else if has(Fate::Processed) {
            &mut self.processed
        } else if has(Fate::Filtered) {
            &mut self.filtered
        } else {
            return;
        };
        *counter += records;
    }
}

type ChunkId = (u16, u32, u64);

/// The marks of 4,096 consecutive offsets of one partition.
struct Chunk([AtomicU8; CHUNK as usize]);

enum Page {
    /// Still being marked.
    Open(Arc<Chunk>),
    /// Every record of the chunk, and of as many after it, bears the same marks.
    Uniform(Uniform),
}

/// Consecutive chunks whose records are at the same places and bear the same marks.
#[derive(Clone)]
struct Uniform {
    marks: u8,
    /// Where there are records in each chunk: stretches of offsets, from and until. Some sources'
    /// offsets have gaps.
    stretches: Box<[(u16, u16)]>,
    chunks: u64,
}

impl Uniform {
    /// A chunk whose records all bear the same marks, and need no more of them.
    fn of(chunk: &Chunk) -> Option<Self> {
        let (mut all, mut stretches) = (0, Vec::<(u16, u16)>::new());
        for (place, marks) in (0_u16..).zip(&chunk.0) {
            let marks = marks.load(Ordering::Relaxed);
            if marks == 0 {
                continue;
            }
            if marks == READ || (all != 0 && all != marks) {
                return None;
            }
            all = marks;
            match stretches.last_mut() {
                Some((_, until)) if *until == place => *until += 1,
                _ => stretches.push((place, place + 1)),
            }
        }
        (all != 0).then_some(Self {
            marks: all,
            stretches: stretches.into(),
            chunks: 1,
        })
    }

    fn records(&self) -> u64 {
        let lengths = self.stretches.iter();
        self.chunks
            * lengths
                .map(|(from, until)| u64::from(until - from))
                .sum::<u64>()
    }

    /// The first record at or after a place in a chunk.
    fn first(&self, place: u64) -> Option<u64> {
        let stretches = self.stretches.iter();
        let mut places = stretches.map(|(from, until)| (u64::from(*from), u64::from(*until)));
        places.find_map(|(from, until)| (place < until).then_some(from.max(place)))
    }

    fn is_like(&self, other: &Self) -> bool {
        self.marks == other.marks && self.stretches == other.stretches
    }

    fn spread(&self) -> Chunk {
        let chunk = Chunk(std::array::from_fn(|_| AtomicU8::new(0)));
        for (from, until) in &self.stretches {
            for marks in &chunk.0[usize::from(*from)..usize::from(*until)] {
                marks.store(self.marks, Ordering::Relaxed);
            }
        }
        chunk
    }
}

/// The marks of all records of a job; shared by its workers and readers.
#[derive(Default)]
pub struct Ledger {
    pages: Mutex<BTreeMap<ChunkId, Page>>,
}

impl Ledger {
    /// A pen with which one thread writes its marks.
    pub fn pen(self: &Arc<Self>) -> Pen {
        Pen {
            ledger: Arc::clone(self),
            chunk: None,
            begun: 0,
        }
    }

    /// Counts the fates of all records read so far.
    pub fn fates(&self) -> Fates {
        let mut fates = Fates::default();
        for page in self.lock().values() {
            match page {
                Page::Uniform(uniform) => fates.count(uniform.marks, uniform.records()),
                Page::Open(chunk) => {
                    for marks in &chunk.0 {
                        fates.count(marks.load(Ordering::Relaxed), 1);
                    }
                }
            }
        }
        fates
    }

    /// The first offset of a partition, from `from` on, whose record is not done with; `to` when all
    /// before it are. Offsets that hold no record count as done, records that are held do not.
    pub(crate) fn done_to(&self, source: u16, partition: u32, from: u64, to: u64) -> u64 {
        if from >= to {
            return from;
        }
        let pages = self.lock();
        let id = |chunk| (source, partition, chunk);
        // The page that `from` is in may begin before it.
        let before = pages.range(id(0)..=id(from / CHUNK)).next_back();
        let first = before.map_or(from / CHUNK, |(before, _)| before.2);
        for ((_, _, chunk), page) in pages.range(id(first)..=id((to - 1) / CHUNK)) {
            let start = (chunk * CHUNK).max(from);
            let open = match page {
                Page::Uniform(uniform) if is_done(uniform.marks) => None,
                Page::Uniform(uniform) => {
                    let end = (chunk + uniform.chunks) * CHUNK;
                    let chunks = [start / CHUNK, start / CHUNK + 1].into_iter();
                    let first = chunks.filter_map(|chunk| {
                        let place = start.saturating_sub(chunk * CHUNK);
                        Some(chunk * CHUNK + uniform.first(place)?)
                    });
                    first.filter(|offset| *offset < end).min()
                }
                Page::Open(open) if start / CHUNK == *chunk => {
                    let marks = |offset: &u64| &open.0[(offset % CHUNK) as usize];
                    let is_open = |offset: &u64| !is_done(marks(offset).load(Ordering::Relaxed));
                    (start..(chunk + 1) * CHUNK).find(is_open)
                }
                Page::Open(_) => None,
            };
            if let Some(open) = open {
                return open.min(to);
            }
        }
        to
    }

    fn open(&self, id: ChunkId) -> Arc<Chunk> {
        let mut pages = self.lock();
        let (source, partition, wanted) = id;
        let before = pages.range(..=id).next_back();
        let folded = before.and_then(|((its_source, its_partition, first), page)| {
            match page {
                Page::Open(chunk) if *first == wanted => Some(Err(Arc::clone(chunk))),
                Page::Uniform(uniform) if first + uniform.chunks > wanted => {
                    Some(Ok((*first, uniform.clone())))
                }
                _ => None,
            }
            .filter(|_| (*its_source, *its_partition) == (source, partition))
        });
        let chunk = match folded {
            Some(Err(chunk)) => return chunk,
            None => Chunk(std::array::from_fn(|_| AtomicU8::new(0))),
            Some(Ok((first, uniform))) => {
                let mut put = |from: u64, until: u64| {
                    if from < until {
                        let chunks = until - from;
                        let part = Uniform {
                            chunks,
                            ..uniform.clone()
                        };
                        pages.insert((source, partition, from), Page::Uniform(part));
                    }
                };
                put(wanted + 1, first + uniform.chunks);
                put(first, wanted);
                uniform.spread()
            }
        };
        let chunk = Arc::new(chunk);
        pages.insert(id, Page::Open(Arc::clone(&chunk)));
        chunk
    }

    /// Folds the chunks of a partition before `id` that nobody writes to and whose records' marks are
    /// equal; and those into one that follow each other and are like each other.
    fn fold_before(&self, id: ChunkId) {
        let mut pages = self.lock();
        let mut last: Option<(u64, Uniform)> = None;
        let mut merged = Vec::new();
        for ((_, _, chunk), page) in pages.range_mut((id.0, id.1, 0)..id) {
            if let Page::Open(open) = page {
                if Arc::strong_count(open) == 1
                    && let Some(uniform) = Uniform::of(open)
                {
                    *page = Page::Uniform(uniform);
                } else {
                    last = None;
                    continue;
                }
            }
            let Page::Uniform(uniform) = page else {
                continue;
            };
            match &mut last {
                Some((first, before))
                    if *first + before.chunks == *chunk && before.is_like(uniform) =>
                {
                    before.chunks += uniform.chunks;
                    merged.push((*chunk, *first, before.chunks));
                }
                last => *last = Some((*chunk, uniform.clone())),
            }
        }
        for (chunk, first, chunks) in merged {
            pages.remove(&(id.0, id.1, chunk));
            if let Some(Page::Uniform(uniform)) = pages.get_mut(&(id.0, id.1, first)) {
                uniform.chunks = chunks;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChunkId, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes marks into a [`Ledger`]; remembers the page it wrote on last.
pub struct Pen {
    ledger: Arc<Ledger>,
    chunk: Option<(ChunkId, Arc<Chunk>)>,
    /// How many pages it has begun to read records into.
    begun: u32,
}

impl Pen {
    /// Notes that a source has read the record.
    pub fn read(&mut self, origin: Origin) {
        let id = chunk_id(origin);
        if self.chunk.as_ref().is_none_or(|(open, _)| *open != id) {
            self.begun += 1;
            if self.begun.is_multiple_of(64) {
                self.ledger.fold_before(id);
            }
        }
        self.write(origin, READ);
    }

    /// Notes that a path of the record has ended.
    pub fn mark(&mut self, origin: Origin, fate: Fate) {
        if origin.source != Origin::DERIVED {
            self.write(origin, fate as u8);
        }
    }

    fn write(&mut self, origin: Origin, mark: u8) {
        let id = chunk_id(origin);
        if self.chunk.as_ref().is_none_or(|(open, _)| *open != id) {
            self.chunk = Some((id, self.ledger.open(id)));
        }
        if let Some((_, chunk)) = &self.chunk {
            let marks = &chunk.0[(origin.offset % CHUNK) as usize];
            if marks.load(Ordering::Relaxed) & mark == 0 {
                marks.fetch_or(mark, Ordering::Relaxed);
            }
        }
    }
}

/// Whether nothing is left to do for a record, or there is none.
fn is_done(marks: u8) -> bool {
    marks & READ == 0 || (marks & !READ != 0 && marks & Fate::Held as u8 == 0)
}

fn chunk_id(origin: Origin) -> ChunkId {
    (origin.source, origin.partition, origin.offset / CHUNK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(offset: u64) -> Origin {
        Origin {
            offset,
            ..Origin::default()
        }
    }

    fn check(marks: &[(u64, &[Fate])], expected: Fates) {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        for (offset, fates) in marks {
            pen.read(origin(*offset));
            fates
                .iter()
                .for_each(|fate| pen.mark(origin(*offset), *fate));
        }
        assert_eq!(ledger.fates(), expected);
    }

    #[test]
    fn the_gravest_mark_decides() {
        let one = Fates {
            records_in: 1,
            ..Fates::default()
        };
        check(
            &[(0, &[Fate::Processed, Fate::Filtered])],
            Fates {
                processed: 1,
                ..one
            },
        );
        check(&[(0, &[Fate::Filtered])], Fates { filtered: 1, ..one });
        check(
            &[(0, &[Fate::Processed, Fate::Dead])],
            Fates {
                dead_letters: 1,
                ..one
            },
        );
        check(&[(0, &[Fate::Late, Fate::Held])], Fates { late: 1, ..one });
        check(
            &[(0, &[Fate::Held, Fate::Processed])],
            Fates { held: 1, ..one },
        );
    }

    #[test]
    fn a_record_without_a_mark_upsets_the_balance() {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        pen.read(origin(3));
        assert!(!ledger.fates().balance());
        pen.mark(origin(3), Fate::Processed);
        assert!(ledger.fates().balance());
        pen.mark(origin(4), Fate::Processed);
        assert!(
            !ledger.fates().balance(),
            "a record that nobody read must show"
        );
    }

    #[test]
    fn done_means_that_every_record_before_has_ended() {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        let done_to = |from, to| ledger.done_to(0, 0, from, to);
        assert_eq!(done_to(5, 5), 5);
        // Between the records are offsets that hold none.
        for offset in [5, 7, 3 * CHUNK, 3 * CHUNK + 1] {
            pen.read(origin(offset));
        }
        let to = 3 * CHUNK + 2;
        assert_eq!(done_to(5, to), 5);
        pen.mark(origin(7), Fate::Late);
        assert_eq!(done_to(5, to), 5);
        pen.mark(origin(5), Fate::Processed);
        assert_eq!(done_to(5, to), 3 * CHUNK);
        pen.mark(origin(3 * CHUNK), Fate::Dead);
        pen.mark(origin(3 * CHUNK + 1), Fate::Held);
        assert_eq!(done_to(5, to), 3 * CHUNK + 1);
        assert_eq!(done_to(5, 100), 100);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn done_agrees_with_a_look_at_every_record(
            marks in proptest::collection::btree_map(0..3 * CHUNK, 0_u8..32, 0..40),
            dense in 0..2 * CHUNK,
            (from, to) in (0..3 * CHUNK, 0..3 * CHUNK),
        ) {
            let ledger = Arc::new(Ledger::default());
            let mut pen = ledger.pen();
            // Whole pages of records that are done, with some among them that may not be.
            let processed = Fate::Processed as u8;
            let all: BTreeMap<u64, u8> =
                (0..dense).map(|offset| (offset, processed)).chain(marks).collect();
            for (offset, marks) in &all {
                pen.read(origin(*offset));
                pen.write(origin(*offset), *marks);
            }
            drop(pen);
            ledger.fold_before((0, 0, 3));
            let is_open = |offset: &u64| {
                all.get(offset).is_some_and(|marks| *marks == 0 || marks & Fate::Held as u8 != 0)
            };
            let expected = (from..to).find(is_open).unwrap_or(to.max(from));
            prop_assert_eq!(ledger.done_to(0, 0, from, to), expected);
        }
    }

    /// Where a source's records are: one after the other, or with gaps, regular or not.
    fn laid_out(layout: u8, n: u64) -> u64 {
        match layout {
            0 => n,
            1 => n << 10,
            2 => ((n / 3) << 12) + n % 3,
            _ => n * 17 + n * n % 11 + ((n / 50) << 20),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn folding_changes_nothing(
            layout in 0_u8..4,
            count in 0_u64..600,
            held in proptest::collection::btree_set(0_u64..600, 0..3),
            dead in proptest::collection::vec(0_u64..600, 0..4),
            (from, to) in (0_u64..700, 0_u64..700),
        ) {
            let ledger = Arc::new(Ledger::default());
            let mut pen = ledger.pen();
            let place = |n| laid_out(layout, n);
            for n in 0..count {
                pen.read(origin(place(n)));
                pen.mark(origin(place(n)), if held.contains(&n) { Fate::Held } else { Fate::Processed });
            }
            pen.chunk = None;
            ledger.fold_before((0, 0, u64::MAX));
            for n in dead.iter().filter(|n| **n < count) {
                pen.mark(origin(place(*n)), Fate::Dead);
            }
            pen.chunk = None;
            ledger.fold_before((0, 0, u64::MAX));
            let is_dead = |n: &u64| dead.contains(n);
            let is_held = |n: &u64| held.contains(n);
            let fates = Fates {
                records_in: count,
                processed: (0..count).filter(|n| !is_dead(n) && !is_held(n)).count() as u64,
                dead_letters: (0..count).filter(is_dead).count() as u64,
                held: (0..count).filter(|n| is_held(n) && !is_dead(n)).count() as u64,
                ..Fates::default()
            };
            prop_assert_eq!(ledger.fates(), fates);
            let (from, to) = (place(from), place(to));
            let open = (0..count).filter(is_held).map(place).find(|n| (from..to).contains(n));
            prop_assert_eq!(ledger.done_to(0, 0, from, to), open.unwrap_or(to.max(from)));
        }
    }

    #[test]
    fn what_is_finished_takes_no_room_whatever_gaps_there_are() {
        for layout in 0..3 {
            let ledger = Arc::new(Ledger::default());
            let mut pen = ledger.pen();
            for n in 0..CHUNK * 300 {
                pen.read(origin(laid_out(layout, n)));
                pen.mark(origin(laid_out(layout, n)), Fate::Processed);
            }
            assert!(
                ledger.lock().len() < 140,
                "layout {layout}: {}",
                ledger.lock().len()
            );
        }
    }

    #[test]
    fn finished_pages_are_folded_and_can_still_be_marked() {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        let records = CHUNK * 130;
        for offset in 0..records {
            pen.read(origin(offset));
            pen.mark(origin(offset), Fate::Processed);
        }
        let folded = ledger
            .lock()
            .values()
            .filter_map(|page| match page {
                Page::Uniform(uniform) => Some(uniform.chunks),
                Page::Open(_) => None,
            })
            .sum::<u64>();
        assert!(folded >= 120, "{folded}");
        pen.mark(origin(1), Fate::Dead);
        let expected = Fates {
            records_in: records,
            processed: records - 1,
            dead_letters: 1,
            ..Fates::default()
        };
        assert_eq!(ledger.fates(), expected);
    }
}
