//! Runs a graph on timely workers, or builds it once to look at it.

use std::rc::Rc;
use std::sync::Arc;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use timely::communication::allocator::thread::Thread;
use timely::communication::allocator::zero_copy::initialize::{
    CommsGuard, initialize_networking_from_sockets,
};
use timely::communication::allocator::{Allocator, AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::dataflow::ProbeHandle;
use timely::execute::execute_from;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::commit::commit;
use super::epoch::EpochSite;
use super::peer_stream::PeerStream;
use super::{Site, Tick};
use crate::cluster::peers::RecordsLink;
use crate::flow::Flow;
use crate::guard::last_panic;
use crate::job::JobContext;
use crate::time::millis;
use crate::turns::{self, Seats};

/// How often the workers of a cluster that has failed are looked after before they are left alone:
/// one of them may hang.
const LOOKS_AFTER_FAILURE: u32 = 60;

/// Builds the graph on one worker that never runs.
pub(crate) fn build_only<R>(job: &Arc<JobContext>, build: impl FnOnce(&mut Flow<'_>) -> R) -> R {
    let allocator = Allocator::Thread(Thread::default());
    let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
    build_on(&mut worker, job, true, &ProbeHandle::new(), build)
}

fn build_on<R>(
    worker: &mut Worker,
    job: &Arc<JobContext>,
    planning: bool,
    probe: &ProbeHandle<Tick>,
    build: impl FnOnce(&mut Flow<'_>) -> R,
) -> R {
    worker.dataflow(|scope| {
        let epochs = job.epochs.as_ref();
        let epochs = epochs.map(|epochs| Rc::new(EpochSite::new(scope, job, epochs)));
        let site = Site {
            scope,
            job: Arc::clone(job),
            probe: probe.clone(),
            planning,
            epochs: epochs.clone(),
        };
        let built = build(&mut Flow::new(site));
        if let Some(epochs) = epochs {
            commit(scope, job, &epochs);
        }
        built
    })
}

/// Builds the graph on every worker and runs it to its end; `links` lead to the other processes.
pub(crate) fn run(
    job: &Arc<JobContext>,
    links: Option<Vec<Option<RecordsLink>>>,
    build: impl Fn(&mut Flow<'_>) -> Result<(), String> + Send + Sync + 'static,
) {
    let communication = match links {
        None => alone(job.options.workers),
        Some(links) => together(job, links),
    };
    let (builders, lines) = match communication {
        Ok(communication) => communication,
        Err(error) => return job.fail(format!("cannot start the workers: {error}")),
    };
    let config = WorkerConfig::default().idle_spin(job.options.idle_spin);
    let shared = Arc::clone(job);
    let (ended, ends) = unbounded();
    let seats = Seats::reserve(job.options.workers);
    let guards = execute_from(builders, Box::new(()), config, move |worker| {
        let local = worker.index() % shared.options.workers;
        let _seat = seats.take(local);
        let guard = Leaving {
            job: Arc::clone(&shared),
            local,
            ended: ended.clone(),
        };
        work(worker, local, &shared, &build);
        drop(guard);
    });
    match guards {
        Ok(guards) => join(job, guards, &ends),
        Err(error) => job.fail(format!("cannot start the workers: {error}")),
    }
    if let Some(lines) = lines {
        hang_up(job, lines);
    }
}

/// What one worker does.
fn work(
    worker: &mut Worker,
    local: usize,
    job: &Arc<JobContext>,
    build: &(impl Fn(&mut Flow<'_>) -> Result<(), String> + Send + Sync),
) {
    let probe = ProbeHandle::new();
    if let Err(error) = build_on(worker, job, false, &probe, build) {
        job.fail(error);
    }
    let clock = &job.options.clock;
    job.pulse.turn(local, clock.now_ns());
    while !job.is_aborted() && worker.has_dataflows() {
        if turns::pass() {
            worker.step();
        } else {
            worker.step_or_park(Some(millis(100)));
        }
        job.pulse.turn(local, clock.now_ns());
        if local == 0 {
            let frontier = probe.with_frontier(|frontier| frontier.first().copied());
            job.pulse.set_frontier(frontier.unwrap_or(Tick::MAX));
        }
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

type Communication = (Vec<AllocatorBuilder>, Option<CommsGuard>);

fn alone(workers: usize) -> Result<Communication, String> {
    let config = match workers {
        1 => CommunicationConfig::Thread,
        workers => CommunicationConfig::Process(workers),
    };
    config.try_build().map(|(builders, _)| (builders, None))
}

fn together(
    job: &Arc<JobContext>,
    links: Vec<Option<RecordsLink>>,
) -> Result<Communication, String> {
    let workers = job.options.workers;
    let own = links.iter().position(Option::is_none);
    let own = own.expect("invariant: there is no line to oneself");
    let streams = links
        .into_iter()
        .map(|link| Some(PeerStream::new(job, link?)));
    let inside = ProcessBuilder::new_typed_vector(workers, Hooks::default().refill, None);
    let (builders, lines) = initialize_networking_from_sockets(
        inside,
        streams.collect(),
        own,
        workers,
        Hooks::default(),
    )
    .map_err(|error| error.to_string())?;
    let builders = builders.into_iter().map(AllocatorBuilder::Tcp);
    Ok((builders.collect(), Some(lines)))
}

/// Waits for all workers; in a cluster that has failed, only for a while.
fn join(job: &JobContext, guards: WorkerGuards<()>, ends: &Receiver<()>) {
    let (mut left, mut looks) = (job.options.workers, 0);
    while left > 0 {
        match turns::recv_timeout(ends, millis(50)) {
            Ok(()) => left -= 1,
            Err(RecvTimeoutError::Timeout) if job.is_aborted() && job.peers().is_some() => {
                looks += 1;
                if looks > LOOKS_AFTER_FAILURE {
                    // The process is about to end, and its threads with it.
                    return std::mem::forget(guards);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for outcome in guards.join() {
        if let Err(error) = outcome {
            job.fail(format!("a worker panicked: {error}; this is a bug"));
        }
    }
}

/// Waits until all that was sent has gone out, and all others have said that they send no more. In
/// a cluster that has failed this may never be: then the threads are left alone.
fn hang_up(job: &JobContext, lines: CommsGuard) {
    let (done, is_done) = bounded::<()>(1);
    let wait = move || {
        drop(lines);
        drop(done);
    };
    if let Err(error) = std::thread::Builder::new()
        .name("hang-up".to_owned())
        .spawn(wait)
    {
        return job.fail(format!("cannot start a thread: {error}"));
    }
    while !job.is_aborted() && is_done.recv_timeout(millis(20)) == Err(RecvTimeoutError::Timeout) {}
}

/// Ends the whole job when one worker panics: its peers would wait for it for ever.
struct Leaving {
    job: Arc<JobContext>,
    local: usize,
    ended: Sender<()>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = last_panic();
            self.job
                .fail(format!("a worker panicked: {reason}: this is a bug"));
        }
        self.job.pulse.end(self.local);
        // Fails only when nobody waits any more.
        let _ = self.ended.send(());
    }
}
