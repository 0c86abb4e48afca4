//! The other processes of a running cluster, as this one knows them and talks to them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::connection::{OnBroken, Wire};
use super::form::{Door, Formed};
use super::frame;
use super::hosts::Host;
use super::message::Message;
use super::roster::Pair;
use super::watch;
use crate::job::JobContext;
use crate::telemetry::Figures;
use crate::time::{EventTime, millis};

/// Messages that may be waiting to be sent to one process.
const MESSAGES_MAX: usize = 1_024;
/// The longest message.
const BYTES_MAX: u32 = 256 << 20;
/// Pages of marks in one message.
const PAGES_MAX: usize = 256;

/// How far a process has got with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Running,
    /// Its part of the job has come to a good end.
    Ended,
    /// It knows that all have.
    Done,
}

/// The other processes.
pub(crate) struct Peers {
    pub(super) own: usize,
    /// By process; none at the own place.
    pub(super) all: Vec<Option<Peer>>,
    /// Who reads which partition of which source.
    readers: Mutex<BTreeMap<(u16, u32), usize>>,
    /// Requests of others to flush: whose, which, and the own request that answers it.
    pub(super) to_flush: Mutex<Vec<(usize, u64, u64)>>,
    /// Held while marks are taken from the ledger and sent.
    shipping: Mutex<()>,
    writers: Mutex<Vec<JoinHandle<()>>>,
    has_told_failure: AtomicBool,
    pub(super) is_over: AtomicBool,
    door: Mutex<Option<Door>>,
}

/// One other process.
pub(super) struct Peer {
    pub(super) process: usize,
    pub(super) host: Host,
    outbox: Sender<Outgoing>,
    /// When it last said anything.
    pub(super) heard_ns: AtomicU64,
    /// When it last said that it was held up by a sink; 0 if never.
    pub(super) held_up_ns: AtomicU64,
    /// How far its slowest partition has got in event time.
    position: AtomicI64,
    flushed: AtomicU64,
    stage: AtomicU8,
    figures: Mutex<Option<Box<Figures>>>,
}

enum Outgoing {
    Say(Message),
    Close,
}

