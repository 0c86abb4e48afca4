//! The operators of Thalweg: features over sliding windows, windows that fire, joins in time,
//! inference with ONNX models, drift statistics and evaluation against late labels.
//!
//! Each operator is pure logic in a module of its own ([`features`], [`firing`], [`join`],
//! [`infer`], [`drift`], [`evaluate`], over [`window`] and [`aggregate`]); [`flow`] gives streams the
//! methods that run them in a flow.
#![deny(missing_docs)]

pub mod aggregate;
pub mod drift;
pub mod evaluate;
pub mod features;
pub mod firing;
pub mod flow;
pub mod infer;
pub mod join;
#[cfg(test)]
mod soak;
pub mod window;

/// What a pipeline needs in scope.
pub mod prelude {
    pub use crate::drift::{Alert, AlertState, DriftReport, Watch};
    pub use crate::evaluate::QualityReport;
    pub use crate::features::{Correction, Features, HotKey};
    pub use crate::firing::{Timing, Window, WindowResult};
    pub use crate::flow::{
        DriftStreams, Evaluate, EvaluateStream, FeatureStream, Featured, KeyedFeatures, Predicted,
        Scored, ScoredStream, TimeJoins, WindowStream, WindowStreams, WithFeatures,
    };
    pub use crate::infer::Onnx;
    pub use crate::join::{AsOf, FullTable, Interval, LatePolicy, Lookup};
}
