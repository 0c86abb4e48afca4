//! The only room that knows timely and differential: operators, routing, relations, execution.
//!
//! Everything here works on [`Edge`]s: timely streams of [`Packet`]s stamped with the engine's tick.
//! Watermarks travel inside the packets, in order with the records they speak of, so that a step
//! in event-time order need not wait for a tick to close.

mod commit;
pub(crate) mod empty;
pub(crate) mod epoch;
mod event_time_queue;
pub(crate) mod execute;
mod feed;
mod give_back;
pub(crate) mod keyed;
mod latest_index;
mod latest_join;
mod latest_state;
pub(crate) mod merge;
mod peer_stream;
pub(crate) mod relation;
#[cfg(test)]
mod relation_testing;
#[cfg(test)]
mod relation_tests;
pub(crate) mod route;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stateful;
pub(crate) mod unary;
mod wake;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::{ProbeHandle, Scope, StreamVec};
use timely::scheduling::Activator;

use self::epoch::EpochSite;
use crate::job::JobContext;
use crate::record::Packet;
use crate::turns;

/// The engine's time: nanoseconds of the job's clock, rounded down to whole ticks.
pub(crate) type Tick = u64;

/// An edge of the graph.
pub(crate) type Edge<'s, T> = StreamVec<'s, Tick, Packet<T>>;

/// Has an operator called again after a time; in a simulation, whose time timely does not know, at once.
pub(crate) fn activate_after(activator: &Activator, wait: Duration) {
    if turns::is_simulated() {
        activator.activate();
    } else {
        activator.activate_after(wait);
    }
}

/// Where operators are built: one worker's part of the graph.
#[derive(Clone)]
pub(crate) struct Site<'s> {
    pub(crate) scope: Scope<'s, Tick>,
    pub(crate) job: Arc<JobContext>,
    /// How far the sinks have got, for back-pressure.
    pub(crate) probe: ProbeHandle<Tick>,
    /// Whether the graph is built only to be looked at: nothing may be opened or started.
    pub(crate) planning: bool,
    /// None in a job without checkpoints.
    pub(crate) epochs: Option<Rc<EpochSite<'s>>>,
}

impl Site<'_> {
    pub(crate) fn worker(&self) -> usize {
        self.scope.index()
    }

    pub(crate) fn workers(&self) -> usize {
        self.scope.peers()
    }
}