/// The connection for records to another process.
pub(crate) struct RecordsLink {
    pub(crate) process: usize,
    pub(crate) wire: Wire,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Starts to talk with all others; gives what records travel on, by process.
    pub(crate) fn start(
        job: &Arc<JobContext>,
        formed: Formed,
        hosts: &[Host],
        own: usize,
    ) -> io::Result<Vec<Option<RecordsLink>>> {
        let (mut all, mut records, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for (process, pair) in formed.pairs.into_iter().enumerate() {
            let Some(Pair {
                messages,
                records: link,
            }) = pair
            else {
                all.push(None);
                records.push(None);
                continue;
            };
            let on_broken = on_broken(job, process);
            let wire = link.into_wire(Arc::clone(&on_broken))?;
            records.push(Some(RecordsLink { process, wire }));
            let (outbox, outgoing) = bounded(MESSAGES_MAX);
            lines.push((process, messages.into_wire(on_broken)?, outgoing));
            all.push(Some(Peer {
                process,
                host: hosts[process].clone(),
                outbox,
                heard_ns: AtomicU64::new(job.options.clock.now_ns()),
                held_up_ns: AtomicU64::new(0),
                position: AtomicI64::new(EventTime::MIN.as_micros()),
                flushed: AtomicU64::new(0),
                stage: AtomicU8::new(Stage::Running as u8),
                figures: Mutex::default(),
            }));
        }
        let peers = Arc::new(Self {
            own,
            all,
            readers: Mutex::default(),
            to_flush: Mutex::default(),
            shipping: Mutex::default(),
            writers: Mutex::default(),
            has_told_failure: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            door: Mutex::new(Some(formed.door)),
        });
        // Nothing is known yet of the partitions of others, if there are any.
        job.alignment.set_others(peers.slowest_other());
        job.join_cluster(Arc::clone(&peers));
        for (process, wire, outgoing) in lines {
            let (shared, own_job, out) = (Arc::clone(&peers), Arc::clone(job), wire.try_clone()?);
            let write = move || shared.write(process, out, &outgoing, &own_job);
            let writer = std::thread::Builder::new().name(format!("to-process-{process}"));
            lock(&peers.writers).push(writer.spawn(write)?);
            let (shared, own_job) = (Arc::clone(&peers), Arc::clone(job));
            let reader = std::thread::Builder::new().name(format!("from-process-{process}"));
            reader.spawn(move || shared.read(process, wire, &own_job))?;
        }
        let (shared, own_job) = (Arc::clone(&peers), Arc::clone(job));
        let watch = std::thread::Builder::new().name("cluster-watch".to_owned());
        watch.spawn(move || watch::run(&shared, &own_job))?;
        Ok(records)
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &Peer> {
        self.all.iter().flatten()
    }

    fn peer(&self, process: usize) -> &Peer {
        let peer = self.all.get(process).and_then(Option::as_ref);
        peer.expect("invariant: there is a line to every other process")
    }

    /// For how long nothing has been heard of each other process.
    pub(crate) fn silences(&self, now_ns: u64) -> Vec<(usize, Duration)> {
        let silence = |peer: &Peer| {
            let heard_ns = peer.heard_ns.load(Ordering::Relaxed);
            (
                peer.process,
                Duration::from_nanos(now_ns.saturating_sub(heard_ns)),
            )
        };
        self.others().map(silence).collect()
    }

    /// Tells all others, waiting where one has much to read.
    pub(crate) fn tell_all(&self, job: &JobContext, message: impl Fn() -> Message) {
        self.others().for_each(|peer| peer.tell(job, message()));
    }

    /// Tells all others, unless they have too much to read.
    ///
    /// Tells whether all of them have been told.
    pub(super) fn try_tell_all(&self, message: impl Fn() -> Message) -> bool {
        let untold = self.others().filter(|peer| !peer.try_tell(message()));
        untold.count() == 0
    }

    /// How far the slowest partition of the other processes has got in event time.
    pub(super) fn slowest_other(&self) -> EventTime {
        let positions = self
            .others()
            .map(|peer| peer.position.load(Ordering::Relaxed));
        positions
            .min()
            .map_or(EventTime::MAX, EventTime::from_micros)
    }

    /// Whether all others have flushed their sinks since the request was made.
    pub(crate) fn have_flushed(&self, request: u64) -> bool {
        self.others()
            .all(|peer| peer.flushed.load(Ordering::Acquire) >= request)
    }

    /// Sends the marks of records that others have read to who has read them. With `everything`
    /// it waits where one has much to read; otherwise such a one gets its marks later.
    pub(crate) fn ship_marks(&self, job: &JobContext, everything: bool) {
        let _shipping = lock(&self.shipping);
        let readers = lock(&self.readers).clone();
        for peer in self.others() {
            let theirs = readers
                .iter()
                .filter(|(_, process)| **process == peer.process);
            for (partition, _) in theirs {
                if !everything && peer.outbox.len() > MESSAGES_MAX / 2 {
                    break;
                }
                let mut pages = job.telemetry.ledger().take_marks(*partition);
                while !pages.is_empty() {
                    let rest = pages.split_off(pages.len().min(PAGES_MAX));
                    peer.tell(job, Message::Marks(pages));
                    pages = rest;
                }
            }
        }
    }

    /// Tells all others, once, if the job has failed here.
    pub(super) fn tell_failure(&self, job: &JobContext) {
        if let Some(failure) = job.failed()
            && !self.has_told_failure.swap(true, Ordering::SeqCst)
        {
            let _ = self.try_tell_all(|| Message::Failed(failure.clone()));
        }
    }

    pub(super) fn shut_door(&self) {
        lock(&self.door).take();
    }

    /// Sends no more, and waits a moment until what there was has been sent.
    pub(super) fn close(&self, patience: Duration) {
        self.others()
            .for_each(|peer| drop(peer.outbox.try_send(Outgoing::Close)));
        let writers = std::mem::take(&mut *lock(&self.writers));
        let mut waits = patience.as_millis() / 5;
        while writers.iter().any(|writer| !writer.is_finished()) && waits > 0 {
            std::thread::sleep(millis(5));
            waits -= 1;
        }
    }

    /// The thread that writes to a process: what there is to say, and a beat from time to time.
    fn write(
        &self,
        process: usize,
        mut wire: Wire,
        outgoing: &Receiver<Outgoing>,
        job: &JobContext,
    ) {
        let clock = &job.options.clock;
        let every = watch::beat_every(job);
        let mut beaten_ns = 0;
        loop {
            let message = match outgoing.recv_timeout(every) {
                Ok(Outgoing::Say(message)) => Some(message),
                Ok(Outgoing::Close) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => None,
            };
            let now_ns = clock.now_ns();
            let is_due = Duration::from_nanos(now_ns.saturating_sub(beaten_ns)) >= every;
            let beat = is_due.then(|| Message::Beat {
                is_held_up: job.pulse.is_held_up(now_ns),
            });
            beaten_ns = if is_due { now_ns } else { beaten_ns };
            for message in beat.into_iter().chain(message) {
                if let Err(error) = frame::write(&mut wire, &message) {
                    return self.note_broken(process, &error, job);
                }
            }
        }
        let _ = wire.shutdown(Shutdown::Write);
    }

    /// The thread that reads what a process says.
    fn read(&self, process: usize, mut wire: Wire, job: &Arc<JobContext>) {
        let peer = self.peer(process);
        loop {
            match frame::read(&mut wire, BYTES_MAX) {
                Ok(message) => {
                    let now_ns = job.options.clock.now_ns();
                    peer.heard_ns.store(now_ns, Ordering::Relaxed);
                    self.hear(peer, message, job);
                }
                Err(error) => return self.note_broken(process, &error, job),
            }
        }
    }

    /// Fails the job because a connection to a process broke, if anything is still to come from it.
    pub(crate) fn note_broken(&self, process: usize, reason: &dyn Display, job: &JobContext) {
        if self.is_missed(self.peer(process)) {
            job.lose(gone(process, reason));
        }
    }

    /// Whether this process still waits for something that the other one has to say.
    pub(super) fn is_missed(&self, peer: &Peer) -> bool {
        if self.is_over.load(Ordering::SeqCst) {
            return false;
        }
        match peer.stage() {
            Stage::Running => true,
            Stage::Ended => peer.process == 0 || (self.own == 0 && lock(&peer.figures).is_none()),
            Stage::Done => false,
        }
    }

    fn hear(&self, peer: &Peer, message: Message, job: &Arc<JobContext>) {
        match message {
            Message::Beat { is_held_up } => {
                if is_held_up {
                    peer.held_up_ns
                        .store(job.options.clock.now_ns(), Ordering::Relaxed);
                }
            }
            Message::Position(time) => {
                peer.position.store(time.as_micros(), Ordering::Relaxed);
                job.alignment.set_others(self.slowest_other());
            }
            Message::Opened { source, partition } => {
                lock(&self.readers).insert((source, partition), peer.process);
            }
            Message::Marks(pages) => {
                let ledger = job.telemetry.ledger();
                pages.iter().for_each(|page| ledger.absorb(page));
            }
            Message::Pace { first, started_ns } => job.hear_pace(first, started_ns),
            Message::Flush(request) => {
                let own = job.flushes.ask();
                lock(&self.to_flush).push((peer.process, request, own));
            }
            Message::Flushed(request) => {
                peer.flushed.fetch_max(request, Ordering::AcqRel);
            }
            Message::Stop => job.stop.stop(),
            Message::Failed(failure) => job.hear_failure(peer.process, failure),
            Message::Epochs { sealed, is_full } => {
                if let Some(epochs) = &job.epochs {
                    epochs.hear(job, sealed, is_full);
                }
            }
            Message::Ended => peer.stage.store(Stage::Ended as u8, Ordering::SeqCst),
            Message::Figures(figures) => *lock(&peer.figures) = Some(figures),
            Message::Done => peer.stage.store(Stage::Done as u8, Ordering::SeqCst),
            Message::Ready
            | Message::Busy
            | Message::Decided(_)
            | Message::Prepared
            | Message::CannotBegin(_)
            | Message::Ask
            | Message::Now(_)
            | Message::Start(_) => {
                job.lose(format!(
                    "process {} says what belongs before the start",
                    peer.process
                ));
            }
        }
    }
}

impl Peer {
    /// Tells the process, waiting while it has much to read; in vain when the job has failed.
    pub(super) fn tell(&self, job: &JobContext, message: Message) {
        let mut outgoing = Outgoing::Say(message);
        while let Err(SendTimeoutError::Timeout(unsent)) =
            self.outbox.send_timeout(outgoing, millis(50))
        {
            if job.is_aborted() {
                return;
            }
            outgoing = unsent;
        }
    }

    /// Tells the process, unless it has too much to read; whether it was told.
    pub(super) fn try_tell(&self, message: Message) -> bool {
        self.outbox.try_send(Outgoing::Say(message)).is_ok()
    }

    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Running,
            1 => Stage::Ended,
            _ => Stage::Done,
        }
    }

    pub(super) fn take_figures(&self) -> Option<Box<Figures>> {
        lock(&self.figures).take()
    }

    pub(super) fn has_figures(&self) -> bool {
        lock(&self.figures).is_some()
    }
}

/// That a process is gone, in words.
pub(super) fn gone(process: usize, reason: &dyn Display) -> String {
    format!("process {process} is gone: {reason}")
}

fn on_broken(job: &Arc<JobContext>, process: usize) -> OnBroken {
    let job = Arc::clone(job);
    Arc::new(move |reason| job.note_broken(process, &reason))
}
