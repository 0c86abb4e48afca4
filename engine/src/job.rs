//! What the workers and threads of one job share: options, clock, telemetry, how it stops.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alignment::Alignment;
use crate::clock::Clock;
use crate::cluster::ClusterOptions;
use crate::cluster::message::Message;
use crate::cluster::peers::Peers;
use crate::epochs::{Checkpointing, Epochs};
use crate::flushes::Flushes;
use crate::guard::guard;
use crate::letters::{DeadLetter, LateEvent};
use crate::pulse::Pulse;
use crate::record::Origin;
use crate::sink::{Deliveries, Delivery, Sink};
use crate::source::Source;
use crate::step_state::RestoredStates;
use crate::telemetry::{Health, Status, Telemetry};
use crate::time::{EventTime, days, millis, secs};
use crate::turns::{self, Thread};

/// In which order a keyed step processes its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As they arrive: lowest latency. Order within a key and source partition is kept.
    #[default]
    Arrival,
    /// By event time, then source, partition and offset, once the watermark has passed: the same
    /// results for any number of workers, any batch split, any replay.
    EventTime,
}

/// How fast a replay runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Flat out.
    #[default]
    Max,
    /// At this multiple of event time.
    Times(f64),
}

/// How a job runs. `JobOptions::default()` gives one worker in arrival order.
#[derive(Clone)]
pub struct JobOptions {
    /// Worker threads in this process.
    pub workers: usize,
    /// The order in which keyed steps process their records.
    pub order: Order,
    /// Records a reader hands over at once, at most.
    pub batch_records: usize,
    /// The interval at which sources advance the engine's time.
    pub tick: Duration,
    /// Records on their way through the graph, per source and worker, before the source pauses.
    pub in_flight_max: usize,
    /// How far, in event time, one source may read ahead of the slowest.
    pub drift_max: Duration,
    /// How long an idle worker polls before it parks.
    pub idle_spin: Duration,
    /// How fast sources replay.
    pub pace: Pace,
    /// The job's clock.
    pub clock: Clock,
    /// Where dead letters go that the flow leaves alone.
    pub dead_letters: Option<Arc<dyn Sink<DeadLetter>>>,
    /// Where late events go that the flow leaves alone.
    pub late: Option<Arc<dyn Sink<LateEvent>>>,
    /// How checkpoints are taken; none unless set.
    pub checkpoints: Option<Checkpointing>,
    /// How sinks deliver, where that is not left to them.
    pub deliveries: Deliveries,
    /// How long to wait, before the job starts, for what sources and sinks need and cannot reach yet, such
    /// as a broker.
    pub start_timeout: Duration,
    /// The cluster to run in with other processes, which build the same flow.
    pub cluster: Option<ClusterOptions>,
}

impl JobOptions {
    /// Which of the processes this is.
    pub(crate) fn process(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.process)
    }

    pub(crate) fn processes(&self) -> usize {
        self.cluster.as_ref().map_or(1, ClusterOptions::processes)
    }

    /// Worker threads in all processes together.
    pub(crate) fn all_workers(&self) -> usize {
        self.workers * self.processes()
    }

    /// How a sink delivers that is configured to deliver so.
    pub(crate) fn delivery(&self, sink: &str, configured: Delivery) -> Delivery {
        match self.checkpoints {
            Some(_) => self.deliveries.of(sink).unwrap_or(configured),
            None => Delivery::Immediate,
        }
    }

    /// Whether this process has what there is only one of, such as the one writer of a sink.
    pub(crate) fn is_first_process(&self) -> bool {
        self.process() == 0
    }
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            order: Order::Arrival,
            batch_records: 256,
            tick: millis(2),
            in_flight_max: 16_384,
            drift_max: days(1),
            idle_spin: Duration::from_micros(10),
            pace: Pace::Max,
            clock: Clock::system(),
            dead_letters: None,
            late: None,
            checkpoints: None,
            deliveries: Deliveries::default(),
            start_timeout: secs(180),
            cluster: None,
        }
    }
}

