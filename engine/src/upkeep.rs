//! What is done for a source from time to time, beside the flow of records: new partitions are
//! looked for, and the source is told how far everything is done.
//!
//! One thread per source and worker sees to that worker's partitions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};

use crate::intake::{Opened, Opener};
use crate::record::Data;
use crate::source::{Found, Source};
use crate::time::millis;
use crate::turns;

/// How soon a stop is noticed.
const GLANCE: Duration = millis(20);

/// How far a worker has got with what it took from the readers of a source.
#[derive(Default)]
pub(crate) struct Passage {
    /// Records given to the graph.
    pub(crate) given: AtomicU64,
    /// How many of them have gone all the way through it.
    pub(crate) settled: AtomicU64,
}

/// How far one partition is done.
struct Place {
    partition: u32,
    /// The number that the source itself knows it by.
    of_source: u32,
    /// The offset up to which the worker has taken records.
    taken: Arc<AtomicU64>,
    /// The offset before which everything is done.
    done: u64,
    /// What the source has last been told.
    told: u64,
}

/// How far a commit has got. Its offsets are those in the [`Places`].
enum Commit {
    Idle,
    /// So many records have to go all the way through the graph.
    Settling(u64),
    /// The sinks have to answer this request.
    Flushing(u64),
}

/// The partitions of one worker, for the ledger to be asked about.
#[derive(Default)]
struct Places(Vec<Place>);

/// The upkeep of one source on one worker.
pub(crate) struct Upkeep<T> {
    opener: Opener<T>,
    passage: Arc<Passage>,
    /// Where new partitions are handed over; none where the source has a fixed number of them.
    arrivals: Option<Sender<Opened<T>>>,
    /// Closes when the worker has no more need of the source.
    worker: Receiver<()>,
    places: Arc<Mutex<Places>>,
    known: usize,
}

impl<T: Data> Upkeep<T> {
    /// The upkeep of the partitions `opened` out of the first `known` of the source.
    pub(crate) fn new(
        opener: Opener<T>,
        opened: &[Opened<T>],
        known: usize,
        passage: Arc<Passage>,
        arrivals: Option<Sender<Opened<T>>>,
        worker: Receiver<()>,
    ) -> Self {
        let places = Places(opened.iter().map(Place::of).collect());
        Self {
            opener,
            passage,
            arrivals,
            worker,
            places: Arc::new(Mutex::new(places)),
            known,
        }
    }

    /// Starts the thread, if there is anything for it to do.
    pub(crate) fn start(self) {
        let config = &self.opener.config;
        let (discover, commit) = (config.discover_every(), config.commit_every());
        if discover.is_none() && commit.is_none() {
            return;
        }
        let job = Arc::clone(&self.opener.job);
        if commit.is_some() {
            let (config, places) = (Arc::clone(config), Arc::clone(&self.places));
            let (ledger, source) = (Arc::clone(job.telemetry.ledger()), self.opener.number);
            job.at_end(move || {
                let mut places = lock(&places);
                if places.look(|place| ledger.done_to(source, place.0, place.1, place.2)) {
                    places.tell(&*config);
                }
            });
        }
        let name = format!("{}-upkeep", self.opener.step);
        job.spawn(&name, move || self.run(discover, commit));
    }

    fn run(mut self, discover: Option<Duration>, commit: Option<Duration>) {
        let clock = self.opener.job.options.clock.clone();
        let due = |every: Option<Duration>| {
            every.map_or(u64::MAX, |every| {
                let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
                clock.now_ns().saturating_add(every_ns)
            })
        };
        let (mut discover_ns, mut commit_ns) = (due(discover), due(commit));
        let mut commit_stage = Commit::Idle;
        while self.is_wanted() {
            if clock.now_ns() >= discover_ns {
                self.discover();
                discover_ns = due(discover);
            }
            if clock.now_ns() >= commit_ns {
                commit_stage = self.commit(commit_stage);
                if matches!(commit_stage, Commit::Idle) {
                    commit_ns = due(commit);
                }
            }
        }
    }

