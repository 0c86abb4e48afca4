//! How a topic is written: when it is safe from a power cut, how long it is kept.

use std::time::Duration;

/// When what was written is brought to the disk itself.
///
/// A process that is killed loses nothing that was flushed, whatever this says; it is about the
/// machine losing its power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// At every flush: what was flushed stays.
    #[default]
    OnFlush,
    /// When a segment is complete, and at the end.
    OnSegment,
    /// When the operating system sees fit.
    Never,
}

/// What is kept of a partition. Whole segments are removed, oldest first, never the one being
/// written; a reader that still needed one is told so with an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    pub(crate) bytes: Option<u64>,
    pub(crate) age: Option<Duration>,
}

impl Retention {
    /// Keeps everything.
    pub const fn forever() -> Self {
        Self {
            bytes: None,
            age: None,
        }
    }

    /// Keeps, of each partition, the newest segments that have so many bytes together.
    #[must_use]
    pub const fn bytes(self, bytes: u64) -> Self {
        Self {
            bytes: Some(bytes),
            ..self
        }
    }

    /// Keeps segments for so long after they were last written to, by the wall clock.
    #[must_use]
    pub const fn age(self, age: Duration) -> Self {
        Self {
            age: Some(age),
            ..self
        }
    }
}

/// The settings of a topic's writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriterSettings {
    pub(crate) segment_bytes: u64,
    pub(crate) fsync: Fsync,
    pub(crate) retention: Retention,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            fsync: Fsync::default(),
            retention: Retention::forever(),
        }
    }
}
