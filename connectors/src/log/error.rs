//! What can be wrong with a log, before it becomes the error of a source or of a sink.

use std::io;
use std::path::{Path, PathBuf};

use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::sink::SinkError;
use thalweg_engine::source::SourceError;

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("there is no topic `{topic}` in the log `{}`", log.display())]
    NoTopic { log: PathBuf, topic: String },
    #[error("`{0}` is no topic: only letters, digits, `.`, `_` and `-` may stand in its name")]
    TopicName(String),
    #[error("`{}` does not describe a topic: {reason}", path.display())]
    Topic { path: PathBuf, reason: String },
    #[error("the topic has {found} partitions, not {wanted}")]
    Partitions { found: u32, wanted: u32 },
    #[error("another writer has it open ({holder})")]
    Busy { holder: String },
    #[error(
        "segment `{}` is damaged at offset {offset} (byte {position}): {reason}",
        segment.display()
    )]
    Corrupt {
        segment: PathBuf,
        offset: u64,
        position: u64,
        reason: String,
    },
    #[error(
        "the records from offset {from} to {to} are gone: retention has removed them, or a segment is missing"
    )]
    Gone { from: u64, to: u64 },
    #[error("it ends at offset {end}, but was read up to offset {offset} before")]
    Ahead { offset: u64, end: u64 },
    #[error("a record cannot be written: {0}")]
    Record(String),
    #[error("what is left to be published of epoch {epoch} was made for another kind of sink")]
    Outbox { epoch: Epoch },
    #[error("an earlier write has failed, and what came after it is lost")]
    Broken,
    #[error("`{}`: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl LogError {
    /// Makes the error of an operation on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |error| Self::Io {
            path: path.to_owned(),
            error,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::NoTopic { .. } => "check both names, or write to the topic first",
            Self::TopicName(_) => "choose another name",
            Self::Topic { .. } => "restore the file from a copy of the log",
            Self::Partitions { .. } => "ask for as many as there are, or write to another topic",
            Self::Busy { .. } => "let it finish first: a topic has one writer at a time",
            Self::Corrupt { .. } => "restore the segment from a copy of the log",
            Self::Gone { .. } => {
                "raise the retention, and start from the beginning without the checkpoint"
            }
            Self::Ahead { .. } => {
                "restore the log as it was, or start from the beginning without the checkpoint"
            }
            Self::Record(_) => "leave it out before the sink",
            Self::Outbox { .. } => {
                "start with that one until all of it is published, and change it then"
            }
            Self::Broken => "see the first error",
            Self::Io { .. } => "check the folder, its permissions and the disk",
        }
    }

    /// The error of a source that cannot be opened.
    pub(crate) fn opening(self, what: &str) -> SourceError {
        SourceError::Open {
            what: what.to_owned(),
            reason: self.to_string(),
            remedy: self.remedy().to_owned(),
        }
    }

    /// The error of a source that broke while it was being read.
    pub(crate) fn reading(self, what: &str) -> SourceError {
        SourceError::Read {
            what: what.to_owned(),
            reason: format!("{self}; {}", self.remedy()),
        }
    }

    /// The error of a sink that cannot be opened.
    pub(crate) fn opening_sink(self, what: &str) -> SinkError {
        let (what, reason, remedy) = (what.to_owned(), self.to_string(), self.remedy().to_owned());
        match self {
            Self::Busy { .. } => SinkError::Busy {
                what,
                reason,
                remedy,
            },
            _ => SinkError::Open {
                what,
                reason,
                remedy,
            },
        }
    }

    /// The error of a sink that broke while it was being written.
    pub(crate) fn writing(self, what: &str) -> SinkError {
        SinkError::Write {
            what: what.to_owned(),
            reason: format!("{self}; {}", self.remedy()),
        }
    }
}
