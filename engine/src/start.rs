//! What comes between the plan of a job and its first record: the cluster forms, where there is one, a
//! generation begins, where checkpoints are taken, and what was saved is read.

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{CheckpointError, Checkpoints, Generation, KeyGroups};
use crate::cluster::ClusterOptions;
use crate::cluster::form::form;
use crate::cluster::hello::{Hello, Purpose};
use crate::cluster::opening::{FormError, Opening};
use crate::cluster::peers::{Peers, RecordsLink};
use crate::epochs::{Decision, Epochs, WAITING, cannot_begin};
use crate::flow::Graph;
use crate::job::{JobContext, JobOptions, Order, StopHandle};
use crate::key::key_hash;
use crate::runtime::{PlanError, RunError};
use crate::step_state::RestoredStates;
use crate::telemetry::Telemetry;
use crate::time::secs;
use crate::turns;

/// How often to look whether there is room for a fence.
const RETRY: Duration = secs(1);

/// A job that may run, with what leads to the other processes, if there are any.
type Started = (Arc<JobContext>, Option<Vec<Option<RecordsLink>>>);

/// Starts what the workers of a job need; nothing when the job was asked to stop meanwhile.
pub(crate) fn start(
    options: JobOptions,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
    graph: &Graph,
) -> Result<Option<Started>, RunError> {
    let mut beginning = Beginning {
        options: &options,
        telemetry: &telemetry,
        stop: &stop,
        graph,
        generation: None,
        epochs: None,
    };
    let begun = match &options.cluster {
        None => beginning
            .decide()
            .and_then(|decided| beginning.prepare(&decided))
            .map(|()| None),
        Some(cluster) => {
            let hello = hello(cluster, &options, graph);
            form(cluster, hello, &options.clock, &stop, &mut beginning).map(Some)
        }
    };
    let formed = match begun {
        Ok(formed) => formed,
        Err(FormError::Stopped) => return Ok(None),
        Err(FormError::Missing(reason)) => return Err(RunError::Lost(reason)),
        Err(FormError::Away(reason)) => return Err(RunError::Failed(reason)),
        Err(FormError::Superseded(reason)) => return Err(RunError::Superseded(reason)),
        Err(FormError::Refused(reason)) => {
            let errors = reason.lines().map(str::to_owned).collect();
            return Err(PlanError::of(errors).into());
        }
    };
    let epochs = beginning.epochs;
    let mut job = JobContext::new(options, telemetry, stop);
    if let Some(mut epochs) = epochs {
        if let Some(restored) = &mut epochs.restored {
            job.telemetry.ledger().resume();
            job.restored = RestoredStates::new(restored.take_states());
        }
        job.epochs = Some(Arc::new(epochs));
    }
    let job = Arc::new(job);
    if let Some(epochs) = &job.epochs {
        epochs.start(&job);
    }
    let asked = Arc::downgrade(&job);
    job.telemetry
        .answer_with(move || asked.upgrade().map(|job| job.status()));
    let links = formed
        .zip(job.options.cluster.as_ref())
        .map(|(formed, cluster)| Peers::start(&job, formed, &cluster.hosts, cluster.process));
    let links = links
        .transpose()
        .map_err(|error| RunError::Lost(format!("cannot talk to the other processes: {error}")))?;
    Ok(Some((job, links)))
}

/// The beginning of a generation, in one process or in all of a cluster.
struct Beginning<'a> {
    options: &'a JobOptions,
    telemetry: &'a Telemetry,
    stop: &'a StopHandle,
    graph: &'a Graph,
    /// In the process that decides.
    generation: Option<Generation>,
    /// Once all is prepared; none in a job without checkpoints.
    epochs: Option<Epochs>,
}

impl Opening for Beginning<'_> {
    fn decide(&mut self) -> Result<Vec<u8>, FormError> {
        let Some(config) = &self.options.checkpoints else {
            return Ok(Vec::new());
        };
        let (telemetry, stop) = (self.telemetry, self.stop);
        let mut wait = |error: &CheckpointError| {
            tracing::warn!("the start waits: {error}");
            telemetry.set_waiting(WAITING, "fence", Some(error.to_string()));
            turns::sleep(RETRY);
            !stop.is_stopped()
        };
        let (generation, decision) = Decision::make(config, self.graph, &mut wait)?;
        telemetry.set_waiting(WAITING, "fence", None);
        self.generation = Some(generation);
        Ok(decision.to_bytes())
    }

    fn prepare(&mut self, decided: &[u8]) -> Result<(), FormError> {
        let Some(config) = &self.options.checkpoints else {
            return Ok(());
        };
        let (decision, generation) = (Decision::from_bytes(decided)?, self.generation.take());
        if generation.is_none() {
            // What this process saves would be missed at the next start.
            let checkpoints = Checkpoints::open(&config.options, &config.pipeline);
            let shared = checkpoints.and_then(|own| own.check_shared(decision.generation));
            shared.map_err(cannot_begin)?;
        }
        let groups = groups(self.options);
        let begun = Epochs::begin(config, self.graph, &decision, generation, groups)?;
        self.epochs = Some(begun);
        Ok(())
    }
}

/// The key groups that workers of this process own.
fn groups(options: &JobOptions) -> KeyGroups {
    let (process, workers) = (options.process(), options.workers);
    let own = process * workers..(process + 1) * workers;
    let groups = own.map(|worker| KeyGroups::of_worker(worker, options.all_workers()));
    groups.fold(KeyGroups::NONE, KeyGroups::union)
}

fn hello(cluster: &ClusterOptions, options: &JobOptions, graph: &Graph) -> Hello {
    Hello {
        cluster: cluster.name.clone(),
        pipeline: cluster.pipeline.clone(),
        process: cluster.process,
        processes: cluster.processes(),
        workers: options.workers,
        configuration: configuration(cluster, options, graph),
        generation: cluster.generation,
        incarnation: incarnation(options),
        purpose: Purpose::Messages,
    }
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
        options.checkpoints.is_some(),
        nodes.collect::<Vec<_>>(),
    ))
}

/// Tells this start of the process from all others.
fn incarnation(options: &JobOptions) -> u64 {
    let now = (options.clock.wall().as_micros(), options.clock.now_ns());
    key_hash(&(std::process::id(), now, std::ptr::from_ref(options).addr()))
}
