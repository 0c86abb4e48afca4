//! Sources and sinks of Thalweg, one feature each, and the codecs they share.
//!
//! - [`codec`]: how lines become values and values become lines;
//! - [`file`](mod@file) (feature `file`, on by default): CSV and JSON-lines files, plain or
//!   zstd-compressed;
//! - [`log`] (feature `log`, on by default): an embedded log, for a durable broker-like source and
//!   sink without a service.
//!
//! A record that cannot be decoded is given on as a dead letter with its reason; only a source or
//! sink that is itself broken is an error.
#![deny(missing_docs)]

pub mod codec;
#[cfg(all(test, feature = "file", feature = "log"))]
mod conformance;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "log")]
pub mod log;
#[cfg(any(feature = "file", feature = "log"))]
mod probe;
