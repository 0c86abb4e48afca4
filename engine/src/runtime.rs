//! Plans and runs a job.

use std::fmt;
use std::sync::Arc;

use crate::cluster::ClusterOptions;
use crate::cluster::form::{FormError, Formed, form};
use crate::cluster::hello::{Hello, Purpose};
use crate::cluster::peers::Peers;
use crate::dataflow::execute;
use crate::epochs::Epochs;
use crate::flow::{Flow, Graph};
use crate::guard::{self, guard};
use crate::job::{Failure, JobContext, JobOptions, Order, StopHandle};
use crate::key::{KEY_GROUPS, key_hash};
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
        let mut errors = cluster.check(options.workers);
        if options.checkpoints.is_some() && cluster.processes() > 1 {
            let error = "checkpoints are taken by a single process only, as yet: run one process with \
                         more workers, or a cluster without checkpoints";
            errors.push(error.to_owned());
        }
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
/// [`RunError::Lost`] when it ended because of other processes of the cluster. After the latter two
/// there may be threads left that hang: the process should end soon.
pub fn run(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    build: impl Fn(&mut Flow<'_>) -> BuildResult + Send + Sync + 'static,
) -> Result<(), RunError> {
    let graph = plan(&options, &build)?;
    let formed = match gather(&options, &graph, &stop) {
        Ok(formed) => formed,
        Err(FormError::Stopped) => return Ok(()),
        Err(FormError::Missing(reason)) => return Err(RunError::Lost(reason)),
        Err(FormError::Refused(reason)) => {
            let errors = vec![reason];
            return Err(PlanError { errors }.into());
        }
    };
    let job = prepare(options, telemetry, stop, &graph)?;
    let asked = Arc::downgrade(&job);
    job.telemetry
        .answer_with(move || asked.upgrade().map(|job| job.status()));
    let links = formed
        .zip(job.options.cluster.as_ref())
        .map(|(formed, cluster)| Peers::start(&job, formed, &cluster.hosts, cluster.process));
    let links = links
        .transpose()
        .map_err(|error| RunError::Lost(format!("cannot talk to the other processes: {error}")))?;
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
    })
}

/// Waits until the cluster is complete, where the job runs in one.
fn gather(
    options: &JobOptions,
    graph: &Graph,
    stop: &StopHandle,
) -> Result<Option<Formed>, FormError> {
    let Some(cluster) = &options.cluster else {
        return Ok(None);
    };
    let hello = Hello {
        cluster: cluster.name.clone(),
        pipeline: cluster.pipeline.clone(),
        process: cluster.process,
        processes: cluster.processes(),
        workers: options.workers,
        configuration: configuration(cluster, options, graph),
        generation: cluster.generation,
        incarnation: incarnation(options),
        purpose: Purpose::Messages,
    };
    form(cluster, hello, &options.clock, stop).map(Some)
}

/// A hash of all that must be the same in all processes.
fn configuration(cluster: &ClusterOptions, options: &JobOptions, graph: &Graph) -> u64 {
    let nodes = graph.nodes().iter();
    let nodes = nodes.map(|node| (&node.id, node.kind, &node.inputs));
    key_hash(&(
        cluster.fingerprint,
        env!("CARGO_PKG_VERSION"),
        options.order == Order::EventTime,
        options.tick,
        nodes.collect::<Vec<_>>(),
    ))
}

/// Tells this start of the process from all others.
fn incarnation(options: &JobOptions) -> u64 {
    let now = (options.clock.wall().as_micros(), options.clock.now_ns());
    key_hash(&(std::process::id(), now, std::ptr::from_ref(options).addr()))
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
