//! What processes tell each other beside the records.

use serde::{Deserialize, Serialize};

use super::opening::FormError;
use crate::job::Failure;
use crate::ledger::MarkPage;
use crate::telemetry::Figures;
use crate::time::EventTime;

/// A message of a running cluster, or of one that is about to run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Everybody has come to the sender.
    Ready,
    /// The sender is at work before the start, and not gone.
    Busy,
    /// What process 0 has decided for all, in words of its own.
    Decided(Vec<u8>),
    /// The sender has prepared itself for what was decided.
    Prepared,
    /// The sender cannot begin.
    CannotBegin(FormError),
    /// What time is it with you?
    Ask,
    /// Nanoseconds of the sender's clock.
    Now(u64),
    /// All begin, with their clocks put forward to this.
    Start(u64),
    /// The sender is alive; whether one of its workers is held up by a sink.
    Beat {
        is_held_up: bool,
    },
    /// How far the slowest of the sender's partitions has got in event time.
    Position(EventTime),
    /// The sender reads this partition of this source.
    Opened {
        source: u16,
        partition: u32,
    },
    /// What became of records that the receiver has read.
    Marks(Vec<MarkPage>),
    /// The event time at which a paced replay begins, and when that was.
    Pace {
        first: EventTime,
        started_ns: u64,
    },
    /// Flush all sinks, and say so with the same number.
    Flush(u64),
    Flushed(u64),
    /// Stop reading, and finish.
    Stop,
    /// The sender has broken down.
    Failed(Failure),
    /// How many epochs process 0 has sealed, and whether sources have to wait until more has been
    /// published.
    Epochs {
        sealed: u64,
        is_full: bool,
    },
    /// The sender's workers and sinks have come to a good end, and all its marks are sent.
    Ended,
    /// What the sender has measured.
    Figures(Box<Figures>),
    /// All have come to a good end.
    Done,
}
