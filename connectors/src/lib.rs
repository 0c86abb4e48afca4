//! Sources and sinks of Thalweg, one feature each, and the codecs they share.
//!
//! - [`codec`]: how lines become values and values become lines;
//! - [`file`](mod@file) (feature `file`, on by default): CSV and JSON-lines files, plain or
//!   zstd-compressed;
//! - [`kafka`] (feature `kafka`): topics of Apache Kafka.
//!
//! A record that cannot be decoded is given on as a dead letter with its reason; only a source or
//! sink that is itself broken is an error.
#![deny(missing_docs)]

pub mod codec;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
