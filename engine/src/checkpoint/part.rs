//! Parts: files that hold a piece of a step's state, or of a sink's outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::CheckpointError;
use super::generation::GenerationId;
use super::groups::KeyGroups;
use super::manifest::Epoch;
use super::store::Store;
use crate::key::KeyGroup;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// All that a worker keeps: earlier parts no longer count for its groups, those without content
    /// included.
    Base,
    /// What has changed in an epoch: goes over what earlier parts say.
    Delta,
    /// A base made from earlier parts, as they stood at the end of its epoch.
    Merged,
    /// What a sink has to publish.
    Outbox,
}

impl PartKind {
    /// Whether earlier parts no longer count.
    pub fn is_base(self) -> bool {
        matches!(self, Self::Base | Self::Merged)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Delta => "delta",
            Self::Merged => "merged",
            Self::Outbox => "outbox",
        }
    }
}

/// What a part is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSpec {
    /// The epoch at whose end it was taken.
    pub epoch: Epoch,
    /// The id of the step or sink.
    pub step: String,
    /// Which of the step's contents it is, such as `keys` or `waiting`; each has bases and changes of
    /// its own.
    pub content: String,
    /// The worker, counted over all processes.
    pub worker: usize,
    /// The worker's process.
    pub process: usize,
    /// What it is.
    pub kind: PartKind,
    /// The key groups that a base is for; those of any other part are those with content.
    pub groups: KeyGroups,
    /// The version of the form in which the content is written.
    pub state_version: u32,
    /// Tells states of different types apart.
    pub fingerprint: u64,
}

/// The content of a part: bytes by key group, or by slot for an outbox.
pub type PartContent = BTreeMap<KeyGroup, Vec<u8>>;

/// A part that is durable, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRef {
    /// Its file in the store.
    pub file: String,
    /// The size of the file.
    pub bytes: u64,
    /// The hash of the file (xxh3).
    #[serde(with = "super::entry::hex")]
    pub xxh3: u64,
    /// What it is.
    pub kind: PartKind,
    /// Which of the step's contents it is.
    pub content: String,
    /// The epoch at whose end it was taken.
    pub epoch: Epoch,
    /// The worker that wrote it.
    pub worker: usize,
    /// The key groups it is for.
    pub groups: KeyGroups,
    /// The version of the form in which the content is written.
    pub state_version: u32,
    /// Tells states of different types apart.
    #[serde(with = "super::entry::hex")]
    pub fingerprint: u64,
}

/// Writes the parts of one generation. Cheap to clone; any number of threads may write at once.
#[derive(Clone, Debug)]
pub struct PartWriter {
    store: Arc<dyn Store>,
    generation: GenerationId,
    level: i32,
}

impl PartWriter {
    pub(super) fn new(store: Arc<dyn Store>, generation: GenerationId, level: i32) -> Self {
        Self {
            store,
            generation,
            level,
        }
    }

    /// Writes a part. It is durable when the call returns, and counts once a manifest names it.
    ///
    /// # Errors
    /// When the store does not take it; see [`CheckpointError::is_transient`]. Writing the same again
    /// is no error.
    pub fn write(
        &self,
        spec: &PartSpec,
        content: &PartContent,
    ) -> Result<PartRef, CheckpointError> {
        let _ = (spec, content, &self.store, self.generation, self.level);
        unimplemented!()
    }
}
