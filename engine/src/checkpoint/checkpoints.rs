//! The checkpoints of one pipeline.

use std::sync::Arc;

use super::error::CheckpointError;
use super::generation::{Generation, GenerationId, StartFrom};
use super::groups::KeyGroups;
use super::load::Pieces;
use super::location::Location;
use super::manifest::{Epoch, Manifest};
use super::options::CheckpointOptions;
use super::part::{PartContent, PartRef, PartWriter};
use super::store::Store;
use super::verify::Verified;

/// The checkpoints of one pipeline in one place. Cheap to clone and to share.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    pub(super) store: Arc<dyn Store>,
    pub(super) pipeline: String,
    pub(super) options: Arc<CheckpointOptions>,
}

impl Checkpoints {
    /// Opens the checkpoints of a pipeline; there may be none yet. Nothing is written.
    ///
    /// # Errors
    /// When the location cannot be used, cannot be read, or is another pipeline's.
    pub fn open(options: &CheckpointOptions, pipeline: &str) -> Result<Self, CheckpointError> {
        let _ = (options, pipeline);
        unimplemented!()
    }

    /// Starts the pipeline's next generation: appends its fence to the log, so that every earlier one
    /// loses its next append, and finds what to restore.
    ///
    /// # Errors
    /// - [`CheckpointError::Superseded`] when another one begins at the same time and gets there first.
    /// - [`CheckpointError::Unknown`] when there is no such checkpoint to start from.
    /// - When the store cannot be used, or what it holds is damaged.
    pub fn begin(&self, from: &StartFrom) -> Result<Generation, CheckpointError> {
        let _ = from;
        unimplemented!()
    }

    /// What writes parts for a generation that another process has begun.
    pub fn writer(&self, generation: GenerationId) -> PartWriter {
        let level = self.options.compression_level;
        PartWriter::new(Arc::clone(&self.store), generation, level)
    }

    /// The newest sealed epoch, if there is any.
    ///
    /// # Errors
    /// When the store cannot be used, or the log is damaged at its end.
    pub fn newest(&self) -> Result<Option<Manifest>, CheckpointError> {
        unimplemented!()
    }

    /// The sealed epochs that are kept, oldest first.
    ///
    /// # Errors
    /// When the store cannot be used, or one of them is damaged.
    pub fn list(&self) -> Result<Vec<Manifest>, CheckpointError> {
        unimplemented!()
    }

    /// A sealed epoch that is kept.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`] when it is not, and as [`Checkpoints::list`].
    pub fn manifest(&self, epoch: Epoch) -> Result<Manifest, CheckpointError> {
        let _ = epoch;
        unimplemented!()
    }

    /// The state of a step in some key groups. Every byte of it has been checked.
    ///
    /// # Errors
    /// When a part is missing or damaged, naming it. A step that the manifest does not know has no state.
    pub fn load(
        &self,
        manifest: &Manifest,
        step: &str,
        groups: KeyGroups,
    ) -> Result<Pieces, CheckpointError> {
        let _ = (manifest, step, groups);
        unimplemented!()
    }

    /// The content of one part in some key groups. Every byte of it has been checked.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn read_part(
        &self,
        part: &PartRef,
        groups: KeyGroups,
    ) -> Result<PartContent, CheckpointError> {
        let _ = (part, groups);
        unimplemented!()
    }

    /// Reads everything that a kept checkpoint names, and tells what is wrong.
    ///
    /// # Errors
    /// When the store cannot be used; damage is no error here but a [`Problem`](super::Problem).
    pub fn verify(&self) -> Result<Verified, CheckpointError> {
        unimplemented!()
    }

    /// Copies a sealed epoch to `savepoints/NAME` in the same place, where it is kept for ever.
    ///
    /// # Errors
    /// [`CheckpointError::Taken`] when there is one of this name, and when the epoch cannot be read or
    /// the copy cannot be written.
    pub fn savepoint(&self, name: &str, epoch: Epoch) -> Result<Manifest, CheckpointError> {
        let _ = (name, epoch);
        unimplemented!()
    }

    /// The savepoints, by name.
    ///
    /// # Errors
    /// When the store cannot be used, or one of them is damaged.
    pub fn savepoints(&self) -> Result<Vec<(String, Manifest)>, CheckpointError> {
        unimplemented!()
    }

    /// Deletes a savepoint.
    ///
    /// # Errors
    /// [`CheckpointError::Unknown`] when there is none, and when the store refuses.
    pub fn delete_savepoint(&self, name: &str) -> Result<(), CheckpointError> {
        let _ = name;
        unimplemented!()
    }

    /// Copies a sealed epoch to another place, which must hold no checkpoints, in the same form.
    ///
    /// # Errors
    /// As [`Checkpoints::savepoint`].
    pub fn export(&self, epoch: Epoch, to: &Location) -> Result<Manifest, CheckpointError> {
        let _ = (epoch, to);
        unimplemented!()
    }
}
