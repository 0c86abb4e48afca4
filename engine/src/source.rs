//! The contract of a source: plain configuration that opens one reader per partition.

use std::sync::Arc;
use std::time::Duration;

use crate::time::{EventTime, days, millis, secs};

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It is not there, or may not be opened.
    #[error("cannot open {what}: {reason}; {remedy}")]
    Open {
        /// What should have been opened.
        what: String,
        /// Why it could not.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// It cannot be reached now. A job that is to start waits for it.
    #[error("cannot reach {what} now: {reason}; {remedy}")]
    Away {
        /// What should have been opened.
        what: String,
        /// What happened.
        reason: String,
        /// What to do about it if it does not pass.
        remedy: String,
    },
    /// It broke while it was being read.
    #[error("cannot read on from {what}: {reason}")]
    Read {
        /// What was being read.
        what: String,
        /// What happened.
        reason: String,
    },
}

/// The configuration of a source of `T`.
pub trait Source<T>: Send + Sync + 'static {
    /// What is read, in words, for graphs and messages.
    fn describe(&self) -> String;

    /// Checks, before anything starts, that the source can be read.
    ///
    /// # Errors
    /// When it cannot, naming it and the remedy.
    fn check(&self) -> Result<(), SourceError>;

    /// The partitions there are. Each is read in order by one reader.
    ///
    /// Where the list grows over time, those that were there keep their numbers and their places in
    /// it: new ones come after them.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn partitions(&self) -> Result<Vec<u32>, SourceError>;

    /// What a partition is called where it comes from, for messages and dead letters: its number,
    /// unless the source says otherwise.
    fn partition_name(&self, partition: u32) -> String {
        partition.to_string()
    }

    /// The offset at which to begin with a partition that has not been read before: 0, unless the
    /// source says otherwise.
    ///
    /// # Errors
    /// When it cannot be told.
    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        let _ = (partition, found);
        Ok(0)
    }

    /// Opens a partition, to be read from `offset` on.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError>;

    /// How often to look for new partitions while the job runs; where it says never, which is so
    /// unless the source says otherwise, the source ends with the last of its partitions.
    fn discover_every(&self) -> Option<Duration> {
        None
    }

    /// How often to tell the source what is done, with [`commit`](Self::commit); never, unless the
    /// source says otherwise.
    fn commit_every(&self) -> Option<Duration> {
        None
    }

    /// Takes note that of each partition everything before the offset is done: it has gone through
    /// the graph, and what came of it is visible where the sinks write it, or it is in the state of
    /// a step.
    ///
    /// Called on a thread that may wait, and once more when the job has come to a good end.
    ///
    /// # Errors
    /// When it cannot be noted down; the job goes on, and the next call tells of it again.
    fn commit(&self, done: &[(u32, u64)]) -> Result<(), SourceError> {
        let _ = done;
        Ok(())
    }
}

/// When a partition was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was there when the job started.
    AtStart,
    /// It came while the job ran: everything in it is new.
    Later,
}

/// What a reader has to say after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// There may be more at once.
    More,
    /// There is nothing now; more may come later.
    Waiting,
    /// It cannot be told: what is read cannot be reached now. More may be there; the partition is not
    /// idle.
    Away,
    /// There will never be more.
    End,
}

/// A record that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// Why not.
    pub reason: String,
    /// Its bytes.
    pub raw: Vec<u8>,
}

/// Reads one partition, on a thread of its own unless it is [always ready](Reader::is_always_ready).
pub trait Reader<T>: Send {
    /// Appends at most `limit` records with their offsets, which only grow.
    ///
    /// A reader with nothing to give returns [`ReadStatus::Waiting`] after a few milliseconds at
    /// the latest, so that the job can end; or [`ReadStatus::Away`] where it cannot know. A record that
    /// cannot be decoded is given on as [`Undecodable`].
    ///
    /// # Errors
    /// When the source itself is broken: this ends the run.
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError>;

    /// Whether [`read`](Self::read) has something to give at once whenever it is called, up to the
    /// end: it waits for nothing and never says [`ReadStatus::Waiting`]. Such a reader needs no
    /// thread: the worker reads when it has room for more. So it is with what is in memory or made on
    /// the spot; not with files, which may keep a worker waiting. No unless a reader says otherwise.
    ///
    /// Asked once, before the first read. A paced replay has a thread for each reader nevertheless.
    fn is_always_ready(&self) -> bool {
        false
    }
}

/// Records as read, each with its offset.
pub type ReadBatch<T> = Vec<(u64, Result<T, Undecodable>)>;

/// How event time and watermarks come from a source's records.
pub struct EventTimes<T> {
    pub(crate) time_of: Arc<dyn Fn(&T) -> EventTime + Send + Sync>,
    pub(crate) policy: WatermarkPolicy,
}

impl<T> Clone for EventTimes<T> {
    fn clone(&self) -> Self {
        Self {
            time_of: Arc::clone(&self.time_of),
            policy: self.policy,
        }
    }
}

/// How watermarks follow event time, per source partition.
#[derive(Clone, Copy, Debug)]
pub struct WatermarkPolicy {
    pub(crate) disorder: Duration,
    pub(crate) lateness: Duration,
    pub(crate) late_within: Duration,
    pub(crate) idle_after: Duration,
    pub(crate) wall_clock_when_idle: bool,
    pub(crate) lead_max: Duration,
}

impl WatermarkPolicy {
    /// The watermark trails the greatest event time seen by `disorder`.
    ///
    /// Further defaults: no lateness; a partition with nothing for 5 seconds is idle; idle
    /// partitions follow the wall clock; an event may be stamped a day ahead of the wall clock.
    pub fn disorder(disorder: Duration) -> Self {
        Self {
            disorder,
            lateness: Duration::ZERO,
            late_within: Duration::ZERO,
            idle_after: secs(5),
            wall_clock_when_idle: true,
            lead_max: days(1),
        }
    }

    /// How far behind the watermark an event is still taken in; one further behind goes to the
    /// late stream.
    #[must_use]
    pub fn lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Has late events up to this far behind the watermark handed on nevertheless, for steps that
    /// have a use for them, such as windows with a lateness of their own; none unless set. Unlike
    /// for [`lateness`](Self::lateness), the watermark does not wait for them: they are processed as
    /// they come, in event-time order as well.
    #[must_use]
    pub fn hand_on_late(mut self, within: Duration) -> Self {
        self.late_within = within;
        self
    }

    /// After how long without data a partition no longer holds the watermark back. What counts is how
    /// long its reader has looked and found nothing: a job that is held up, or a source that cannot
    /// be reached, makes no partition idle. A millisecond at least.
    #[must_use]
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = idle_after.max(millis(1));
        self
    }

    /// Whether the watermark follows the wall clock while every partition is idle, so that windows
    /// close.
    #[must_use]
    pub fn wall_clock_when_idle(mut self, follows: bool) -> Self {
        self.wall_clock_when_idle = follows;
        self
    }

    /// How far ahead of the wall clock an event may be stamped; one further ahead is
    /// dead-lettered, so that one bad clock does not close everybody's windows.
    #[must_use]
    pub fn lead_max(mut self, lead: Duration) -> Self {
        self.lead_max = lead;
        self
    }

    /// How far the watermark trails the greatest event time.
    pub(crate) fn allowance(&self) -> Duration {
        self.disorder + self.lateness
    }
}

impl From<Duration> for WatermarkPolicy {
    fn from(disorder: Duration) -> Self {
        Self::disorder(disorder)
    }
}
