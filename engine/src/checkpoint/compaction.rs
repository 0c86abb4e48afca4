//! Compaction: making one base of a base and its changes.

use super::checkpoints::Checkpoints;
use super::error::CheckpointError;
use super::groups::KeyGroups;
use super::load::{Piece, Pieces};
use super::log::shown;
use super::manifest::{Epoch, Manifest, StepRecord};
use super::options::CheckpointOptions;
use super::part::{PartContent, PartKind, PartRef, PartSpec, PartWriter};
use crate::key::KeyGroup;

/// Makes one piece of those of a key group, or says why they cannot be read.
pub type Merge<'m> = dyn FnMut(KeyGroup, &[Piece]) -> Result<Vec<u8>, String> + 'm;

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
    /// The merges that are worth doing after an epoch.
    pub(super) fn of(manifest: &Manifest, options: &CheckpointOptions) -> Vec<Self> {
        let mut all = Vec::new();
        for step in &manifest.steps {
            for content in contents(step) {
                for worker in 0..manifest.workers {
                    let groups = KeyGroups::of_worker(worker, manifest.workers);
                    let is_part = |part: &&PartRef| {
                        part.content == content && !part.groups.intersection(groups).is_empty()
                    };
                    let parts: Vec<_> = step.parts.iter().filter(is_part).cloned().collect();
                    if have_outgrown_base(&parts, options) {
                        all.push(Self {
                            step: step.id.clone(),
                            content: content.to_owned(),
                            worker,
                            groups,
                            epoch: manifest.epoch,
                            parts,
                        });
                    }
                }
            }
        }
        all
    }

    /// Reads the parts, has `merge` make one piece of those of each key group, and writes the new base.
    /// It counts once a draft of a later epoch names it; until then nothing changes. May run on any
    /// thread while further epochs are sealed.
    ///
    /// `merge` gets the pieces in order, and must give what restores the same state as they do one
    /// after the other, in the form that `state_version` and `fingerprint` tell; nothing where nothing is
    /// left.
    ///
    /// # Errors
    /// When a part is missing or damaged, when `merge` cannot read a piece, and when the base cannot be
    /// written.
    pub fn run(
        &self,
        checkpoints: &Checkpoints,
        writer: &PartWriter,
        state_version: u32,
        fingerprint: u64,
        merge: &mut Merge<'_>,
    ) -> Result<PartRef, CheckpointError> {
        let mut pieces = Pieces::read(&checkpoints.reader(), &self.parts, self.groups)?;
        let mut content = PartContent::new();
        for (group, pieces) in pieces.take(&self.content) {
            let merged = merge(group, &pieces).map_err(|reason| {
                let holds = |part: &&PartRef| part.groups.contains(group);
                let part = self.parts.iter().rfind(holds);
                let file = part.map_or_else(String::new, |part| part.file.clone());
                CheckpointError::Damaged {
                    file: shown(&*checkpoints.store, &file),
                    reason: format!("it, or a part before it, cannot be merged: {reason}"),
                }
            })?;
            if !merged.is_empty() {
                content.insert(group, merged);
            }
        }
        let spec = PartSpec {
            epoch: self.epoch,
            step: self.step.clone(),
            content: self.content.clone(),
            worker: self.worker,
            // Whoever merges, it is not the worker.
            process: 0,
            kind: PartKind::Merged,
            groups: self.groups,
            state_version,
            fingerprint,
        };
        writer.write(&spec, &content)
    }
}

fn contents(step: &StepRecord) -> Vec<&str> {
    let mut contents: Vec<_> = step.parts.iter().map(|part| &*part.content).collect();
    contents.sort_unstable();
    contents.dedup();
    contents
}

fn have_outgrown_base(parts: &[PartRef], options: &CheckpointOptions) -> bool {
    let bytes = |is_base: bool| -> u64 {
        let parts = parts.iter().filter(|part| part.kind.is_base() == is_base);
        parts.map(|part| part.bytes).sum()
    };
    let changes = parts.iter().filter(|part| !part.kind.is_base()).count();
    let (base_bytes, changes_bytes) = (bytes(true), bytes(false));
    changes > 0
        && (changes >= options.parts_per_base || options.have_outgrown(changes_bytes, base_bytes))
}
