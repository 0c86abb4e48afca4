//! Plans and runs a job.

use std::fmt;
use std::sync::Arc;

use crate::dataflow::execute;
use crate::epochs::Epochs;
use crate::flow::{Flow, Graph};
use crate::guard::{self, guard};
use crate::job::{JobContext, JobOptions, StopHandle};
use crate::key::KEY_GROUPS;
use crate::telemetry::Telemetry;

/// What a closure that builds a flow returns.
pub type BuildResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Why a flow cannot be built: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// One line for each thing that is wrong, naming it and the remedy.
    pub errors: Vec<String>,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.errors.join("\n"))
    }
}

impl std::error::Error for PlanError {}

/// Why a job did not come to a good end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It could not start.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It broke while it ran.
    #[error("{0}")]
    Failed(String),
}

/// Builds the flow without starting anything, checking all that can be checked beforehand.
///
/// # Errors
/// With everything that is wrong, together.
pub fn plan(
    options: &JobOptions,
    build: impl Fn(&mut Flow<'_>) -> BuildResult,
) -> Result<Graph, PlanError> {
    guard::install();
    if !(1..=KEY_GROUPS).contains(&options.workers) {
        let error = format!(
            "{} workers cannot share {KEY_GROUPS} key groups: give 1 to {KEY_GROUPS} workers",
            options.workers
        );
        let errors = vec![error];
        return Err(PlanError { errors });
    }
    let job = JobContext::new(options.clone(), Arc::default(), StopHandle::default());
    execute::build_only(&Arc::new(job), |flow| finish(flow, &build))
}

/// Plans the flow and runs it until its sources end, or `stop` is called.
///
/// A record on which a closure of a stateless step panics becomes a dead letter; a panic that may
/// have left state half changed ends the run. Neither is printed: a panic hook sees to that, which
/// calls the process's own for all other panics. Both need the default `panic = "unwind"`.
///
/// # Errors
/// [`RunError::Plan`] when nothing was started, [`RunError::Failed`] when the run broke.
pub fn run(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    build: impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + 'static,
) -> Result<(), RunError> {
    let graph = plan(&options, &build)?;
    let job = prepare(options, telemetry, stop, &graph)?;
    execute::run(&job, move |flow| match finish(flow, &build) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    job.end();
    job.join_threads();
    if let Some(failure) = job.failure() {
        return Err(RunError::Failed(failure));
    }
    job.run_endings();
    Ok(())
}

/// What the workers and threads share; with checkpoints, a new generation begins here.
fn prepare(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    graph: &Graph,
) -> Result<Arc<JobContext>, PlanError> {
    let mut job = JobContext::new(options, telemetry, stop);
    if let Some(config) = &job.options.checkpoints {
        let begun = Epochs::begin(config, graph);
        let mut epochs = begun.map_err(|error| PlanError {
            errors: error.lines().map(str::to_owned).collect(),
        })?;
        if let Some(restored) = &mut epochs.restored {
            job.telemetry.ledger().resume();
            job.restored = restored.take_states();
        }
        job.epochs = Some(Arc::new(epochs));
    }
    let job = Arc::new(job);
    if let Some(epochs) = &job.epochs {
        epochs.start(&job);
    }
    Ok(job)
}

fn finish<'s>(
    flow: &mut Flow<'s>,
    build: impl Fn(&mut Flow<'s>) -> BuildResult,
) -> Result<Graph, PlanError> {
    let outcome = guard(|| build(flow));
    let (graph, mut errors) = flow.finish();
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => errors.push(error.to_string()),
        Err(reason) => errors.push(format!("the flow cannot be built: {reason}")),
    }
    if errors.is_empty() {
        Ok(graph)
    } else {
        Err(PlanError { errors })
    }
}
