//! Apache Kafka as a source and as a sink.
//!
//! [`Kafka`] says which cluster and how to get in; [`KafkaSource`] reads topics, [`KafkaSink`] writes
//! one.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource, Start};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Payment {
//!     card: u64,
//!     amount: f64,
//! }
//!
//! let kafka = Kafka::at("localhost:9092");
//! let payments = KafkaSource::<Payment>::json(&kafka, "payments")
//!     .group("fraud")
//!     .start(Start::Committed);
//! let checked = KafkaSink::<Payment>::json(&kafka, "checked").key(|p| Some(p.card.to_string()));
//! ```
//!
//! Partitions are assigned by the engine, not by a consumer group: no rebalance ever stops the
//! stream. A group, where one is named, is where a source notes how far everything is done, so that
//! its lag shows in everyone's tools.

mod admin;
mod client;
mod context;
mod epochs;
mod left_out;
mod limits;
mod message;
mod oauth;
mod outage;
mod problem;
mod produce;
mod progress;
mod reader;
mod scrubber;
mod security;
mod settings;
mod sink;
mod source;
mod start;
mod transactions;
mod writer;

/// The client itself, for benchmarks beside it.
#[doc(hidden)]
pub use rdkafka;

pub use crate::broker::{EPOCH_HEADER, ID_HEADER, Reports, Secret, Topics};
pub use message::{Header, Message};
pub use security::{Sasl, Tls};
pub use settings::Kafka;
pub use sink::{Headers, KafkaSink};
pub use source::KafkaSource;
pub use start::Start;
