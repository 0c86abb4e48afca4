//! A generation: one start of a pipeline, from its fence on.

use serde::{Deserialize, Serialize};

use super::checkpoints::Checkpoints;
use super::compaction::Compaction;
use super::error::CheckpointError;
use super::location::Location;
use super::manifest::{Epoch, Manifest, ManifestDraft};
use super::part::PartWriter;
use super::retention::Tidied;

/// Which generation it is; can be sent to the other processes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GenerationId {
    /// Counts the starts of the pipeline, from 1.
    pub number: u64,
    /// Tells two starts apart that take the same number at once.
    #[serde(with = "super::entry::hex")]
    pub token: u64,
}

/// Where a generation starts from.
#[derive(Clone, Debug, Default)]
pub enum StartFrom {
    /// The newest sealed epoch; nothing where there is none.
    #[default]
    Newest,
    /// A sealed epoch that is kept. What has been sealed after it is left behind; epochs count on
    /// from the newest one nevertheless.
    Epoch(Epoch),
    /// A savepoint of this name.
    Savepoint(String),
    /// The newest sealed epoch in another place, such as an exported checkpoint.
    Elsewhere(Location),
}

/// The one that seals epochs. A pipeline has one at a time: the next one fences it off.
#[derive(Debug)]
pub struct Generation {
    checkpoints: Checkpoints,
    id: GenerationId,
    restored: Option<Manifest>,
}

impl Generation {
    /// Which it is.
    pub fn id(&self) -> GenerationId {
        self.id
    }

    /// The checkpoint to restore state, offsets and outboxes from; none at a pipeline's first start.
    pub fn restored(&self) -> Option<&Manifest> {
        self.restored.as_ref()
    }

    /// The epoch to be sealed next.
    pub fn next_epoch(&self) -> Epoch {
        unimplemented!()
    }

    /// What writes parts for it.
    pub fn writer(&self) -> PartWriter {
        self.checkpoints.writer(self.id)
    }

    /// Seals the next epoch: from now on it is the newest checkpoint. Every part that the draft names
    /// must have been written.
    ///
    /// # Errors
    /// - transient ones: call again with the same draft, which is what is sealed even if the earlier
    ///   call had come through.
    /// - [`CheckpointError::Superseded`]: another generation has begun. This one must end without
    ///   publishing anything.
    /// - [`CheckpointError::Draft`]: the draft is for another epoch, or names a part of another generation.
    pub fn seal(&mut self, draft: &ManifestDraft) -> Result<Manifest, CheckpointError> {
        let _ = draft;
        unimplemented!()
    }

    /// Takes note that every slot of a sink has published its outboxes up to and with this epoch: later
    /// manifests no longer name them.
    pub fn published(&mut self, sink: &str, epoch: Epoch) {
        let _ = (sink, epoch);
        unimplemented!()
    }

    /// The outboxes that are sealed and not [published](Self::published), as `(sink, epoch)`.
    pub fn unpublished(&self) -> impl Iterator<Item = (&str, Epoch)> {
        std::iter::empty()
    }

    /// Deletes checkpoints beyond those to keep and what no kept checkpoint names; to be called after
    /// each seal. Whatever it cannot delete now it deletes the next time.
    ///
    /// # Errors
    /// When the store refuses. Nothing is lost then, so the job may go on.
    pub fn tidy(&mut self) -> Result<Tidied, CheckpointError> {
        unimplemented!()
    }

    /// The merges that are worth doing now, as of the epoch sealed last: one for each content of a step and
    /// worker whose changes have outgrown their base.
    pub fn compactions(&self) -> Vec<Compaction> {
        unimplemented!()
    }
}
