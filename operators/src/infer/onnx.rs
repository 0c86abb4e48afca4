//! Models in ONNX: what is loaded once, and what each worker runs.
//!
//! A graph runs up to three times faster when its number of rows is known in advance, so plans
//! are made for a few numbers of rows, and a batch is cut and padded to fit them. Two plans may
//! compute the same product by different kernels, whose sums round differently. Loading therefore
//! compares the plans on many rows and leaves out those whose scores are not, bit for bit, those
//! of the widest plan.
//!
//! Scores are equal to the bit on machines with the same kernels, that is of the same processor
//! family; another one may round the last bits differently.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::prelude::TypedSimplePlan;

use super::error::ModelError;
use super::folder::ModelFolder;
use super::model::{Model, ModelInfo};
use super::onnx_graph::Graph;
use super::onnx_plan::Runner;

/// The name of the graph in a model's folder.
pub(super) const FILE: &str = "model.onnx";

/// The numbers of rows that plans are made for, ascending.
///
/// A run costs about 5 us for 1 row, 7 for 4, 9 for 16 and 21 for 64 (perceptron, 32-16-1); wider
/// plans are no faster per row. With a factor of four in between, padding costs a large model at
/// most four times the work.
const PLAN_ROWS: [usize; 4] = [1, 4, 16, 64];

/// How many rows the plans are compared on; a power of two, several times the widest.
const PROBE_ROWS: usize = 256;

/// An ONNX model that was loaded, verified and tried: the plain data from which each worker builds
/// its own [`OnnxModel`]. Clones share it.
#[derive(Clone)]
pub struct Onnx {
    loaded: Arc<Loaded>,
}

struct Loaded {
    path: PathBuf,
    info: ModelInfo,
    features: Vec<String>,
    plans: Vec<(usize, Arc<TypedSimplePlan>)>,
}

impl Onnx {
    /// Loads the model in the folder `path`; see [`ModelFolder`] for what is in it.
    ///
    /// # Errors
    /// When the folder does not open, its graph cannot be read or does not have the names and
    /// shapes that `model.toml` gives, a row of zeros or a row of NaN has no finite score, or a
    /// row's score depends on the rows beside it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let folder = ModelFolder::open(path)?;
        let graph = Graph::read(&folder)?;
        let mut plans = Vec::new();
        for rows in PLAN_ROWS {
            plans.push((rows, graph.plan(rows)?));
        }
        let mut loaded = Loaded {
            path: graph.path().to_owned(),
            info: folder.info().clone(),
            features: folder.features().to_vec(),
            plans,
        };
        warm_up(&loaded.path, &mut loaded.runners()?, loaded.features.len())?;
        loaded.keep_agreeing_plans()?;
        Ok(Self {
            loaded: Arc::new(loaded),
        })
    }

    /// Which model it is.
    pub fn info(&self) -> &ModelInfo {
        &self.loaded.info
    }

    /// The names of the features it takes, in order.
    pub fn features(&self) -> &[String] {
        &self.loaded.features
    }

    /// Builds one worker's own model, and warms it up.
    ///
    /// # Errors
    /// When the warm-up fails.
    pub fn build(&self) -> Result<OnnxModel, ModelError> {
        let mut runners = self.loaded.runners()?;
        warm_up(&self.loaded.path, &mut runners, self.features().len())?;
        Ok(OnnxModel {
            loaded: Arc::clone(&self.loaded),
            runners,
        })
    }
}

impl std::fmt::Debug for Onnx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Loaded { path, info, .. } = &*self.loaded;
        f.debug_struct("Onnx")
            .field("path", path)
            .field("info", info)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    fn runners(&self) -> Result<Vec<Runner>, ModelError> {
        let new = |(rows, plan): &(usize, _)| Runner::new(plan, *rows, self.features.len());
        let runners: Result<_, _> = self.plans.iter().map(new).collect();
        runners.map_err(|reason| ModelError::Load {
            path: self.path.clone(),
            reason,
        })
    }

    /// Drops each plan whose scores differ from those of the widest in any bit.
    fn keep_agreeing_plans(&mut self) -> Result<(), ModelError> {
        let rows = probe_rows(self.features.len());
        let mut runners = self.runners()?;
        let widest = runners.len() - 1;
        let forward: Vec<usize> = (0..PROBE_ROWS).collect();
        // Other places, other neighbours; a permutation, as an odd number and a power of two are
        // coprime.
        let shuffled: Vec<usize> = forward.iter().map(|i| (i * 37 + 11) % PROBE_ROWS).collect();
        let expected = probe(&mut runners[widest], &rows, &forward);
        let mut agrees = |runner: usize| {
            let mut scores = |order| probe(&mut runners[runner], &rows, order);
            expected.is_some() && scores(&forward) == expected && scores(&shuffled) == expected
        };
        if expected.is_some() && !agrees(widest) {
            return Err(ModelError::MixesRows {
                path: self.path.clone(),
            });
        }
        let keep: Vec<bool> = (0..=widest).map(|i| i == widest || agrees(i)).collect();
        let mut keep = keep.into_iter();
        self.plans.retain(|_| keep.next().unwrap_or(false));
        Ok(())
    }
}

