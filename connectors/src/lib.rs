//! Sources and sinks of Thalweg, one feature each, and the codecs they share.
//!
//! - [`codec`]: how lines become values and values become lines;
//! - [`file`](mod@file): CSV and JSON-lines files, plain or compressed;
//! - [`generator`]: events made on the spot;
//! - [`http`]: a sink that posts webhooks or CloudEvents;
//! - `kafka`: topics of Apache Kafka, as source and sink;
//! - [`log`]: an embedded log, for a durable broker-like source and sink without a service;
//! - `pulsar`: topics of Apache Pulsar, as source and sink;
//! - [`stdout`]: standard output as a sink.
//!
//! Each is a feature of its own name, on by default. Off by default are `kafka`, `pulsar`, Parquet files (`parquet`), the
//! codecs `avro` and `protobuf`, the client of a schema `registry` that the first of them needs, and
//! `http-tls`, with which [`http`] and the registry reach `https://` addresses.
//!
//! A record that cannot be decoded is given on as a dead letter with its reason; only a source or
//! sink that is itself broken is an error.
#![deny(missing_docs)]

#[cfg(any(feature = "http", feature = "registry"))]
mod backoff;
#[cfg(any(feature = "kafka", feature = "pulsar"))]
mod broker;
pub mod codec;
#[cfg(test)]
#[cfg(all(feature = "file", feature = "generator", feature = "log"))]
mod conformance;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "generator")]
pub mod generator;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "log")]
pub mod log;
#[cfg(feature = "parquet")]
pub mod parquet;
#[cfg(any(feature = "file", feature = "log", feature = "parquet"))]
mod probe;
#[cfg(feature = "pulsar")]
pub mod pulsar;
#[cfg(feature = "stdout")]
pub mod stdout;
#[cfg(test)]
#[cfg(any(feature = "http", feature = "registry"))]
mod testing;
#[cfg(feature = "http-tls")]
#[cfg(any(feature = "http", feature = "registry"))]
mod tls;
