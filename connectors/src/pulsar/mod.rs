//! Apache Pulsar as a source and as a sink.
//!
//! [`Pulsar`] says which cluster and how to get in; [`PulsarSource`] reads topics, [`PulsarSink`]
//! writes one.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use thalweg_connectors::pulsar::{Pulsar, PulsarSink, PulsarSource};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! struct Payment {
//!     card: u64,
//!     amount: f64,
//! }
//!
//! let pulsar = Pulsar::at("pulsar://localhost:6650");
//! let payments = PulsarSource::<Payment>::json(&pulsar, "payments");
//! let checked = PulsarSink::<Payment>::json(&pulsar, "checked").key(|p| Some(p.card.to_string()));
//! ```
//!
//! The connectors speak Pulsar's binary protocol themselves, on the threads of their readers and
//! writers. What a broker sends is trusted with nothing: frames, batches and what payloads have when
//! they are decompressed are bounded, and what cannot be read is a dead letter with its place.

mod batch;
mod client;
mod compression;
mod connection;
mod entry;
mod epochs;
mod feed;
mod frame;
mod message;
mod position;
mod problem;
mod producer;
mod protocol;
mod reader;
mod security;
mod settings;
mod sink;
mod source;
mod start;
mod stream;
mod topic_name;
mod writer;

pub use crate::broker::{EPOCH_HEADER, ID_HEADER, Reports, SLOT_HEADER, Secret, Topics};
pub use compression::Compression;
pub use message::Message;
pub use position::Position;
pub use security::Tls;
pub use settings::Pulsar;
pub use sink::{Properties, PulsarSink};
pub use source::{PulsarSource, SubscriptionKind};
pub use start::Start;
