//! What a step must keep over a restart, as a checkpoint holds it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

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

/// What the steps of a process go on from, by step id, until their workers have taken it.
#[derive(Debug, Default)]
pub(crate) struct RestoredStates(Mutex<BTreeMap<String, StepState>>);

impl RestoredStates {
    pub(crate) fn new(states: BTreeMap<String, StepState>) -> Self {
        Self(Mutex::new(states))
    }

    /// Takes out what a worker goes on from that has these key groups of a step, with all that is
    /// known of watermarks; none for a step that begins anew.
    pub(crate) fn take(&self, step: &str, groups: KeyGroups) -> Option<StepState> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = states.get_mut(step)?;
        Some(StepState {
            keys: take_groups(&mut state.keys, groups),
            bases: KeyGroups::NONE,
            waiting: take_groups(&mut state.waiting, groups),
            watermarks: state.watermarks.clone(),
        })
    }
}

fn take_groups(
    content: &mut BTreeMap<KeyGroup, Vec<u8>>,
    groups: KeyGroups,
) -> BTreeMap<KeyGroup, Vec<u8>> {
    content
        .extract_if(.., |group, _| groups.contains(*group))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_takes_its_groups_and_nothing_is_left() {
        let content = || BTreeMap::from_iter((0..=u8::MAX).map(|n| (KeyGroup(n), vec![n])));
        let state = StepState {
            keys: content(),
            bases: KeyGroups::NONE,
            waiting: content(),
            watermarks: vec![WatermarkMerge::new(1)],
        };
        let restored = RestoredStates::new(BTreeMap::from([("count".to_owned(), state.clone())]));
        assert_eq!(restored.take("other", KeyGroups::ALL), None);
        let mut taken = BTreeMap::new();
        for worker in 0..3 {
            let own = restored.take("count", KeyGroups::of_worker(worker, 3));
            let own = own.expect("it was restored");
            assert_eq!(own.watermarks, state.watermarks);
            assert_eq!(own.keys, own.waiting);
            taken.extend(own.keys);
        }
        assert_eq!(taken, state.keys);
        let left = restored.take("count", KeyGroups::ALL);
        assert!(left.is_some_and(|left| left.keys.is_empty() && left.waiting.is_empty()));
    }
}
