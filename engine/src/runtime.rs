//! Plans and runs a job.

use std::fmt;
use std::sync::Arc;

use crate::dataflow::execute;
use crate::flow::{Flow, Graph};
use crate::guard::{self, guard};
use crate::job::{Failure, JobContext, JobOptions, StopHandle};
use crate::key::KEY_GROUPS;
use crate::start::start;
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
    /// The cluster that it ran in, or was to run in, does not hold together.
    #[error("{0}")]
    Lost(String),
    /// Another start of the pipeline, with the same checkpoints, has taken over.
    #[error("{0}")]
    Superseded(String),
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
    if let Some(cluster) = &options.cluster {
        let errors = cluster.check(options.workers);
        if !errors.is_empty() {
            return Err(PlanError { errors });
        }
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
/// In a cluster, all processes begin and end together: the run waits for the others at both ends.
///
/// # Errors
/// [`RunError::Plan`] when nothing was started, [`RunError::Failed`] when the run broke,
/// [`RunError::Lost`] when it ended because of other processes of the cluster, and
/// [`RunError::Superseded`] when it must not be started again, as another one has taken its place.
/// After all but the first there may be threads left that hang: the process should end soon.
pub fn run(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    build: impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + 'static,
) -> Result<(), RunError> {
    let graph = plan(&options, &build)?;
    let Some((job, links)) = start(options, telemetry, stop, &graph)? else {
        return Ok(());
    };
    execute::run(&job, links, move |flow| match finish(flow, &build) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    job.end();
    job.join_threads();
    if let (Some(peers), None) = (job.peers(), job.failure()) {
        peers.end_together(&job);
    }
    if job.failure().is_none() {
        job.run_endings();
    }
    if let (Some(peers), None) = (job.peers(), job.failure()) {
        peers.part(&job);
    }
    let Some(failure) = job.failed() else {
        return Ok(());
    };
    job.peers().inspect(|peers| peers.leave(&job));
    Err(match failure {
        Failure::Own(reason) => RunError::Failed(reason),
        Failure::Cluster(reason) => RunError::Lost(reason),
        Failure::Superseded(reason) => RunError::Superseded(reason),
    })
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
