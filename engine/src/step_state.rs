//! What a step must keep over a restart, as a checkpoint holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// All records that wait for the watermark.
    pub(crate) waiting: BTreeMap<KeyGroup, Vec<u8>>,
    /// How far the step's inputs have got.
    pub(crate) watermarks: WatermarkMerge,
}
