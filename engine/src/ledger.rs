//! The ledger of fates: what became of every single record that a source has read.
//!
//! Each record ends as exactly one of processed, late, dead-lettered, filtered or held. A record
//! that goes several ways through the graph leaves one mark on each; the gravest decides: a dead
//! letter before late, late before held, held before processed, and filtered only if it was
//! processed nowhere. A record that has left no mark at all is lost, which is a bug.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod fates;
mod page;
mod parcel;
mod pen;
#[cfg(test)]
mod tests;

pub use fates::{Fate, Fates};
use fates::{READ, is_done};
use page::{CHUNK, Chunk, ChunkId, Page, Uniform};
pub(crate) use parcel::MarkPage;
pub use pen::Pen;

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
        Pen::new(Arc::clone(self))
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
                // No record of this job's is without a mark of its reading; another job's is left out.
                Page::Uniform(uniform) if first < begin && uniform.marks & READ == 0 => {}
                Page::Uniform(uniform) => fates.count(uniform.marks, uniform.records()),
                Page::Open(chunk) => {
                    for (offset, marks) in (first..).zip(chunk.marks()) {
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
                    let is_open = |offset: &u64| !is_done(open.marks_at(offset % CHUNK));
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
            None => Chunk::new(),
            Some(Ok((first, uniform))) => {
                let mut put = |from: u64, until: u64| {
                    if from < until {
                        let part = uniform.repeated(until - from);
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
