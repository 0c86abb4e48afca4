//! Sealed epochs, as far as the threads of one process share them: what a run goes on from, the
//! threads that write parts and seal manifests, and how far these have got.
//!
//! When state is taken, and of which records, is decided in the graph (`dataflow`); how it is kept
//! is [`checkpoint`](crate::checkpoint)'s business.
//!
//! Epochs have two numbers: the graph counts from 0 at each start, manifests go on counting over all
//! starts ([`Epochs::number`]).

mod ack;
#[cfg(test)]
mod cluster_tests;
mod comparison;
mod decision;
mod ends;
mod failpoint;
mod growth;
#[cfg(test)]
mod left_out_tests;
mod merger;
#[cfg(test)]
mod outside;
mod published;
#[cfg(test)]
mod restart_tests;
mod restored;
mod saver;
mod sealer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

pub(crate) use ack::Ack;
pub use comparison::Comparison;
use comparison::left;
pub(crate) use decision::{Decision, cannot_begin};
use ends::Ends;
pub(crate) use failpoint::Failpoint;
pub(crate) use growth::Growth;
pub(crate) use merger::MergePieces;
pub(crate) use restored::{Restored, RestoredSource};
pub(crate) use saver::{Reply, Save, Saved, WAITING};
pub(crate) use sealer::Sealing;

use crate::checkpoint::{
    CheckpointOptions, Checkpoints, Epoch, Generation, KeyGroups, PartWriter, StartFrom,
};
use crate::cluster::opening::FormError;
use crate::flow::Graph;
use crate::job::JobContext;

/// Epochs that are closed and not sealed yet, at most; beyond, the open one stays open.
const UNSEALED_MAX: u64 = 2;
/// Epochs whose outboxes are not published, at most.
const UNPUBLISHED_MAX: u64 = 8;
/// Bytes in outboxes that are not published, at most: beyond, sources pause.
const OUTBOX_BYTES_MAX: u64 = 256 << 20;
/// What the part of a step's keyed state is called.
const KEYS: &str = "keys";
/// Threads that write parts.
const SAVERS: usize = 2;

/// How a job takes checkpoints, and what it goes on from.
#[derive(Clone, Debug)]
pub struct Checkpointing {
    /// The pipeline's name: a place holds the checkpoints of one.
    pub pipeline: String,
    /// Where and how often.
    pub options: CheckpointOptions,
    /// What to go on from.
    pub from: StartFrom,
    /// Is the same when a job is started again because it has broken down. Once one of its starts has
    /// sealed an epoch, `from` counts no more: the next one goes on from the newest.
    pub start_token: Option<u64>,
    /// Whether one of these starts has sealed an epoch: then there are checkpoints, and where they are
    /// not found the job does not begin anew.
    pub has_sealed: bool,
    /// Whether the state of steps that are no longer there may be left behind.
    pub allow_dropped_state: bool,
    pub(crate) failpoint: Failpoint,
}

impl Checkpointing {
    /// Goes on from the newest checkpoint, if there is one.
    pub fn new(pipeline: &str, options: CheckpointOptions) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            options,
            from: StartFrom::Newest,
            start_token: None,
            has_sealed: false,
            allow_dropped_state: false,
            failpoint: Failpoint::default(),
        }
    }
}

/// What the threads of a job share about its epochs.
pub(crate) struct Epochs {
    options: CheckpointOptions,
    /// The epoch that the graph calls 0.
    first: Epoch,
    checkpoints: Checkpoints,
    writer: PartWriter,
    /// In the process that seals.
    generation: Mutex<Option<Generation>>,
    pub(crate) restored: Option<Restored>,
    saves: (Sender<Save>, Receiver<Save>),
    /// How many of the run's epochs are sealed.
    sealed: AtomicU64,
    outbox_bytes: AtomicU64,
    /// Whether process 0 says that sources have to wait.
    is_full_elsewhere: AtomicBool,
    /// By sink, the oldest epoch of the run that it has not published.
    unpublished: Mutex<BTreeMap<String, u64>>,
    /// By sink, the newest epoch that it has published, and the first of the run with whose seal that counts.
    published: Mutex<BTreeMap<String, (Epoch, u64)>>,
    pub(crate) failpoint: Failpoint,
    /// By step, what makes one of several pieces of its state.
    merges: Mutex<BTreeMap<String, MergePieces>>,
    /// Who is told that an epoch has been sealed.
    listeners: Mutex<Vec<Sender<()>>>,
    pipeline: String,
    start_token: Option<u64>,
    /// Tells the outputs of this row of checkpoints from those of others.
    lineage: u64,
    ends: Ends,
    /// The sources whose places are left behind: they are not in the graph any more.
    left: Vec<String>,
}

