//! The thread that merges the changes of a step's state with their base, beside the workers.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::{Epochs, lock};
use crate::checkpoint::{Compaction, PartRef, Piece};
use crate::job::JobContext;
use crate::turns;

/// Makes one piece of those of a key group, for a step.
pub(crate) type MergePieces = fn(&str, &[Piece]) -> Result<Vec<u8>, String>;

/// A line to the thread.
pub(super) struct Merger {
    wanted: Sender<Compaction>,
    made: Receiver<(String, PartRef)>,
}

impl Merger {
    /// Starts the thread, which ends with this.
    pub(super) fn start(job: &Arc<JobContext>) -> Self {
        let (wanted, compactions) = unbounded();
        let (bases, made) = unbounded();
        let shared = Arc::clone(job);
        job.spawn("checkpoint-merge", move || {
            let Some(epochs) = &shared.epochs else { return };
            while let Ok(compaction) = turns::recv(&compactions) {
                if shared.is_over() {
                    return;
                }
                if let Some(base) = epochs.merge(&compaction) {
                    // Fails only when nothing is sealed any more.
                    let _ = bases.send((compaction.step, base));
                }
            }
        });
        Self { wanted, made }
    }

    pub(super) fn want(&self, compactions: Vec<Compaction>) {
        for compaction in compactions {
            // Fails only when the job is over.
            let _ = self.wanted.send(compaction);
        }
    }

    /// The bases that have been made since the last call, by step.
    pub(super) fn take(&self) -> impl Iterator<Item = (String, PartRef)> {
        self.made.try_iter()
    }
}

impl Epochs {
    /// Makes a new base; what fails now is asked for again later.
    fn merge(&self, compaction: &Compaction) -> Option<PartRef> {
        let step = &compaction.step;
        // A step that is no longer there keeps what it has.
        let merge = *lock(&self.merges).get(step)?;
        let mut pieces = |_, pieces: &[Piece]| merge(step, pieces);
        let made = compaction.run(&self.checkpoints, &self.writer, 1, 0, &mut pieces);
        made.inspect_err(|error| tracing::warn!(step, "changes are not merged: {error}"))
            .ok()
    }
}