/// Checks that each plan has finite scores for a row of zeros, as padding is, and for a row of NaN,
/// where every feature is missing.
fn warm_up(path: &Path, runners: &mut [Runner], features: usize) -> Result<(), ModelError> {
    for runner in runners {
        for (name, value) in [("zeros", 0.0), ("missing features", f32::NAN)] {
            let mut scores = Vec::new();
            let row = vec![value; features];
            let failure = match runner.run(&row, &mut scores) {
                Ok(()) if scores[0].is_finite() => continue,
                Ok(()) => format!("the score of a row of {name} is {}", scores[0]),
                Err(reason) => format!("it cannot score a row of {name}: {reason}"),
            };
            return Err(ModelError::WarmUp {
                path: path.to_owned(),
                reason: failure,
            });
        }
    }
    Ok(())
}

/// Rows to compare plans on: half of the values missing, the others within 1 of zero, so that a
/// model that takes categories by number finds them in its tables.
fn probe_rows(features: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut value = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let unit = (state >> 41) as f32 / (1u32 << 23) as f32;
        if state >> 40 & 1 == 0 {
            f32::NAN
        } else {
            unit * 2.0 - 1.0
        }
    };
    (0..PROBE_ROWS * features).map(|_| value()).collect()
}

/// The bits of each row's score when the rows are scored in the given order; `None` when they
/// cannot be scored.
fn probe(runner: &mut Runner, rows: &[f32], order: &[usize]) -> Option<Vec<u32>> {
    let features = rows.len() / order.len();
    let ordered: Vec<f32> = order
        .iter()
        .flat_map(|row| &rows[row * features..][..features])
        .copied()
        .collect();
    let mut scores = Vec::new();
    for part in ordered.chunks(runner.rows() * features) {
        runner.run(part, &mut scores).ok()?;
    }
    let mut bits = vec![0; order.len()];
    for (row, score) in order.iter().zip(scores) {
        bits[*row] = score.to_bits();
    }
    Some(bits)
}

/// An ONNX model that is ready to score, one worker's own.
///
/// Rows are cut into parts that fit the plans; the last part is padded with rows of zeros.
pub struct OnnxModel {
    loaded: Arc<Loaded>,
    /// Ascending by rows.
    runners: Vec<Runner>,
}

impl Model for OnnxModel {
    fn info(&self) -> &ModelInfo {
        &self.loaded.info
    }

    fn features(&self) -> &[String] {
        &self.loaded.features
    }

    fn predict(&mut self, rows: &[f32], n: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
        let features = self.loaded.features.len();
        assert_eq!(
            rows.len(),
            n * features,
            "invariant: {n} rows of {features} features"
        );
        out.clear();
        while out.len() < n {
            let left = n - out.len();
            let widest = self.runners.len() - 1;
            let fitting = self.runners.iter().position(|runner| runner.rows() >= left);
            let runner = &mut self.runners[fitting.unwrap_or(widest)];
            let part = &rows[out.len() * features..][..left.min(runner.rows()) * features];
            runner
                .run(part, out)
                .map_err(|reason| ModelError::Predict {
                    model: self.loaded.info.name.clone(),
                    version: self.loaded.info.version.clone(),
                    reason,
                })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plans: Vec<usize> = self.runners.iter().map(Runner::rows).collect();
        f.debug_struct("OnnxModel")
            .field("info", &self.loaded.info)
            .field("plans", &plans)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "onnx_tests.rs"]
mod tests;