impl Epochs {
    /// Begins as was decided, with the generation in the process that seals, the first one; the states
    /// of the steps are there for workers that own these key groups.
    pub(crate) fn begin(
        config: &Checkpointing,
        graph: &Graph,
        decision: &Decision,
        generation: Option<Generation>,
        groups: KeyGroups,
    ) -> Result<Self, FormError> {
        let checkpoints = Checkpoints::open(&config.options, &config.pipeline);
        let checkpoints = checkpoints.map_err(cannot_begin)?;
        let share = (groups, generation.is_some());
        let restored = decision.restored.as_ref();
        let states = restored.map(|manifest| {
            let mut restored = Restored::load(&checkpoints, manifest, graph, share)?;
            if restored::lineage(manifest) != Some(decision.lineage) {
                restored.forget_published();
            }
            Ok(restored)
        });
        Ok(Self {
            pipeline: config.pipeline.clone(),
            start_token: config.start_token,
            lineage: decision.lineage,
            ends: Ends::default(),
            left: restored.map_or_else(Vec::new, |manifest| left(manifest, graph)),
            listeners: Mutex::default(),
            merges: Mutex::default(),
            first: decision.first,
            options: config.options.clone(),
            writer: checkpoints.writer(decision.generation),
            checkpoints,
            generation: Mutex::new(generation),
            restored: states.transpose()?,
            saves: unbounded(),
            sealed: AtomicU64::new(0),
            outbox_bytes: AtomicU64::new(0),
            is_full_elsewhere: AtomicBool::new(false),
            unpublished: Mutex::default(),
            published: Mutex::default(),
            failpoint: config.failpoint.clone(),
        })
    }

    /// Starts the threads that write parts.
    pub(crate) fn start(self: &Arc<Self>, job: &Arc<JobContext>) {
        for _ in 0..SAVERS {
            let (shared, epochs, saves) = (Arc::clone(job), Arc::clone(self), self.saves.1.clone());
            job.spawn("checkpoint-parts", move || {
                saver::run(&shared, &epochs, &epochs.writer, &saves);
            });
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.options.interval
    }

    /// The number under which the world knows an epoch of this run.
    pub(crate) fn number(&self, epoch: u64) -> Epoch {
        Epoch(self.first.0 + epoch)
    }

    /// Whether the open epoch may be closed, as those before it have been sealed and published.
    pub(crate) fn may_close(&self, open: u64) -> bool {
        let oldest = lock(&self.unpublished).values().min().copied();
        open < self.sealed.load(Ordering::Acquire) + UNSEALED_MAX
            && oldest.is_none_or(|oldest| open < oldest + UNPUBLISHED_MAX)
    }

    /// Whether sources have to wait until outboxes have been published.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox_bytes.load(Ordering::Relaxed) > OUTBOX_BYTES_MAX
            || self.is_full_elsewhere.load(Ordering::Relaxed)
    }

    /// Whether the open epoch is to be closed before it is due.
    pub(crate) fn is_hurried(&self) -> bool {
        self.outbox_bytes.load(Ordering::Relaxed) > OUTBOX_BYTES_MAX / 2
    }

    /// Notes how pieces of a step's state are made one.
    pub(crate) fn note_merge(&self, step: &str, merge: MergePieces) {
        lock(&self.merges).insert(step.to_owned(), merge);
    }

    /// Has a thread write parts.
    pub(crate) fn save(&self, save: Save) {
        // There is a receiver as long as there is this.
        let _ = self.saves.0.send(save);
    }

    /// Notes how many of the run's epochs are sealed.
    fn set_sealed(&self, sealed: u64) {
        self.sealed.store(sealed, Ordering::Release);
        // One that has not looked yet will see this, too.
        for listener in lock(&self.listeners).iter() {
            let _ = listener.try_send(());
        }
    }

    /// Takes note of how far process 0 has got.
    pub(crate) fn hear(&self, job: &JobContext, sealed: u64, is_full: bool) {
        self.is_full_elsewhere.store(is_full, Ordering::Relaxed);
        if let Some(last) = sealed.checked_sub(1) {
            let epoch = job.telemetry.gauge("checkpoint_epoch");
            epoch.set(self.number(last).0 as f64);
        }
        self.set_sealed(sealed);
    }

    /// Tells of it when an epoch has been sealed.
    pub(crate) fn subscribe(&self) -> Receiver<()> {
        let (teller, told) = bounded(1);
        lock(&self.listeners).push(teller);
        told
    }

    /// Under which name a sink notes outside how far it has published.
    pub(crate) fn slot(&self, sink: &str) -> String {
        published::slot(&self.pipeline, sink, Some(self.lineage))
    }

    /// Notes that an outbox has grown.
    pub(crate) fn add_outbox(&self, bytes: usize) {
        self.outbox_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that an outbox has been published.
    pub(crate) fn remove_outbox(&self, bytes: usize) {
        self.outbox_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Notes the oldest epoch of the run that a sink has still to publish.
    pub(crate) fn note_unpublished(&self, sink: &str, oldest: Option<u64>) {
        let mut unpublished = lock(&self.unpublished);
        match oldest {
            Some(oldest) => unpublished.insert(sink.to_owned(), oldest),
            None => unpublished.remove(sink),
        };
    }

    /// Notes that a sink has published all epochs up to this one, which those who seal are to know from an
    /// epoch of the run on.
    pub(crate) fn note_published(&self, sink: &str, epoch: Epoch, from: u64) {
        lock(&self.published).insert(sink.to_owned(), (epoch, from));
    }

    /// How many of the run's epochs are sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
