//! Plans and runs a job.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::dataflow::execute;
use crate::flow::{Flow, Graph};
use crate::guard::{self, guard};
use crate::job::{Failure, JobContext, JobOptions, StopHandle};
use crate::key::KEY_GROUPS;
use crate::start::start;
use crate::telemetry::Telemetry;
use crate::time::{millis, secs};
use crate::turns;

/// How long to wait before looking again whether a job can start: at first, and at most, after twice as
/// long each time.
const PAUSE_MIN: Duration = millis(500);
const PAUSE_MAX: Duration = secs(10);
/// How often to look meanwhile whether it is still to.
const GLANCE: Duration = millis(20);

/// What a closure that builds a flow returns.
pub type BuildResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Why a flow cannot be built: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// One line for each thing that is wrong, naming it and the remedy.
    pub errors: Vec<String>,
    /// Whether all of it may pass by itself, such as that a broker is away.
    pub may_pass: bool,
}

impl PlanError {
    /// What will not pass.
    pub(crate) fn of(errors: Vec<String>) -> Self {
        Self {
            errors,
            may_pass: false,
        }
    }
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
    /// It could not start in time, as something that it needs is away. It may do so another time.
    #[error("{0}; waited for {1:?}")]
    Away(PlanError, Duration),
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
        return Err(PlanError::of(vec![error]));
    }
    if let Some(cluster) = &options.cluster {
        let errors = cluster.check(options.workers);
        if !errors.is_empty() {
            return Err(PlanError::of(errors));
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
/// What a source or a sink needs and cannot reach yet, such as a broker, is waited for, for
/// [`JobOptions::start_timeout`] at most.
///
/// # Errors
/// [`RunError::Plan`] when nothing was started, [`RunError::Away`] when it may be another time, [`RunError::Failed`] when the run broke,
/// [`RunError::Lost`] when it ended because of other processes of the cluster, and
/// [`RunError::Superseded`] when it must not be started again, as another one has taken its place.
/// After all but the first two there may be threads left that hang: the process should end soon.
pub fn run(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    build: impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + 'static,
) -> Result<(), RunError> {
    let Some(graph) = plan_in_time(&options, &stop, &build)? else {
        return Ok(());
    };
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

/// Plans the flow, again and again while what it needs is away; nothing when the job was asked to stop
/// meanwhile.
fn plan_in_time(
    options: &JobOptions,
    stop: &StopHandle,
    build: impl Fn(&mut Flow<'_>) -> BuildResult,
) -> Result<Option<Graph>, RunError> {
    let clock = &options.clock;
    let begun_ns = clock.now_ns();
    let mut pause = PAUSE_MIN;
    loop {
        let error = match plan(options, &build) {
            Ok(graph) => return Ok(Some(graph)),
            Err(error) if error.may_pass => error,
            Err(error) => return Err(error.into()),
        };
        let waited = || Duration::from_nanos(clock.now_ns().saturating_sub(begun_ns));
        if waited() >= options.start_timeout {
            return Err(RunError::Away(error, waited()));
        }
        for reason in &error.errors {
            tracing::warn!(waiting_at_most = ?options.start_timeout, "cannot start yet: {reason}");
        }
        let until = (waited() + pause).min(options.start_timeout);
        while waited() < until {
            if stop.is_stopped() {
                return Ok(None);
            }
            turns::sleep(GLANCE);
        }
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

fn finish<'s>(
    flow: &mut Flow<'s>,
    build: impl Fn(&mut Flow<'s>) -> BuildResult,
) -> Result<Graph, PlanError> {
    let outcome = guard(|| build(flow));
    let (graph, mut error) = flow.finish();
    let mut add = |reason| {
        error.errors.push(reason);
        error.may_pass = false;
    };
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => add(reason.to_string()),
        Err(reason) => add(format!("the flow cannot be built: {reason}")),
    }
    if error.errors.is_empty() {
        Ok(graph)
    } else {
        Err(error)
    }
}
