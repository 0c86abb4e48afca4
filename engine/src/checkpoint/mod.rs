//! Checkpoints: the durable half of sealed epochs.
//!
//! A checkpoint is a set of *parts*, the state of steps and the outboxes of sinks as bytes, and a
//! [`Manifest`], which names them all with length and hash and thereby seals the epoch. Manifests
//! stand in a gap-free *log*, beside the fences of the generations that wrote them: entry `n` is
//! created only if it is absent, so of two generations that run at once exactly one gets each entry,
//! and the other one ends with [`CheckpointError::Superseded`].
//!
//! A process that seals calls [`Checkpoints::begin`], which fences everybody earlier off, and
//! restores from what [`Generation::restored`] gives, by [`Checkpoints::load`]. From then on its writers,
//! in this process and in others ([`Checkpoints::writer`]), write parts with [`PartWriter::write`],
//! and the generation seals epoch after epoch with [`Generation::seal`], each time with
//! [`Generation::tidy`] behind it.
//!
//! All calls block; none starts a thread. Every call can be made again after an error that
//! [is transient](CheckpointError::is_transient), as long as need be: nothing is written twice and nothing
//! is lost. But for [`Checkpoints::begin`], which leaves one more fence each time: where loading has
//! trouble, load again. Any damage is an error that names the file.
//!
//! What is in the parts, and when state is taken, is not this module's business.

mod chain;
mod checkpoints;
mod compaction;
mod entry;
mod envelope;
mod error;
mod generation;
mod groups;
mod load;
mod location;
mod log;
mod manifest;
mod options;
mod part;
mod retention;
mod savepoint;
pub mod store;
mod verify;

pub use checkpoints::Checkpoints;
pub use compaction::{Compaction, Merge};
pub use error::{CheckpointError, StoreError, StoreErrorKind};
pub use generation::{Generation, GenerationId, StartFrom};
pub use groups::KeyGroups;
pub use load::{Piece, Pieces};
pub use location::Location;
pub use manifest::{
    Epoch, Manifest, ManifestDraft, OutboxDraft, OutboxRecord, SourcePartition, SourceRecord,
    StepDraft, StepRecord,
};
pub use options::CheckpointOptions;
pub use part::{PartContent, PartKind, PartRef, PartSpec, PartWriter};
pub use retention::Tidied;
pub use verify::Verified;

#[cfg(test)]
mod tests;
