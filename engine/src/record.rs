//! What flows: records with their event time and origin, and the packets that carry them.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::time::EventTime;
use crate::watermark::Watermark;

/// What a stream can carry: anything that serde can write and read back.
///
/// Implemented for every type that meets the bounds.
pub trait Data: Clone + Send + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Serialize + DeserializeOwned + 'static> Data for T {}

/// Where a record came from: the place in the source, and an index that tells apart the records
/// that one source record became.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Origin {
    /// The source's number, in the order in which the flow declares its sources.
    pub source: u16,
    /// The source's partition.
    pub partition: u32,
    /// The record's offset in the partition.
    pub offset: u64,
    /// Which of the records made from the source record this is.
    pub index: u32,
}

impl Origin {
    /// The source number of records that no single source record made, such as a window's report.
    pub const DERIVED: u16 = u16::MAX;

    /// The origin of the `sequence`-th record that a step made from many.
    pub const fn derived(sequence: u64) -> Self {
        Self {
            source: Self::DERIVED,
            partition: 0,
            offset: sequence,
            index: 0,
        }
    }

    /// The origin of the `n`-th record made from the one with this origin. No two of them are equal
    /// as long as none of the records on the way has more than 1,000 made of it.
    #[must_use]
    pub const fn child(self, n: u32) -> Self {
        Self {
            index: self.index.wrapping_mul(1_000).wrapping_add(n),
            ..self
        }
    }
}

/// One value on its way through the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record<T> {
    /// When it happened.
    pub time: EventTime,
    /// Where it was read.
    pub origin: Origin,
    /// When the source read it, in nanoseconds of the job's [`Clock`](crate::clock::Clock).
    pub ingested_ns: u64,
    /// The value itself.
    pub value: T,
}

impl<T> Record<T> {
    /// The same record with another value.
    pub fn with<U>(&self, value: U) -> Record<U> {
        Record {
            time: self.time,
            origin: self.origin,
            ingested_ns: self.ingested_ns,
            value,
        }
    }

    /// The same record with its value transformed.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Record<U> {
        Record {
            time: self.time,
            origin: self.origin,
            ingested_ns: self.ingested_ns,
            value: f(self.value),
        }
    }
}

/// What travels on an edge of the graph: some records, then the sender's watermark after them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Packet<T> {
    /// The worker that sent it.
    pub(crate) from: usize,
    /// The worker it is for.
    pub(crate) to: usize,
    /// The records, in the sender's order.
    pub(crate) records: Vec<Record<T>>,
    /// The sender's watermark once the records have been taken in.
    pub(crate) watermark: Watermark,
}

impl<T> Packet<T> {
    /// A packet that stays on its worker.
    pub(crate) fn local(worker: usize, records: Vec<Record<T>>, watermark: Watermark) -> Self {
        Self {
            from: worker,
            to: worker,
            records,
            watermark,
        }
    }
}
