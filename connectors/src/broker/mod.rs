//! What the sources and sinks of message brokers share.

mod delivery;
#[cfg(feature = "kafka")]
pub(crate) mod outbox;
mod problem;
mod secret;
mod topics;

#[cfg(feature = "kafka")]
pub use delivery::EPOCH_HEADER;
pub(crate) use delivery::write_id;
pub use delivery::{ID_HEADER, Reports};
pub(crate) use problem::Problem;
pub use secret::Secret;
pub(crate) use topics::Table;
pub use topics::Topics;
