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
    /// Every record of the chunk bears the same marks.
    Uniform(u8),
}

/// The marks of all records of a job; shared by its workers and readers.
#[derive(Default)]
pub struct Ledger {
    pages: Mutex<BTreeMap<ChunkId, Page>>,
    /// Where the reading of each partition has begun, in a job that goes on from a checkpoint: what
    /// was read before is no matter of this job's, unless a step has taken it up again.
    begun: Mutex<Option<BTreeMap<(u16, u32), u64>>>,
}

impl Ledger {
    /// A pen with which one thread writes its marks.
    pub fn pen(self: &Arc<Self>) -> Pen {
        Pen {
            ledger: Arc::clone(self),
            chunk: None,
        }
    }

    /// Notes that the job goes on from a checkpoint.
    pub(crate) fn resume(&self) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.get_or_insert_default();
    }

    /// Notes where the reading of a partition begins.
    pub(crate) fn begin_at(&self, source: u16, partition: u32, offset: u64) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(begun) = &mut *begun {
            begun.insert((source, partition), offset);
        }
    }

    /// Counts the fates of all records read so far.
    pub fn fates(&self) -> Fates {
        let mut fates = Fates::default();
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for ((source, partition, number), page) in &*self.lock() {
            // Before this offset, records count only if they were taken up again.
            let begin = begun.as_ref().map_or(0, |begun| {
                begun
                    .get(&(*source, *partition))
                    .copied()
                    .unwrap_or(u64::MAX)
            });
            let first = number * CHUNK;
            match page {
                Page::Uniform(marks) if first + CHUNK <= begin && marks & READ == 0 => {}
                Page::Uniform(marks) => fates.count(*marks, CHUNK),
                Page::Open(chunk) => {
                    for (offset, marks) in (first..).zip(&chunk.0) {
                        let marks = marks.load(Ordering::Relaxed);
                        if offset >= begin || marks & READ != 0 {
                            fates.count(marks, 1);
                        }
                    }
                }
            }
        }
        fates
    }

    /// The first offset of a partition, from `from` on, whose record is not done with; `to` when all
    /// before it are. Offsets that hold no record count as done, records that are held do not.
    pub(crate) fn done_to(&self, source: u16, partition: u32, from: u64, to: u64) -> u64 {
        let mut offset = from;
        while offset < to {
            let id = (source, partition, offset / CHUNK);
            let end = ((id.2 + 1) * CHUNK).min(to);
            let chunk = match self.lock().get(&id) {
                None => None,
                Some(Page::Uniform(marks)) if is_done(*marks) => None,
                Some(Page::Uniform(_)) => return offset,
                Some(Page::Open(chunk)) => Some(Arc::clone(chunk)),
            };
            if let Some(chunk) = chunk {
                let marks = |offset: &u64| &chunk.0[(offset % CHUNK) as usize];
                let is_open = |offset: &u64| !is_done(marks(offset).load(Ordering::Relaxed));
                if let Some(open) = (offset..end).find(is_open) {
                    return open;
                }
            }
            offset = end;
        }
        offset.min(to).max(from)
    }

    fn open(&self, id: ChunkId) -> Arc<Chunk> {
        let mut pages = self.lock();
        let page = pages.entry(id).or_insert_with(|| {
            let blank = std::array::from_fn(|_| AtomicU8::new(0));
            Page::Open(Arc::new(Chunk(blank)))
        });
        match page {
            Page::Open(chunk) => Arc::clone(chunk),
            Page::Uniform(marks) => {
                let marked = std::array::from_fn(|_| AtomicU8::new(*marks));
                let chunk = Arc::new(Chunk(marked));
                *page = Page::Open(Arc::clone(&chunk));
                chunk
            }
        }
    }

    /// Folds the chunks of a partition before `id` that nobody writes to and whose marks are equal.
    fn fold_before(&self, id: ChunkId) {
        let mut pages = self.lock();
        for page in pages.range_mut((id.0, id.1, 0)..id).map(|(_, page)| page) {
            let Page::Open(chunk) = page else { continue };
            if Arc::strong_count(chunk) > 1 {
                continue;
            }
            let first = chunk.0[0].load(Ordering::Relaxed);
            let uniform = chunk
                .0
                .iter()
                .all(|marks| marks.load(Ordering::Relaxed) == first);
            if uniform && first != READ && first != 0 {
                *page = Page::Uniform(first);
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
}

impl Pen {
    /// Notes that a source has read the record.
    pub fn read(&mut self, origin: Origin) {
        let id = chunk_id(origin);
        if origin.offset.is_multiple_of(CHUNK) && id.2.is_multiple_of(64) {
            self.ledger.fold_before(id);
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
            .filter(|page| matches!(page, Page::Uniform(_)))
            .count();
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
