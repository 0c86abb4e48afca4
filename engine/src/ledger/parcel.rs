//! Marks on their way from the process that made them to the one that reads the partition.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Ledger;
use super::page::{ChunkId, Page};

/// The marks of one page, packed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkPage {
    id: ChunkId,
    /// How many offsets in a row bear which marks.
    runs: Vec<(u16, u8)>,
}

impl MarkPage {
    fn new(id: ChunkId, marks: &[u8]) -> Self {
        let runs = marks.chunk_by(|one, next| one == next);
        let run = |run: &[u8]| (u16::try_from(run.len()).unwrap_or(u16::MAX), run[0]);
        Self {
            id,
            runs: runs.map(run).collect(),
        }
    }
}

impl Ledger {
    /// Takes the marks out that stand here of a partition which another process reads.
    pub(crate) fn take_marks(&self, (source, partition): (u16, u32)) -> Vec<MarkPage> {
        let mut pages = self.lock();
        let range = (source, partition, 0)..=(source, partition, u64::MAX);
        let (mut taken, mut done) = (Vec::new(), Vec::new());
        for (id, page) in pages.range_mut(range) {
            let (marks, chunks) = match page {
                Page::Open(chunk) => (chunk.take(), 1),
                Page::Uniform(uniform) => (uniform.spread().take(), uniform.chunks),
            };
            // Pens get their chunks under this lock only.
            if !matches!(page, Page::Open(chunk) if Arc::strong_count(chunk) > 1) {
                done.push(*id);
            }
            if marks.iter().any(|marks| *marks != 0) {
                let ids = (id.2..id.2 + chunks).map(|chunk| (id.0, id.1, chunk));
                taken.extend(ids.map(|id| MarkPage::new(id, &marks)));
            }
        }
        for id in done {
            pages.remove(&id);
        }
        taken
    }

    /// Adds marks that another process has made on records which this one reads.
    pub(crate) fn absorb(&self, page: &MarkPage) {
        let runs = page.runs.iter();
        let marks = runs.flat_map(|&(length, marks)| std::iter::repeat_n(marks, length.into()));
        self.open(page.id).absorb(marks);
    }
}