    /// Waits a moment, then tells whether to go on.
    fn is_wanted(&self) -> bool {
        let waited = turns::recv_timeout(&self.worker, GLANCE);
        waited != Err(RecvTimeoutError::Disconnected) && !self.opener.job.stop.is_stopped()
    }

    /// Opens the partitions that have come since; what fails is tried again the next time.
    fn discover(&mut self) {
        let partitions = match self.opener.config.partitions() {
            Ok(partitions) => partitions,
            Err(error) => {
                let step = &self.opener.step;
                tracing::warn!(step, "cannot look for new partitions: {error}");
                return;
            }
        };
        self.opener.learn(&partitions);
        for (index, partition) in partitions.into_iter().enumerate().skip(self.known) {
            if self.opener.is_mine(index) {
                match self.opener.open(partition, Found::Later) {
                    Ok(opened) => self.hand_over(opened),
                    Err(error) => {
                        let step = &self.opener.step;
                        tracing::warn!(step, partition, "cannot open a new partition: {error}");
                        return;
                    }
                }
            }
            self.known = index + 1;
        }
    }

    fn hand_over(&self, opened: Opened<T>) {
        lock(&self.places).0.push(Place::of(&opened));
        if let Some(arrivals) = &self.arrivals {
            // Fails only when the worker is gone, and then the reader stops by itself.
            let _ = arrivals.send(opened);
            self.opener.wake.call();
        }
    }

    /// Goes on with telling the source how far everything is done, without waiting for anything.
    ///
    /// Whatever of a record has come to an end is in the ledger; what other ways it takes is sure to
    /// have been brought to the sinks once all that was given by now has settled; and what the
    /// sinks have been given is sure to be outside once they have flushed.
    fn commit(&self, stage: Commit) -> Commit {
        let job = &self.opener.job;
        match stage {
            Commit::Idle => {
                let (ledger, source) = (job.telemetry.ledger(), self.opener.number);
                let done_to = |(partition, from, to)| ledger.done_to(source, partition, from, to);
                match lock(&self.places).look(done_to) {
                    true => Commit::Settling(self.passage.given.load(Ordering::Acquire)),
                    false => Commit::Idle,
                }
            }
            Commit::Settling(given) if self.passage.settled.load(Ordering::Acquire) >= given => {
                Commit::Flushing(job.ask_flush())
            }
            Commit::Flushing(request) if job.is_flushed(request) => {
                lock(&self.places).tell(&*self.opener.config);
                Commit::Idle
            }
            waiting => waiting,
        }
    }
}

impl Place {
    fn of<T>(opened: &Opened<T>) -> Self {
        Self {
            partition: opened.number,
            of_source: opened.of_source,
            taken: Arc::clone(&opened.taken),
            done: opened.start,
            told: opened.start,
        }
    }
}

impl Places {
    /// Looks how far each partition is done, given its number, where to look on from and how far;
    /// tells whether there is anything new.
    fn look(&mut self, done_to: impl Fn((u32, u64, u64)) -> u64) -> bool {
        for place in &mut self.0 {
            let taken = place.taken.load(Ordering::Acquire);
            place.done = done_to((place.partition, place.done, taken));
        }
        self.0.iter().any(|place| place.done > place.told)
    }

    fn tell<T: 'static>(&mut self, config: &dyn Source<T>) {
        let news = self.0.iter().filter(|place| place.done > place.told);
        let news: Vec<_> = news.map(|place| (place.of_source, place.done)).collect();
        match config.commit(&news) {
            Ok(()) => self.0.iter_mut().for_each(|place| place.told = place.done),
            Err(error) => {
                let source = config.describe();
                tracing::warn!(source, "cannot commit how far everything is done: {error}");
            }
        }
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}
