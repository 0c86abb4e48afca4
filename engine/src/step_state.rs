//! What a step must keep over a restart, as a checkpoint holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::checkpoint::KeyGroups;
use crate::key::KeyGroup;
use crate::watermark::WatermarkMerge;

/// What a keyed step on one worker must keep over a restart.
///
/// Whatever belongs to a key stands under its key group, so that a restart with another number of
/// workers only hands groups round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepState {
    /// The state of the keys that have changed since it was last taken; what was taken earlier
    /// goes before it.
    pub(crate) keys: BTreeMap<KeyGroup, Vec<u8>>,
    /// The groups of which there are all keys, changed or not: nothing taken earlier counts.
    pub(crate) bases: KeyGroups,
    /// All records that wait for the watermark.
    pub(crate) waiting: BTreeMap<KeyGroup, Vec<u8>>,
    /// How far the step's inputs have got, by worker.
    pub(crate) watermarks: Vec<WatermarkMerge>,
}

impl StepState {
    /// The watermarks of the step on a worker that goes on from this; `is_local` says whether it has
    /// its own worker's records only.
    pub(crate) fn resume_watermarks(
        &self,
        (worker, workers): (usize, usize),
        inputs: usize,
        is_local: bool,
    ) -> WatermarkMerge {
        let own = self.watermarks.get(worker);
        let own = own.filter(|own| {
            // Alone at its end, it had nothing to read: that may be another now.
            self.watermarks.len() == workers && !(is_local && own.current().is_end())
        });
        match own {
            Some(own) => own.clone().resume(inputs),
            None => WatermarkMerge::unite(&self.watermarks, inputs, is_local),
        }
    }

    /// Adds what was taken next.
    pub(crate) fn extend(&mut self, later: Self) {
        self.keys.retain(|group, _| !later.bases.contains(*group));
        for (group, changes) in later.keys {
            self.keys.entry(group).or_default().extend(changes);
        }
        self.waiting = later.waiting;
        self.watermarks = later.watermarks;
    }
}
