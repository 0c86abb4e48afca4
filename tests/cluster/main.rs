//! Clusters as an operator has them: real processes of the built programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod certificates;
mod checkpoints;
mod faults;
mod outputs;
#[path = "../place.rs"]
mod place;
#[allow(dead_code, reason = "other tests use the rest")]
mod process;
mod refusals;
mod supervised;
#[cfg(feature = "cluster-tls")]
mod tls;
