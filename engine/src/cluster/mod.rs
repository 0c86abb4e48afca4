//! Several processes that run one job together: how they find and trust each other, what they tell
//! each other beside the records, and how each notices that another one is gone.
//!
//! Every two processes hold two connections, which are made and authenticated here: one for records,
//! which the dataflow uses, and one for messages. A cluster lives and dies as one: a process that is
//! lost, stopped or hung ends all others, and whoever started them starts all of them again.

pub(crate) mod connection;
pub(crate) mod form;
mod frame;
pub(crate) mod hello;
pub mod hosts;
pub(crate) mod message;
pub(crate) mod opening;
mod options;
mod parting;
pub(crate) mod peers;
#[cfg(feature = "cluster-tls")]
mod pump;
mod roster;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(feature = "cluster-tls")]
mod tls;
mod watch;

pub use options::{ClusterOptions, TlsFiles};
