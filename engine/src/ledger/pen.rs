//! What one thread writes its marks with.

use std::sync::Arc;

use super::Ledger;
use super::fates::{Fate, READ};
use super::page::{Chunk, ChunkId, Lanes, chunk_id};
use crate::record::Origin;

/// Pages that are begun before those that are finished are folded again.
const PAGES_UNFOLDED: u32 = 64;

/// Writes marks into a [`Ledger`]; remembers the page it wrote on last.
pub struct Pen {
    ledger: Arc<Ledger>,
    pub(super) chunk: Option<(ChunkId, Arc<Chunk>)>,
    /// How many pages it has begun to read records into.
    begun: u32,
}

impl Pen {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            chunk: None,
            begun: 0,
        }
    }

    /// Notes that a source has read the record.
    pub fn read(&mut self, origin: Origin) {
        self.read_all([origin]);
    }

    /// Notes that a source has read the records; those whose offsets are neighbours at once.
    pub fn read_all(&mut self, origins: impl IntoIterator<Item = Origin>) {
        self.write(origins, READ, |pen, id| {
            pen.begun += 1;
            if pen.begun.is_multiple_of(PAGES_UNFOLDED) {
                pen.ledger.fold_before(id);
            }
        });
    }

    /// Notes that a path of the record has ended.
    pub fn mark(&mut self, origin: Origin, fate: Fate) {
        self.mark_all([origin], fate);
    }

    /// Notes that a path of each of the records has ended; of those whose offsets are neighbours at
    /// once.
    pub fn mark_all(&mut self, origins: impl IntoIterator<Item = Origin>, fate: Fate) {
        let of_source = |origin: &Origin| origin.source != Origin::DERIVED;
        let origins = origins.into_iter().filter(of_source);
        self.write(origins, fate as u8, |_, _| {});
    }

    /// Writes marks, calling `turn` before another page is opened for it.
    pub(super) fn write(
        &mut self,
        origins: impl IntoIterator<Item = Origin>,
        marks: u8,
        mut turn: impl FnMut(&mut Self, ChunkId),
    ) {
        let mut unwritten = None::<Lanes>;
        for origin in origins {
            let (id, lanes) = (chunk_id(origin), Lanes::of(origin.offset, marks));
            if self.chunk.as_ref().is_none_or(|(open, _)| *open != id) {
                self.put_down(unwritten.take());
                turn(self, id);
                self.chunk = Some((id, self.ledger.open(id)));
            }
            let is_joined = unwritten.as_mut().is_some_and(|open| open.join(lanes));
            if !is_joined {
                let full = unwritten.replace(lanes);
                self.put_down(full);
            }
        }
        self.put_down(unwritten);
    }

    fn put_down(&self, lanes: Option<Lanes>) {
        if let (Some(lanes), Some((_, chunk))) = (lanes, &self.chunk) {
            chunk.add(lanes);
        }
    }
}
