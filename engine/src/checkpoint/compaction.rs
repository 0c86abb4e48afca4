//! Compaction: making one base of a base and its changes.

use super::checkpoints::Checkpoints;
use super::error::CheckpointError;
use super::groups::KeyGroups;
use super::load::Piece;
use super::manifest::Epoch;
use super::part::{PartRef, PartWriter};
use crate::key::KeyGroup;

/// A merge that is worth doing: the parts of one content of a step, for the groups of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The step id.
    pub step: String,
    /// Which of the step's contents.
    pub content: String,
    /// The worker that owns the groups.
    pub worker: usize,
    /// The groups.
    pub groups: KeyGroups,
    /// The epoch at whose end the parts are merged.
    pub epoch: Epoch,
    parts: Vec<PartRef>,
}

impl Compaction {
    /// Reads the parts, has `merge` make one piece of those of each key group, and writes the new base.
    /// It counts once a draft of a later epoch names it; until then nothing changes. May run on any
    /// thread while further epochs are sealed; two runs of one give the same file.
    ///
    /// `merge` gets the pieces in order, and must give what restores the same state as they do one
    /// after the other, in the newest form (`state_version`, `fingerprint`).
    ///
    /// # Errors
    /// When a part is missing or damaged, or the new one cannot be written.
    pub fn run(
        &self,
        checkpoints: &Checkpoints,
        writer: &PartWriter,
        state_version: u32,
        fingerprint: u64,
        merge: &mut dyn FnMut(KeyGroup, &[Piece]) -> Result<Vec<u8>, String>,
    ) -> Result<PartRef, CheckpointError> {
        let _ = (
            checkpoints,
            writer,
            state_version,
            fingerprint,
            merge,
            &self.parts,
        );
        unimplemented!()
    }
}
