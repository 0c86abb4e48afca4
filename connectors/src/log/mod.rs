//! An embedded log: append-only topics with partitions and offsets, in a folder.
//!
//! What a broker gives, without the service: records with a key, an event timestamp and headers are
//! appended to a partition chosen by the key, keep their offsets, can be read from any offset while
//! more are written, by this process or by others, and outlive the processes.
//!
//! A log is a folder, a topic a folder in it:
//!
//! ```text
//! <log>/<topic>/topic.json                          the number of partitions
//!               lock                                held by the one process that writes
//!               <partition>/00000000000000004711.log    records from offset 4711 on
//!                           00000000000000004711.index  some offsets with their places in it
//! ```
//!
//! Each record carries its length and a checksum (CRC-32C). A process that is killed while it
//! writes leaves at most an unfinished record at the end of a partition; it is cut off, with a
//! warning in the logs, when the topic is next opened for writing, and readers never see it. Any
//! other damage, and offsets that are gone, end the reading with an error that names segment and
//! offset: nothing is skipped in silence.
//!
//! In a job with checkpoints, a topic that is written to gets the records of an epoch when it has been
//! sealed, each exactly once, with a note of it behind them that takes an offset and that readers do
//! not see.
//!
//! Left out: replication, consumer groups, compaction by key.

mod epochs;
mod error;
mod frame;
mod frames;
mod index;
mod partition;
mod partitioner;
mod progress;
#[cfg(test)]
mod property_tests;
mod reader;
#[cfg(test)]
mod recovery_tests;
mod segment;
mod settings;
mod sink;
mod source;
mod start;
mod tail;
#[cfg(test)]
mod testing;
mod topic;
mod writer;

pub use frame::{Headers, Message};
pub use partitioner::{murmur2, partition_of_key};
pub use settings::{Fsync, Retention};
pub use sink::LogSink;
pub use source::LogSource;
pub use start::LogStart;
