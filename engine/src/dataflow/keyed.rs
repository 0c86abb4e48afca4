//! The shell of every keyed step: it brings records to the owner of their key, in the job's order,
//! and hands them to the step's logic together with the key's state.

use std::sync::Arc;

use super::event_time_queue::EventTimeQueue;
use super::route::route;
use super::unary::{exchanged, unary};
use super::{Edge, Site};
use crate::job::Order;
use crate::key::{Key, KeyGroup, key_hash};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::Pen;
use crate::record::{Data, Packet};
use crate::state::KeyedState;
use crate::telemetry::StepMetrics;
use crate::watermark::{Watermark, WatermarkMerge};

/// Runs `step` on the records of `input`, by key.
pub(crate) fn keyed<'s, T: Data, S: KeyedStep<T>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
    order: Order,
    key: impl Fn(&T) -> S::Key + Clone + 'static,
) -> Edge<'s, S::Out> {
    let workers = site.workers();
    let owner_key = key.clone();
    let routed = route(site, input, move |value| owner(&owner_key(value), workers));
    let name = metrics.id.clone();
    let mut shell = Shell::new(site, metrics, step, order, key);
    exchanged(routed, &name, move |packet, given| {
        given.extend(shell.take_in(packet));
    })
}

/// Runs `step` on this worker's own records as they arrive, all under one key.
pub(crate) fn local<'s, T: Data, S: KeyedStep<T, Key = ()>>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    step: S,
) -> Edge<'s, S::Out> {
    let name = metrics.id.clone();
    let mut shell = Shell::new(site, metrics, step, Order::Arrival, |_: &T| ());
    shell.watermarks = WatermarkMerge::new(1);
    unary(input, &name, move |mut packet, given| {
        packet.from = 0;
        given.extend(shell.take_in(packet));
    })
}

/// The worker that owns a key.
pub(crate) fn owner<K: Key>(key: &K, workers: usize) -> usize {
    KeyGroup::of(key_hash(key)).owner(workers)
}

struct Shell<T: Data, S: KeyedStep<T>, F> {
    worker: usize,
    clock: crate::clock::Clock,
    metrics: Arc<StepMetrics>,
    step: S,
    key: F,
    state: KeyedState<S::Key, S::State>,
    queue: EventTimeQueue<T>,
    order: Order,
    watermarks: WatermarkMerge,
    emitted: Watermark,
    pen: Pen,
}

impl<T: Data, S: KeyedStep<T>, F: Fn(&T) -> S::Key> Shell<T, S, F> {
    fn new(site: &Site<'_>, metrics: Arc<StepMetrics>, step: S, order: Order, key: F) -> Self {
        Self {
            worker: site.worker(),
            clock: site.job.options.clock.clone(),
            metrics,
            step,
            key,
            state: KeyedState::default(),
            queue: EventTimeQueue::default(),
            order,
            watermarks: WatermarkMerge::new(site.workers()),
            emitted: Watermark::START,
            pen: site.job.telemetry.ledger().pen(),
        }
    }

    fn take_in(&mut self, packet: Packet<T>) -> Option<Packet<S::Out>> {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let taken = packet.records.len();
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => {
                let step = &self.step;
                self.queue
                    .exchange(packet.records, watermark, |value| step.rank(value))
            }
        };
        let oldest_ns = ready.first().map(|record| record.ingested_ns);
        let mut context = Context::new(&mut self.pen, watermark, self.clock.now_ns(), ready.len());
        for record in ready {
            let key = (self.key)(&record.value);
            let state = self.state.entry(&key);
            self.step.process(&key, state, record, &mut context);
        }
        if watermark != self.emitted {
            self.step.advance(&mut self.state, &mut context);
        }
        let records = context.into_records();
        let latency_ns = oldest_ns.map(|ns| self.clock.now_ns().saturating_sub(ns));
        self.metrics.packet(taken, records.len(), latency_ns);
        if records.is_empty() && watermark == self.emitted {
            return None;
        }
        self.emitted = watermark;
        Some(Packet {
            from: self.worker,
            to: self.worker,
            records,
            watermark,
        })
    }
}

impl<T: Data, S: KeyedStep<T>, F> Drop for Shell<T, S, F> {
    /// What is still queued when the graph comes down is held.
    fn drop(&mut self) {
        self.queue.hold(&mut self.pen);
    }
}
