//! Inference: scores for feature rows, by models that were trained elsewhere.
//!
//! A model is a folder (see [`ModelFolder`]): the graph, a manifest with the names of its inputs
//! and the hash of every file, and the reference that drift is measured against. [`Onnx`] loads
//! and tries it once; each worker builds its own [`OnnxModel`] from that. A [`Scorer`] binds a
//! [`Model`]'s inputs to the columns of feature rows by name and scores whole batches, where a bad
//! row costs no other row its score.
//!
//! A missing value is NaN in a feature row and arrives at the model as NaN: replacing it is part of
//! the graph, so that it is done as in training.
//!
//! The module is pure logic: it knows no streams, no clock and no dead letters. When rows are
//! scored together, and which version of a model is live, is not decided here.

mod batch;
mod binding;
mod error;
mod folder;
mod model;
mod onnx;
#[cfg(test)]
mod onnx_fixture;
mod onnx_graph;
mod onnx_plan;

pub use batch::Scorer;
pub use binding::Binding;
pub use error::{MissingFeature, ModelError, Side};
pub use folder::ModelFolder;
pub use model::{Model, ModelInfo};
pub use onnx::{Onnx, OnnxModel};
