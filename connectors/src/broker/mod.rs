//! What the sources and sinks of message brokers share.

mod delivery;
mod form;
pub(crate) mod outbox;
mod problem;
mod secret;
mod topics;

#[cfg(feature = "pulsar")]
pub use delivery::SLOT_HEADER;
#[cfg(feature = "kafka")]
pub(crate) use delivery::read_id;
pub use delivery::{EPOCH_HEADER, ID_HEADER, Reports};
pub(crate) use form::{Encoded, Form};
pub(crate) use problem::Problem;
pub use secret::Secret;
pub(crate) use secret::without_users;
pub(crate) use topics::Table;
pub use topics::Topics;
