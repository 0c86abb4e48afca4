//! The shell of every keyed step: it brings records to the owner of their key, in the job's order,
//! and hands them to the step's logic together with the key's state.

use std::sync::Arc;

use super::route::route;
use super::unary::{exchanged, unary, with_sides};
use super::{Edge, SideEdges, Site};
use crate::job::{JobContext, Order};
use crate::key::{Key, KeyGroup, key_hash};
use crate::keyed::{Context, KeyedStep, Letters};
use crate::ledger::{Fate, Pen};
use crate::record::{Data, Packet, Record};
use crate::state::KeyedState;
use crate::telemetry::StepMetrics;
use crate::watermark::{Watermark, WatermarkMerge};

/// A step's records and, if it has them, its side streams.
type StepEdges<'s, O> = (Edge<'s, O>, Option<SideEdges<'s>>);

/// Runs `step` on the records of `input`, by key.
pub(crate) fn keyed<'s, T: Data, S: KeyedStep<T>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
    order: Order,
    key: impl Fn(&T) -> S::Key + Clone + 'static,
) -> StepEdges<'s, S::Out> {
    let workers = site.workers();
    let owner_key = key.clone();
    let routed = route(site, input, move |value| owner(&owner_key(value), workers));
    let place = (site.worker(), workers);
    let shell = Shell::new(&site.job, place, metrics, step, order, key);
    attach(routed, true, shell)
}

/// Runs `step` on this worker's own records as they arrive, all under one key.
pub(crate) fn local<'s, T: Data, S: KeyedStep<T, Key = ()>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
) -> StepEdges<'s, S::Out> {
    let (place, order) = ((site.worker(), 1), Order::Arrival);
    let shell = Shell::new(&site.job, place, metrics, step, order, |_: &T| ());
    attach(input, false, shell)
}

/// Makes the operator: of what all workers have sent to this one, or of its own packets only.
fn attach<'s, T: Data, S: KeyedStep<T>>(
    input: Edge<'s, T>,
    from_all: bool,
    mut shell: Shell<T, S, impl Fn(&T) -> S::Key + 'static>,
) -> StepEdges<'s, S::Out> {
    let name = shell.metrics.id.clone();
    let mut logic = move |mut packet: Packet<T>| {
        if !from_all {
            packet.from = 0;
        }
        shell.take_in(packet)
    };
    if S::SIDE_STREAMS {
        let (edge, sides) = with_sides(input, from_all, &name, logic);
        return (edge, Some(sides));
    }
    let logic = move |packet, given: &mut Vec<_>| {
        given.extend(logic(packet).map(|(packet, _)| packet));
    };
    let edge = if from_all {
        exchanged(input, &name, logic)
    } else {
        unary(input, &name, logic)
    };
    (edge, None)
}

/// The worker that owns a key.
pub(crate) fn owner<K: Key>(key: &K, workers: usize) -> usize {
    KeyGroup::of(key_hash(key)).owner(workers)
}

/// A step with all it needs to take packets in.
pub(crate) struct Shell<T: Data, S: KeyedStep<T>, F> {
    worker: usize,
    clock: crate::clock::Clock,
    metrics: Arc<StepMetrics>,
    pub(crate) step: S,
    key: F,
    pub(crate) state: KeyedState<S::Key, S::State>,
    queue: EventTimeQueue<T>,
    order: Order,
    watermarks: WatermarkMerge,
    emitted: Watermark,
    pen: Pen,
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> Shell<T, S, F> {
    /// A step on `worker` that takes in packets of so many senders.
    pub(crate) fn new(
        job: &JobContext,
        (worker, senders): (usize, usize),
        metrics: Arc<StepMetrics>,
        step: S,
        order: Order,
        key: F,
    ) -> Self {
        Self {
            worker,
            clock: job.options.clock.clone(),
            metrics,
            step,
            key,
            state: KeyedState::default(),
            queue: EventTimeQueue::default(),
            order,
            watermarks: WatermarkMerge::new(senders),
            emitted: Watermark::START,
            pen: job.telemetry.ledger().pen(),
        }
    }

    pub(crate) fn take_in(&mut self, packet: Packet<T>) -> Option<(Packet<S::Out>, Letters)> {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let taken = packet.records.len();
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => {
                let step = &self.step;
                self.queue.push(packet.records, |value| step.rank(value));
                self.queue.release(watermark)
            }
        };
        let oldest_ns = ready.first().map(|record| record.ingested_ns);
        let (step, now_ns) = (self.metrics.id.as_str(), self.clock.now_ns());
        let mut context = Context::new(step, &mut self.pen, watermark, now_ns, ready.len());
        for record in ready {
            let key = (self.key)(&record.value);
            let state = self.state.entry(&key);
            self.step.process(&key, state, record, &mut context);
        }
        if watermark != self.emitted {
            self.step.advance(&mut self.state, &mut context);
        }
        let (records, letters) = context.into_parts();
        let latency_ns = oldest_ns.map(|ns| self.clock.now_ns().saturating_sub(ns));
        self.metrics.packet(taken, records.len(), latency_ns);
        if records.is_empty() && letters.is_empty() && watermark == self.emitted {
            return None;
        }
        self.emitted = watermark;
        Some((Packet::local(self.worker, records, watermark), letters))
    }
}

impl<T: Data, S: KeyedStep<T>, F> Drop for Shell<T, S, F> {
    /// What is still queued, or waits in the step's state, when the graph comes down is held.
    fn drop(&mut self) {
        let pen = &mut self.pen;
        self.queue.hold(pen);
        for (_, state) in self.state.iter() {
            self.step
                .waiting(state, &mut |origin| pen.mark(origin, Fate::Held));
        }
    }
}

/// Records waiting for the watermark, which releases them by event time, rank and origin.
pub(crate) struct EventTimeQueue<T> {
    /// In order, but for the tail that has come since the last release.
    waiting: Vec<Record<T>>,
}

impl<T> Default for EventTimeQueue<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
        }
    }
}

impl<T> EventTimeQueue<T> {
    pub(crate) fn push(&mut self, records: Vec<Record<T>>, rank: impl Fn(&T) -> u8) {
        if self.waiting.is_empty() {
            self.waiting = records;
        } else {
            self.waiting.extend(records);
        }
        let position = |record: &Record<T>| (record.time, rank(&record.value), record.origin);
        if !self.waiting.is_sorted_by_key(position) {
            // Stable: it merges the sorted runs that are there already.
            self.waiting.sort_by_key(position);
        }
    }

    /// Takes out what the watermark has passed, in order.
    pub(crate) fn release(&mut self, watermark: Watermark) -> Vec<Record<T>> {
        let ready = self
            .waiting
            .partition_point(|record| watermark.has_passed(record.time));
        if ready == self.waiting.len() {
            return std::mem::take(&mut self.waiting);
        }
        self.waiting.drain(..ready).collect()
    }

    /// Notes that what still waits is held.
    pub(crate) fn hold(&self, pen: &mut Pen) {
        self.waiting
            .iter()
            .for_each(|record| pen.mark(record.origin, Fate::Held));
    }
}
