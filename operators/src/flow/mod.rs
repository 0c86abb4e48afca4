//! The operators as methods of streams.

mod as_of;
mod drift;
mod evaluate;
mod features;
mod infer;
mod windows;

pub use as_of::AsOf;
pub use drift::DriftStreams;
pub use evaluate::{Evaluate, EvaluateStream, Predicted};
pub use features::{FeatureStream, Featured, KeyedFeatures, WithFeatures};
pub use infer::{Scored, ScoredStream};
pub use windows::{WindowStream, WindowStreams};
