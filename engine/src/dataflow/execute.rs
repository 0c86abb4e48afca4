//! Runs a graph on timely workers, or builds it once to look at it.

use std::rc::Rc;
use std::sync::Arc;

use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::ProbeHandle;
use timely::execute::execute;
use timely::worker::Worker;
use timely::{CommunicationConfig, WorkerConfig};

use super::Site;
use super::commit::commit;
use super::epoch::EpochSite;
use crate::flow::Flow;
use crate::guard::last_panic;
use crate::job::JobContext;
use crate::time::millis;

/// Builds the graph on one worker that never runs.
pub(crate) fn build_only<R>(job: &Arc<JobContext>, build: impl FnOnce(&mut Flow<'_>) -> R) -> R {
    let allocator = Allocator::Thread(Thread::default());
    let mut worker = Worker::new(WorkerConfig::default(), allocator, None);
    build_on(&mut worker, job, true, build)
}

fn build_on<R>(
    worker: &mut Worker,
    job: &Arc<JobContext>,
    planning: bool,
    build: impl FnOnce(&mut Flow<'_>) -> R,
) -> R {
    worker.dataflow(|scope| {
        let epochs = job.epochs.as_ref();
        let epochs = epochs.map(|epochs| Rc::new(EpochSite::new(scope, job, epochs)));
        let site = Site {
            scope,
            job: Arc::clone(job),
            probe: ProbeHandle::new(),
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

/// Builds the graph on every worker and runs it to its end.
pub(crate) fn run(
    job: &Arc<JobContext>,
    build: impl Fn(&mut Flow<'_>) -> Result<(), String> + Send + Sync + 'static,
) {
    let communication = match job.options.workers {
        1 => CommunicationConfig::Thread,
        workers => CommunicationConfig::Process(workers),
    };
    let worker_config = WorkerConfig::default().idle_spin(job.options.idle_spin);
    let config = timely::Config {
        communication,
        worker: worker_config,
    };
    let shared = Arc::clone(job);
    let guards = execute(config, move |worker| {
        let guard = FailOnPanic(Arc::clone(&shared));
        if let Err(error) = build_on(worker, &shared, false, &build) {
            shared.fail(error);
        }
        while !shared.is_aborted() && worker.has_dataflows() {
            worker.step_or_park(Some(millis(100)));
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
        drop(guard);
    });
    match guards {
        Ok(guards) => {
            for outcome in guards.join() {
                if let Err(error) = outcome {
                    job.fail(format!("a worker panicked: {error}; this is a bug"));
                }
            }
        }
        Err(error) => job.fail(format!("cannot start the workers: {error}")),
    }
}

/// Ends the whole job when one worker panics: its peers would wait for it for ever.
struct FailOnPanic(Arc<JobContext>);

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = last_panic();
            self.0
                .fail(format!("a worker panicked: {reason}: this is a bug"));
        }
    }
}
