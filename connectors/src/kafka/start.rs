//! Where a source begins that has not read before.

use std::collections::BTreeMap;

use thalweg_engine::time::EventTime;

/// Where to begin with the partitions that are there when the job starts. Partitions that come later
/// are read from their beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is still there.
    #[default]
    Beginning,
    /// With what comes from now on.
    End,
    /// With the first record whose Kafka timestamp is at or after this instant; where there is none,
    /// with what comes from now on.
    At(EventTime),
    /// Where the source's group has got to; in a partition where it has nothing noted down, at the
    /// beginning.
    Committed,
    /// At these offsets, by topic and partition; in a partition that is not named, at the beginning.
    Offsets(BTreeMap<(String, u32), u64>),
}