/// Asks a running job to stop reading and finish what it has.
#[derive(Clone, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Asks the job to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it has been asked to.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Shared by all workers, readers and writers of one job in this process.
pub(crate) struct JobContext {
    pub(crate) options: JobOptions,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) stop: StopHandle,
    pub(crate) alignment: Alignment,
    pub(crate) flushes: Flushes,
    pub(crate) pulse: Pulse,
    /// The event time at which a paced replay begins, and when that was.
    pace_origin: Mutex<Option<(EventTime, u64)>>,
    /// What steps go on from: nothing in a job that starts anew.
    pub(crate) restored: RestoredStates,
    /// None in a job without checkpoints.
    pub(crate) epochs: Option<Arc<Epochs>>,
    over: AtomicBool,
    aborted: AtomicBool,
    failure: Mutex<Option<Failure>>,
    /// The other processes, once the cluster is complete.
    peers: OnceLock<Arc<Peers>>,
    threads: Mutex<Vec<Thread>>,
    /// The configurations of sources, by number, as the first worker has made them.
    sources: Mutex<BTreeMap<u16, Box<dyn Any + Send>>>,
    endings: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl JobContext {
    pub(crate) fn new(options: JobOptions, telemetry: Arc<Telemetry>, stop: StopHandle) -> Self {
        Self {
            pulse: Pulse::new(options.workers),
            options,
            telemetry,
            stop,
            alignment: Alignment::default(),
            flushes: Flushes::default(),
            pace_origin: Mutex::default(),
            peers: OnceLock::new(),
            restored: RestoredStates::default(),
            epochs: None,
            over: AtomicBool::new(false),
            aborted: AtomicBool::new(false),
            failure: Mutex::new(None),
            threads: Mutex::new(Vec::new()),
            sources: Mutex::default(),
            endings: Mutex::default(),
        }
    }

    /// Ends the run; the first reason given is the one reported.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        self.abort(Failure::Own(reason.into()));
    }

    /// Ends the run because the cluster does not hold together; as [`JobContext::fail`].
    pub(crate) fn lose(&self, reason: impl Into<String>) {
        self.abort(Failure::Cluster(reason.into()));
    }

    /// Ends the run because another start of the pipeline has taken over; as [`JobContext::fail`].
    pub(crate) fn supersede(&self, reason: impl Into<String>) {
        self.abort(Failure::Superseded(reason.into()));
    }

    /// Ends the run because it has ended in another process; as [`JobContext::fail`].
    pub(crate) fn hear_failure(&self, process: usize, failure: Failure) {
        let is_superseded = matches!(failure, Failure::Superseded(_));
        let told = format!("process {process} has failed: {}", failure.into_reason());
        self.abort(if is_superseded {
            Failure::Superseded(told)
        } else {
            Failure::Cluster(told)
        });
    }

    fn abort(&self, reason: Failure) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
        self.aborted.store(true, Ordering::SeqCst);
        self.stop.stop();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::SeqCst) || turns::is_killed()
    }

    /// Notes that the graph has come down: there is nothing left for it to ask for.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether the graph has come down.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.is_aborted()
    }

    /// Why the job has failed, in words.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failed().map(Failure::into_reason)
    }

    /// Why the job has failed, and on whose account.
    pub(crate) fn failed(&self) -> Option<Failure> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// Lets the job know the other processes, before anything of it is built.
    pub(crate) fn join_cluster(&self, peers: Arc<Peers>) {
        let joined = self.peers.set(peers);
        assert!(joined.is_ok(), "invariant: a job is in one cluster");
    }

    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.get().map(|peers| &**peers)
    }

    /// Fails the job because a connection to another process broke, if it still needs it.
    pub(crate) fn note_broken(&self, process: usize, reason: &str) {
        match self.peers() {
            Some(peers) => peers.note_broken(process, &reason, self),
            None => self.lose(format!(
                "process {process} went away at the start: {reason}"
            )),
        }
    }

    /// Lets the other processes know that this one reads a partition: what becomes of its records
    /// elsewhere is to be told here.
    pub(crate) fn note_opened(&self, source: u16, partition: u32) {
        if let Some(peers) = self.peers() {
            peers.tell_all(self, || Message::Opened { source, partition });
        }
    }

    /// The event time at which a paced replay begins and when that was; where nobody has said so
    /// yet, it begins now, at `time`.
    pub(crate) fn pace_origin(&self, time: EventTime) -> (EventTime, u64) {
        let mut origin = self
            .pace_origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *origin.get_or_insert_with(|| {
            let started_ns = self.options.clock.now_ns();
            if let Some(peers) = self.peers() {
                let first = time;
                peers.tell_all(self, || Message::Pace { first, started_ns });
            }
            (time, started_ns)
        })
    }

    /// Another process has begun a paced replay; the one that begins the earliest decides.
    pub(crate) fn hear_pace(&self, first: EventTime, started_ns: u64) {
        let mut origin = self
            .pace_origin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if origin.is_none_or(|(own, _)| first < own) {
            *origin = Some((first, started_ns));
        }
    }

    /// Asks all sinks, of all processes, to flush; to be looked after with
    /// [`JobContext::is_flushed`].
    pub(crate) fn ask_flush(&self) -> u64 {
        let request = self.flushes.ask();
        if let Some(peers) = self.peers() {
            peers.tell_all(self, || Message::Flush(request));
        }
        request
    }

    /// Whether all sinks have flushed since the request was made.
    pub(crate) fn is_flushed(&self, request: u64) -> bool {
        let others = self.peers().is_none_or(|peers| peers.have_flushed(request));
        others && self.flushes.is_answered(request)
    }

    /// How the job is at this moment.
    pub(crate) fn status(&self) -> Status {
        let now_ns = self.options.clock.now_ns();
        let health = if let Some((worker, idle)) = self.pulse.stuck(now_ns, STUCK_AFTER) {
            Health::Stuck(format!("worker {worker} has not come round for {idle:.0?}"))
        } else if self.stop.is_stopped() {
            Health::Stopping
        } else if self.pulse.is_up() {
            Health::Running
        } else {
            Health::Starting
        };
        let silences = self.peers().map(|peers| peers.silences(now_ns));
        Status {
            health,
            silences: silences.unwrap_or_default(),
        }
    }

    /// The record's place in its source, in words.
    pub(crate) fn place(&self, origin: Origin) -> String {
        if origin.source == Origin::DERIVED {
            return "a record of its own making".to_owned();
        }
        let source = self.telemetry.source_name(origin.source);
        let Origin {
            partition, offset, ..
        } = origin;
        let name = self.telemetry.partition_name(origin.source, partition);
        format!(
            "the record at offset {offset} of partition {} of source `{}`",
            name.unwrap_or_else(|| partition.to_string()),
            source.as_deref().unwrap_or("?")
        )
    }

    /// Runs `body`, which works for the step `name`, on a thread that the job waits for at its end.
    pub(crate) fn spawn(self: &Arc<Self>, name: &str, body: impl FnOnce() + Send + 'static) {
        let (job, step) = (Arc::clone(self), name.to_owned());
        let guarded = move || {
            if let Err(reason) = guard(body) {
                job.fail(format!("thread `{step}`: {reason}"));
            }
        };
        match turns::spawn(name, guarded) {
            Ok(thread) => {
                self.threads
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(thread);
            }
            Err(error) => self.fail(format!("cannot start thread `{name}`: {error}")),
        }
    }

    /// The one configuration of a source that all workers of this process use, so that they hold
    /// one connection and agree on the partitions.
    pub(crate) fn share_source<T: 'static>(
        &self,
        number: u16,
        config: &Arc<dyn Source<T>>,
    ) -> Arc<dyn Source<T>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = sources
            .entry(number)
            .or_insert_with(|| Box::new(Arc::clone(config)));
        let shared = shared.downcast_ref::<Arc<dyn Source<T>>>();
        Arc::clone(shared.unwrap_or(config))
    }

    /// Has `ending` run when the job has come to a good end and all its threads are gone.
    pub(crate) fn at_end(&self, ending: impl FnOnce() + Send + 'static) {
        self.endings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(ending));
    }

    /// Runs what was registered with [`JobContext::at_end`].
    pub(crate) fn run_endings(&self) {
        let endings =
            std::mem::take(&mut *self.endings.lock().unwrap_or_else(PoisonError::into_inner));
        endings.into_iter().for_each(|ending| ending());
    }

    /// Whether all threads come to their end within a time.
    fn have_threads_ended(&self, patience: Duration) -> bool {
        let glance = millis(5);
        let mut waited = Duration::ZERO;
        while waited < patience {
            let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            if threads.iter().all(Thread::is_finished) {
                return true;
            }
            drop(threads);
            std::thread::sleep(glance);
            waited += glance;
        }
        false
    }

    /// Waits for all threads started with [`JobContext::spawn`]; in a cluster that has failed only
    /// for a moment, as a thread may hang.
    pub(crate) fn join_threads(&self) {
        let has_failed = self.peers().is_some() && self.is_aborted();
        if has_failed && !self.have_threads_ended(secs(3)) {
            return;
        }
        loop {
            let next = self
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some(thread) = next else { return };
            if thread.join().is_err() {
                self.fail("a thread panicked while it ended: this is a bug");
            }
        }
    }
}

/// After how long without coming round a worker is said to be stuck.
const STUCK_AFTER: Duration = secs(60);

/// Why a job has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Something broke in this process.
    Own(String),
    /// The cluster does not hold together.
    Cluster(String),
    /// Another start of the pipeline has taken over.
    Superseded(String),
}

impl Failure {
    pub(crate) fn into_reason(self) -> String {
        match self {
            Self::Own(reason) | Self::Cluster(reason) | Self::Superseded(reason) => reason,
        }
    }
}
