//! What can go wrong with checkpoints, and whether waiting helps.

use super::manifest::Epoch;

/// What kind of trouble a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no object of this name.
    NotFound,
    /// There is an object of this name already, and it is durable.
    AlreadyExists,
    /// There is no room left. Waiting for room helps.
    Full,
    /// The store cannot be reached or does not answer; what was asked for may have been done or
    /// not. Waiting helps.
    Unavailable,
    /// It may not be done with these rights.
    Denied,
    /// Anything else; waiting does not help.
    Other,
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// What kind of trouble it is.
    pub kind: StoreErrorKind,
    /// What the store says.
    pub reason: String,
}

impl StoreError {
    /// Trouble of a kind.
    pub fn new(kind: StoreErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// Whether waiting helps.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            StoreErrorKind::Full | StoreErrorKind::Unavailable
        )
    }
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The location is none that this program can use.
    #[error("checkpoint location `{location}` cannot be used: {reason}")]
    Location {
        /// The location as it was given.
        location: String,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// The store did not do what it was asked for.
    #[error("cannot {action} `{file}`: {source}; {}", remedy(source.kind))]
    Store {
        /// What was to be done, as a verb.
        action: &'static str,
        /// The object, with its location.
        file: String,
        /// What the store says.
        source: StoreError,
    },
    /// Another generation of the pipeline has been started: this one must end.
    #[error(
        "generation {generation} has been superseded: log entry `{file}` belongs to generation \
         {other}; only one cluster of a pipeline may run, so this one ends here"
    )]
    Superseded {
        /// The generation that must end.
        generation: u64,
        /// The generation that has taken its place.
        other: u64,
        /// The log entry that was lost.
        file: String,
    },
    /// A file is not what was written.
    #[error(
        "`{file}` is damaged: {reason}; restore it from a copy, or start from another checkpoint \
         or a savepoint with --from"
    )]
    Damaged {
        /// The file, with its location.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that must be there is not.
    #[error(
        "`{file}` is missing, but {needed_by} needs it; restore it from a copy, or start from \
         another checkpoint or a savepoint with --from"
    )]
    Missing {
        /// The file, with its location.
        file: String,
        /// What needs it.
        needed_by: String,
    },
    /// A file was written in a format that this build does not know.
    #[error(
        "`{file}` has format version {found}, and this build reads up to version {known}; use a \
         build at least as new as the one that wrote it"
    )]
    Format {
        /// The file, with its location.
        file: String,
        /// The version it has.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// The location holds the checkpoints of another pipeline.
    #[error(
        "`{location}` holds checkpoints of pipeline `{found}`, not of `{pipeline}`; give each \
         pipeline a location of its own"
    )]
    OtherPipeline {
        /// The location.
        location: String,
        /// The pipeline that was to use it.
        pipeline: String,
        /// The pipeline whose checkpoints are there.
        found: String,
    },
    /// What another process of the cluster has written is not seen here.
    #[error(
        "the fence of generation {generation}, which process 0 has begun, is not in `{location}` as this \
         process sees it: all processes need the same place of checkpoints; name one that they share"
    )]
    NotShared {
        /// The location.
        location: String,
        /// The generation that has been begun.
        generation: u64,
    },
    /// There is no such checkpoint.
    #[error("there is no {what} in `{location}`; {}", there_are(.known))]
    Unknown {
        /// What was asked for.
        what: String,
        /// The location.
        location: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// There is such a savepoint or copy already.
    #[error("`{0}` is there already; choose another name")]
    Taken(String),
    /// The caller asked for something that makes no sense: a mistake in the program.
    #[error("epoch {epoch} cannot be sealed: {reason}")]
    Draft {
        /// The epoch.
        epoch: Epoch,
        /// What is wrong.
        reason: String,
    },
}

impl CheckpointError {
    /// Whether the same call may succeed later: the store is full or away. Anything else is final.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_transient())
    }

    /// Whether there is no room in the store.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.kind == StoreErrorKind::Full)
    }
}

fn remedy(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Full => "free some room there",
        StoreErrorKind::Unavailable => "see that the store can be reached",
        StoreErrorKind::Denied => "give this program the right to read, write and delete there",
        StoreErrorKind::NotFound => "see that the location is the right one",
        StoreErrorKind::AlreadyExists | StoreErrorKind::Other => {
            "see that the location is in order, or choose another one"
        }
    }
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() {
        "nothing of the kind is there".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    }
}
