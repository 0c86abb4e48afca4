//! The streaming engine of Thalweg.
//!
//! A job is a [`flow::Flow`] of typed [`flow::Stream`]s, built once per worker by a deterministic
//! closure, and run by [`run`]. Sources and sinks plug in through [`source::Source`] and
//! [`sink::Sink`], stateful operators through [`keyed::KeyedStep`].
//!
//! The engine knows nothing of features, models or files: see the crates `thalweg-operators` and
//! `thalweg-connectors`. Users depend on the crate `thalweg`, which brings all of them.
#![deny(missing_docs)]

mod alignment;
pub mod checkpoint;
pub mod clock;
pub mod cluster;
mod dataflow;
mod desk;
mod epochs;
pub mod expiry;
pub mod flow;
mod flushes;
pub mod guard;
mod intake;
pub mod job;
pub mod key;
pub mod keyed;
pub mod ledger;
mod left_out;
pub mod letters;
pub mod look_ahead;
mod publisher;
mod pulse;
mod reader_thread;
pub mod record;
pub mod relation;
mod runtime;
mod silence;
pub mod sink;
pub mod source;
mod start;
pub mod state;
mod step_state;
pub mod telemetry;
pub mod testing;
pub mod time;
#[cfg_attr(
    not(feature = "simulation"),
    allow(unreachable_pub, reason = "only a simulation looks at it from outside")
)]
mod turns;
mod upkeep;
pub mod version;
pub mod watermark;

pub use epochs::{Checkpointing, Comparison};
/// A job whose threads take turns in an order that comes from a seed, under a clock of its own.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::turns::Defect;
    pub use crate::turns::seat::{Process, Running, Turns, is_killed, is_planted, pass};
}

pub use runtime::{BuildResult, PlanError, RunError, plan, run};
