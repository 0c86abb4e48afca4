//! The operators as methods of streams.

mod drift;
mod either;
mod evaluate;
mod feature_steps;
mod features;
mod idle_keys;
mod infer;
mod interval_step;
mod joins;
#[cfg(test)]
mod joins_tests;
#[cfg(test)]
mod panics_tests;
mod table_step;
mod windows;

pub use drift::DriftStreams;
pub use evaluate::{Evaluate, EvaluateStream, Predicted};
pub use features::{FeatureStream, Featured, KeyedFeatures, WithFeatures};
pub use infer::{Scored, ScoredStream};
pub use joins::TimeJoins;
pub use windows::{WindowStream, WindowStreams};
