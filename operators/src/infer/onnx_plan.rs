//! One plan of a graph, for a fixed number of rows, with the tensors a worker runs it with.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TractErrorContext;
use tract_onnx::tract_core::model::typed::TypedSimpleState;

use super::onnx_graph::contained;

/// Runs a plan on up to as many rows as it was built for; one worker's own.
pub(super) struct Runner {
    plan: Arc<TypedSimplePlan>,
    state: TypedSimpleState,
    /// The tensor of the last run, for the next.
    input: Arc<Tensor>,
    rows: usize,
    features: usize,
}

impl Runner {
    /// Prepares to run `plan`, which was built for `rows` rows of `features` features.
    pub(super) fn new(
        plan: &Arc<TypedSimplePlan>,
        rows: usize,
        features: usize,
    ) -> Result<Self, String> {
        contained(|| {
            Ok(Self {
                state: plan.spawn()?,
                plan: Arc::clone(plan),
                input: Arc::new(Tensor::zero::<f32>(&[rows, features])?),
                rows,
                features,
            })
        })
    }

    /// How many rows a run takes.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Scores `values`, whole rows and no more of them than [`Self::rows`]; appends to `scores`.
    pub(super) fn run(&mut self, values: &[f32], scores: &mut Vec<f32>) -> Result<(), String> {
        let done = contained(|| self.try_run(values, scores));
        if done.is_err() {
            // A run that broke off leaves values of its rows behind.
            self.state = contained(|| self.plan.spawn())?;
        }
        done
    }

    fn try_run(&mut self, values: &[f32], scores: &mut Vec<f32>) -> TractResult<()> {
        let n = values.len() / self.features;
        assert!(
            n <= self.rows && n * self.features == values.len(),
            "invariant: whole rows, few"
        );
        if Arc::get_mut(&mut self.input).is_none() {
            self.input = Arc::new(Tensor::zero::<f32>(&[self.rows, self.features])?);
        }
        let tensor = Arc::get_mut(&mut self.input).context("the input is still in use")?;
        let mut view = tensor.try_as_plain_ram_mut()?;
        let (filled, rest) = view.as_slice_mut::<f32>()?.split_at_mut(values.len());
        filled.copy_from_slice(values);
        // Zeros, because a row of zeros is known to be scored without failing.
        rest.fill(0.0);
        let outputs = self
            .state
            .run(tvec!(Arc::clone(&self.input).into_tvalue()))?;
        let view = outputs[0].try_as_plain_ram()?;
        scores.extend_from_slice(&view.as_slice::<f32>()?[..n]);
        Ok(())
    }
}
