//! Where a source begins that has not read before.

use std::collections::BTreeMap;

use thalweg_engine::time::EventTime;

use super::position::Position;

/// Where to begin with the partitions that are there when the job starts. Partitions that come later
/// are read from their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest message that is still there.
    #[default]
    Beginning,
    /// With what comes from now on.
    End,
    /// With the first entry that was published at or after this instant; where there is none, with
    /// what comes from now on.
    At(EventTime),
    /// With the messages at these positions, by topic (of a partitioned one, by the partition's own
    /// name, such as `payments-partition-0`); in one that is not named, at the beginning.
    Positions(BTreeMap<String, Position>),
}
