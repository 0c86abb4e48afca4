//! Where a source begins that has not read before.

use thalweg_engine::time::EventTime;

/// Where to begin with the partitions that are there when the job starts. Partitions that come later
/// are read from their beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStart {
    /// With the oldest record that is still there.
    #[default]
    Beginning,
    /// With what comes from now on.
    End,
    /// With the first record whose event time is at or after this instant; where there is none, with
    /// what comes from now on. The partition is read up to there.
    At(EventTime),
}
