//! HTTP as a sink: one request for each record, as a webhook or as a CloudEvent.
//!
//! Delivery is at least once: what fails in a way that may pass is tried again, after waits that
//! grow, and a record may then arrive twice. It carries an id that is the same each time.
//!
//! Addresses with `https://` need the feature `http-tls`.

mod message;
mod sink;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(feature = "http-tls")]
mod tls_tests;
mod writer;

pub use message::EventMode;
pub use sink::HttpSink;
