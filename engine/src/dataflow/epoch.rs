//! Epochs in the graph: how they stand in the engine's time, and who opens the next one.
//!
//! The upper bits of a tick number the epoch that it belongs to, counted from the start of the job.
//! One announcer, on the first worker, tells all sources to go on to the next epoch; each closes the
//! open one there, wherever it stands, and says up to which offsets it goes. So an epoch is over, for
//! whoever looks, once the frontier has reached the next one. A job without checkpoints stays in
//! its first epoch and has none of this in its graph.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use super::{Tick, activate_after};
use crate::epochs::{Ack, Epochs};
use crate::job::JobContext;
use crate::time::millis;

/// Bits of a tick below those of the epoch: with ticks of a millisecond they last for two years.
const TICK_BITS: u32 = 36;
/// How long to wait before looking again whether the next epoch may be opened.
const RETRY: Duration = millis(1);

/// The epoch that a tick belongs to.
pub(crate) fn epoch_of(tick: Tick) -> u64 {
    tick >> TICK_BITS
}

/// The first tick of an epoch.
pub(crate) fn first_tick(epoch: u64) -> Tick {
    epoch << TICK_BITS
}

/// The tick of this number in an epoch.
pub(crate) fn tick_in(epoch: u64, number: u64) -> Tick {
    first_tick(epoch) | number.min((1 << TICK_BITS) - 1)
}

/// The first epoch that is not over yet; none when nothing more will come.
pub(crate) fn open_epoch(frontier: &MutableAntichain<Tick>) -> Option<u64> {
    frontier.frontier().first().map(|tick| epoch_of(*tick))
}

/// An announcement on its way: the worker it is for, and the epoch to go on to.
pub(crate) type Announcement = (usize, u64);

/// What the steps of one worker need for epochs, while the graph is being built.
pub(crate) struct EpochSite<'s> {
    /// Tells the sources of the next epoch.
    pub(crate) announcements: StreamVec<'s, Tick, Announcement>,
    /// From every source, step and sink that has been built.
    pub(crate) acks: RefCell<Vec<StreamVec<'s, Tick, Ack>>>,
    pub(crate) turn: Rc<RefCell<Turn>>,
    pub(crate) announcer: Activator,
}

/// How far the epochs have got, as the committer tells the announcer beside it.
#[derive(Default)]
pub(crate) struct Turn {
    /// The open epoch.
    open: u64,
    /// When it is due to be closed; none while nothing has happened in it.
    due_ns: Option<u64>,
    /// Everything is over.
    pub(crate) is_over: bool,
}

impl Turn {
    /// Notes that something has happened in an epoch; whether the announcer has to know.
    pub(crate) fn begun(&mut self, epoch: u64, due_ns: u64) -> bool {
        let is_new = epoch == self.open && self.due_ns.is_none();
        if is_new {
            self.due_ns = Some(due_ns);
        }
        is_new
    }
}

impl<'s> EpochSite<'s> {
    /// Builds the announcer.
    pub(crate) fn new(scope: Scope<'s, Tick>, job: &Arc<JobContext>, epochs: &Arc<Epochs>) -> Self {
        let mut builder = OperatorBuilder::new("epochs".to_owned(), scope);
        let (output, announcements) = builder.new_output();
        let mut output =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<Announcement>>>::from(output);
        let address = builder.operator_info().address;
        let (announcer, own) = (
            scope.activator_for(address.clone()),
            scope.activator_for(address),
        );
        let turn = Rc::new(RefCell::new(Turn::default()));
        let (shared, epochs) = (Rc::clone(&turn), Arc::clone(epochs));
        let (clock, workers) = (job.options.clock.clone(), scope.peers());
        let is_first = scope.index() == 0;
        builder.build(move |mut capabilities| {
            // The other workers have nothing to announce.
            let mut capability = capabilities.pop().filter(|_| is_first);
            move |_| {
                let turn = &mut *shared.borrow_mut();
                if turn.is_over {
                    capability = None;
                }
                let (Some(capability), Some(due_ns)) = (&capability, turn.due_ns) else {
                    return;
                };
                let wait_ns = due_ns.saturating_sub(clock.now_ns());
                if (wait_ns > 0 && !epochs.is_hurried()) || !epochs.may_close(turn.open) {
                    let wait = Duration::from_nanos(wait_ns).max(RETRY);
                    let wait = if clock.is_manual() {
                        RETRY
                    } else {
                        wait.min(epochs.interval()).max(RETRY)
                    };
                    activate_after(&own, wait);
                    return;
                }
                epochs.note_end(turn.open, clock.now_ns());
                turn.open += 1;
                turn.due_ns = None;
                let all = (0..workers).map(|worker| (worker, turn.open));
                output.activate().session(capability).give_iterator(all);
            }
        });
        Self {
            announcements,
            acks: RefCell::default(),
            turn,
            announcer,
        }
    }

    /// Takes in the acknowledgements of a source, step or sink.
    pub(crate) fn join(&self, acks: StreamVec<'s, Tick, Ack>) {
        self.acks.borrow_mut().push(acks);
    }
}
