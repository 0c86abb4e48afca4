//! Sealed epochs, as far as the threads of one process share them: what a run goes on from, the
//! threads that write parts and seal manifests, and how far these have got.
//!
//! When state is taken, and of which records, is decided in the graph (`dataflow`); how it is kept
//! is [`checkpoint`](crate::checkpoint)'s business.
//!
//! Epochs have two numbers: the graph counts from 0 at each start, manifests go on counting over all
//! starts ([`Epochs::number`]).

mod ack;
mod failpoint;
mod restored;
mod saver;
mod sealer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded, unbounded};

pub(crate) use ack::Ack;
pub(crate) use failpoint::Failpoint;
pub(crate) use restored::{Restored, RestoredSource};
pub(crate) use saver::{Reply, Save, Saved};
pub(crate) use sealer::Sealing;

use crate::checkpoint::{
    CheckpointError, CheckpointOptions, Checkpoints, Epoch, Generation, StartFrom,
};
use crate::flow::Graph;
use crate::job::JobContext;
use crate::key::key_hash;
use crate::time::millis;
use crate::turns;

/// Epochs that are closed and not sealed yet, at most; beyond, the open one stays open.
const UNSEALED_MAX: u64 = 2;
/// Epochs whose outboxes are not published, at most.
const UNPUBLISHED_MAX: u64 = 8;
/// Bytes in outboxes that are not published, at most: beyond, sources pause.
const OUTBOX_BYTES_MAX: u64 = 256 << 20;
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
    generation: Mutex<Option<Generation>>,
    pub(crate) restored: Option<Restored>,
    saves: (Sender<Save>, Receiver<Save>),
    progress: Mutex<Progress>,
    moved: Condvar,
    /// As in the progress.
    sealed: AtomicU64,
    outbox_bytes: AtomicU64,
    /// By sink, the oldest epoch of the run that it has not published.
    unpublished: Mutex<BTreeMap<String, u64>>,
    /// By sink, the newest epoch that it has published.
    published: Mutex<BTreeMap<String, Epoch>>,
    pub(crate) failpoint: Failpoint,
    /// Who is told that an epoch has been sealed.
    listeners: Mutex<Vec<Sender<()>>>,
    pipeline: String,
    /// Tells the outputs of this row of checkpoints from those of others.
    lineage: u64,
}

/// How far the sealing has got.
#[derive(Default)]
struct Progress {
    /// How many of the run's epochs are sealed.
    sealed: u64,
}

impl Epochs {
    /// Begins a generation, and finds what to go on from.
    pub(crate) fn begin(config: &Checkpointing, graph: &Graph) -> Result<Self, String> {
        let begin = || {
            let checkpoints = Checkpoints::open(&config.options, &config.pipeline)?;
            let generation = checkpoints.begin(&config.from)?;
            Ok::<_, CheckpointError>((checkpoints, generation))
        };
        let (checkpoints, generation) = begin().map_err(|error| error.to_string())?;
        let restored = match generation.restored() {
            Some(manifest) => Some(Restored::load(&checkpoints, manifest, graph, config)?),
            None => None,
        };
        // Elsewhere, epochs have other numbers.
        let continued = restored.as_ref().and_then(|restored| restored.lineage);
        let continued = continued.filter(|_| !matches!(config.from, StartFrom::Elsewhere(_)));
        Ok(Self {
            pipeline: config.pipeline.clone(),
            lineage: continued.unwrap_or(generation.id().token),
            listeners: Mutex::default(),
            first: generation.next_epoch(),
            options: config.options.clone(),
            generation: Mutex::new(Some(generation)),
            restored,
            saves: unbounded(),
            progress: Mutex::default(),
            moved: Condvar::new(),
            sealed: AtomicU64::new(0),
            outbox_bytes: AtomicU64::new(0),
            unpublished: Mutex::default(),
            published: Mutex::default(),
            failpoint: config.failpoint.clone(),
        })
    }

    /// Starts the threads that write parts.
    pub(crate) fn start(self: &Arc<Self>, job: &Arc<JobContext>) {
        let writer = lock(&self.generation).as_ref().map(Generation::writer);
        for _ in 0..SAVERS {
            let Some(writer) = writer.clone() else { return };
            let (shared, epochs, saves) = (Arc::clone(job), Arc::clone(self), self.saves.1.clone());
            job.spawn("checkpoint-parts", move || {
                saver::run(&shared, &epochs, &writer, &saves);
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
    }

    /// Whether the open epoch is to be closed before it is due.
    pub(crate) fn is_hurried(&self) -> bool {
        self.outbox_bytes.load(Ordering::Relaxed) > OUTBOX_BYTES_MAX / 2
    }

    /// Whether a step has its whole state saved in the n-th epoch that it closes, so that what was
    /// saved before is no longer needed; each step in another one.
    pub(crate) fn is_base(&self, closed: u64, step: &str) -> bool {
        let every = (self.options.parts_per_base as u64).max(1);
        (closed.wrapping_add(key_hash(&step))).is_multiple_of(every)
    }

    /// Has a thread write parts.
    pub(crate) fn save(&self, save: Save) {
        // There is a receiver as long as there is this.
        let _ = self.saves.0.send(save);
    }

    /// Notes that one more epoch is sealed.
    fn note_sealed(&self) {
        let mut progress = lock(&self.progress);
        progress.sealed += 1;
        self.sealed.store(progress.sealed, Ordering::Release);
        self.moved.notify_all();
        // One that has not looked yet will see this, too.
        for listener in lock(&self.listeners).iter() {
            let _ = listener.try_send(());
        }
    }

    /// Waits until an epoch is sealed; false when the job ends before it is.
    pub(crate) fn wait_sealed(&self, epoch: u64, job: &JobContext) -> bool {
        let mut progress = lock(&self.progress);
        while progress.sealed <= epoch {
            if job.is_aborted() {
                return false;
            }
            if turns::is_simulated() {
                drop(progress);
                turns::sleep(millis(20));
                progress = lock(&self.progress);
                continue;
            }
            let waited = self.moved.wait_timeout(progress, millis(20));
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !job.is_aborted()
    }

    /// Tells of it when an epoch has been sealed.
    pub(crate) fn subscribe(&self) -> Receiver<()> {
        let (teller, told) = bounded(1);
        lock(&self.listeners).push(teller);
        told
    }

    /// Under which name a sink notes outside how far it has published.
    pub(crate) fn slot(&self, sink: &str) -> String {
        format!("{}/{sink}/{:016x}", self.pipeline, self.lineage)
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

    /// Notes that a sink has published all epochs up to this one.
    pub(crate) fn note_published(&self, sink: &str, epoch: Epoch) {
        lock(&self.published).insert(sink.to_owned(), epoch);
    }

    /// How many of the run's epochs are sealed.
    pub(crate) fn sealed(&self) -> u64 {
        self.sealed.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
