//! Typed streams and their stateless steps.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Keyed, NodeId, Shared};
use crate::dataflow::relation::join_latest;
use crate::dataflow::unary::Sides;
use crate::dataflow::{Edge, empty, keyed, merge, sink, unary};
use crate::guard::guard;
use crate::key::{Key, LocalKey};
use crate::keyed::KeyedStep;
use crate::ledger::Fate;
use crate::letters::{Endings, Letters};
use crate::record::{Data, Packet, Record};
use crate::relation::{Change, Fact};
use crate::sink::{Delivery, Sink, SinkError, Writers};
use crate::telemetry::{StepKind, Telemetry};

/// A stream of `T`, each with its event time and origin.
///
/// A clone is a second reader of the same records. A stream that nobody reads ends there: its
/// records count as processed.
///
/// A closure that panics on a record makes it a dead letter with the panic's text and place (a
/// value that the closure was given for good has no bytes there), and goes on with the next: what
/// the closure keeps for itself must not be the worse for it.
pub struct Stream<'s, T> {
    pub(crate) shared: Rc<Shared<'s>>,
    pub(crate) node: NodeId,
    edge: Edge<'s, T>,
    read: Rc<Cell<bool>>,
}

impl<T: Data> Clone for Stream<'_, T> {
    fn clone(&self) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            node: self.node,
            edge: self.edge.clone(),
            read: Rc::clone(&self.read),
        }
    }
}

impl<'s, T: Data> Stream<'s, T> {
    pub(crate) fn new(shared: Rc<Shared<'s>>, node: NodeId, edge: Edge<'s, T>) -> Self {
        let read = Rc::new(Cell::new(false));
        let (loose, unread, weak) = (edge.clone(), Rc::clone(&read), Rc::downgrade(&shared));
        shared.at_end(move || {
            let Some(shared) = weak.upgrade() else { return };
            if !unread.get() {
                let mut pen = shared.site.job.telemetry.ledger().pen();
                unary::unary(
                    loose,
                    "end",
                    move |packet: Packet<T>, _: &mut Vec<Packet<()>>| {
                        let origins = packet.records.iter().map(|record| record.origin);
                        pen.mark_all(origins, Fate::Processed);
                    },
                );
            }
        });
        Self {
            shared,
            node,
            edge,
            read,
        }
    }

    pub(crate) fn empty(shared: Rc<Shared<'s>>) -> Self {
        let edge = empty::empty(&shared.site);
        Self {
            shared,
            node: 0,
            edge,
            read: Rc::new(Cell::new(true)),
        }
    }

    /// The edge, to be read by one more step.
    pub(crate) fn into_edge(self) -> (Rc<Shared<'s>>, Edge<'s, T>) {
        self.read.set(true);
        (self.shared, self.edge)
    }

    /// Transforms each value.
    pub fn map<U: Data>(self, id: &str, mut f: impl FnMut(T) -> U + 'static) -> Stream<'s, U> {
        self.transform(id, StepKind::Transform, "map", move |records, endings| {
            let transform = |record: Record<T>| {
                let blank = record.with(());
                match guard(|| f(record.value)) {
                    Ok(value) => Some(blank.with(value)),
                    Err(reason) => {
                        endings.reject(&blank, None::<&T>, reason);
                        None
                    }
                }
            };
            records.into_iter().filter_map(transform).collect()
        })
    }

    /// Keeps the values that `keep` wants; the others count as filtered.
    pub fn filter(self, id: &str, mut keep: impl FnMut(&T) -> bool + 'static) -> Stream<'s, T> {
        self.transform(
            id,
            StepKind::Filter,
            "filter",
            move |mut records, endings| {
                records.retain(|record| match guard(|| keep(&record.value)) {
                    Ok(true) => true,
                    Ok(false) => {
                        endings.finish(record.origin, Fate::Filtered);
                        false
                    }
                    Err(reason) => {
                        endings.reject(&record.with(()), Some(&record.value), reason);
                        false
                    }
                });
                records
            },
        )
    }

    /// Makes any number of values of each; a record that gives none counts as filtered.
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        self,
        id: &str,
        mut f: impl FnMut(T) -> I + 'static,
    ) -> Stream<'s, U> {
        self.transform(
            id,
            StepKind::Transform,
            "flat_map",
            move |records, endings| {
                let mut made = Vec::with_capacity(records.len());
                for record in records {
                    let (blank, before) = (record.with(()), made.len());
                    let outcome = guard(|| {
                        for (index, value) in (0..).zip(f(record.value)) {
                            let mut child = blank.with(value);
                            child.origin = blank.origin.child(index);
                            made.push(child);
                        }
                    });
                    if let Err(reason) = outcome {
                        made.truncate(before);
                        endings.reject(&blank, None::<&T>, reason);
                    } else if made.len() == before {
                        endings.finish(blank.origin, Fate::Filtered);
                    }
                }
                made
            },
        )
    }

    /// Runs a stateless step, in which a record on which a closure panics becomes a dead letter.
    fn transform<U: Data>(
        self,
        id: &str,
        kind: StepKind,
        label: &str,
        mut f: impl FnMut(Vec<Record<T>>, &mut Endings) -> Vec<Record<U>> + 'static,
    ) -> Stream<'s, U> {
        let (node, metrics) = self.shared.add_step(id, kind, label, &[self.node]);
        let mut endings = Endings::new(id, self.shared.site.job.telemetry.ledger().pen());
        let (shared, edge) = self.into_edge();
        let logic = move |packet: Packet<T>, given: &mut Vec<_>, letters: &mut Letters| {
            let taken = packet.records.len();
            let records = f(packet.records, &mut endings);
            letters.append(&mut endings.letters);
            metrics.packet(taken, records.len(), None);
            let Packet {
                from,
                to,
                watermark,
                ..
            } = packet;
            given.push(Packet {
                from,
                to,
                records,
                watermark,
            });
        };
        let (edge, sides) = unary::unary_with_sides(edge, id, Sides::Panics, logic);
        shared.add_sides(id, node, sides);
        Stream::new(shared, node, edge)
    }

    /// Transforms whole batches, of which some records may become dead letters with a reason.
    ///
    /// `f` gets the records and gives back, in their order, a value or a reason for each. If it
    /// panics, the run ends: the records are gone.
    pub fn try_map_batch<U: Data>(
        self,
        id: &str,
        kind: StepKind,
        label: &str,
        mut f: impl FnMut(Vec<Record<T>>) -> Vec<Result<Record<U>, (Record<T>, String)>> + 'static,
    ) -> Stream<'s, U> {
        let (node, metrics) = self.shared.add_step(id, kind, label, &[self.node]);
        let clock = self.shared.site.job.options.clock.clone();
        let job = Arc::clone(&self.shared.site.job);
        let mut endings = Endings::new(id, job.telemetry.ledger().pen());
        let step = id.to_owned();
        let (shared, edge) = self.into_edge();
        let logic = move |packet: Packet<T>, given: &mut Vec<_>, letters: &mut Letters| {
            let taken = packet.records.len();
            let oldest_ns = packet.records.first().map(|record| record.ingested_ns);
            let mut records = Vec::with_capacity(taken);
            let outcomes = guard(|| f(packet.records)).unwrap_or_else(|reason| {
                job.fail(format!("step `{step}`: {reason}"));
                Vec::new()
            });
            for outcome in outcomes {
                match outcome {
                    Ok(record) => records.push(record),
                    Err((record, reason)) => {
                        endings.reject(&record.with(()), Some(&record.value), reason);
                    }
                }
            }
            letters.append(&mut endings.letters);
            let latency_ns = oldest_ns.map(|ns| clock.now_ns().saturating_sub(ns));
            metrics.packet(taken, records.len(), latency_ns);
            let Packet {
                from,
                to,
                watermark,
                ..
            } = packet;
            given.push(Packet {
                from,
                to,
                records,
                watermark,
            });
        };
        let (edge, sides) = unary::unary_with_sides(edge, id, Sides::Dead, logic);
        shared.add_sides(id, node, sides);
        Stream::new(shared, node, edge)
    }

    /// Unites this stream with others of its type.
    pub fn merge(self, id: &str, others: impl IntoIterator<Item = Self>) -> Self {
        let all: Vec<_> = std::iter::once(self).chain(others).collect();
        let nodes: Vec<_> = all.iter().map(|stream| stream.node).collect();
        let shared = Rc::clone(&all[0].shared);
        let (node, _) = shared.add_step(id, StepKind::Merge, "merge", &nodes);
        let edges = all.into_iter().map(|stream| stream.into_edge().1).collect();
        let edge = merge::merge(&shared.site, edges);
        Stream::new(shared, node, edge)
    }

    /// Runs a step on each worker's own records as they arrive, all under the worker's one key: the
    /// first half of an aggregation over all keys.
    pub fn local_step<S: KeyedStep<T, Key = LocalKey>>(
        self,
        id: &str,
        label: &str,
        step: S,
    ) -> Stream<'s, S::Out> {
        let (node, metrics) = self
            .shared
            .add_step(id, StepKind::Keyed, label, &[self.node]);
        let (shared, edge) = self.into_edge();
        let (edge, sides) = keyed::local(&shared.site, edge, (metrics, label), step);
        shared.add_sides(id, node, sides);
        Stream::new(shared, node, edge)
    }

    /// Keys the stream: what follows keeps state per key.
    pub fn key_by<K: Key>(self, key: impl Fn(&T) -> K + Clone + 'static) -> Keyed<'s, K, T> {
        Keyed::new(self, key)
    }

    /// Writes the stream to a sink. A record that its writer refuses, such as one that has no form in
    /// the sink's format, becomes a dead letter.
    pub fn sink(self, id: &str, config: impl Sink<T>) {
        self.sink_shared(id, Arc::new(config));
    }

    pub(crate) fn sink_shared(self, id: &str, config: Arc<dyn Sink<T>>) {
        let (_, metrics) =
            self.shared
                .add_step(id, StepKind::Sink, &config.describe(), &[self.node]);
        let (shared, edge) = self.into_edge();
        let is_written_here =
            config.writers() == Writers::EachWorker || shared.site.job.options.is_first_process();
        if shared.site.planning {
            let mut is_writable = true;
            if is_written_here {
                let delivery = shared.site.job.options.delivery(id, config.delivery());
                let fences = delivery == Delivery::ExactlyOnce;
                match config.check() {
                    // Whoever writes it is fenced off before it is opened.
                    Err(SinkError::Busy { .. }) if fences => {}
                    Err(error) => {
                        shared.sink_error(id, &error);
                        is_writable = false;
                    }
                    Ok(()) => {}
                }
            }
            shared.plan_delivery(id, &*config, is_writable);
        }
        let (dead, opened) = sink::sink(&shared.site, edge, metrics, &config);
        shared.add_silent(dead);
        if let Err(error) = opened {
            shared.sink_error(id, &error);
        }
    }

    /// Notes that the flow cannot be built; all such errors are reported together.
    pub fn error(&self, error: impl Into<String>) {
        self.shared.error(error);
    }

    /// The figures of the running job.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.site.job.telemetry
    }
}

impl<'s, K, L> Stream<'s, (K, L)>
where
    K: Key,
    L: Data + Fact,
{
    /// Pairs each fact with the latest value of its key in `latest`, which may come later and be
    /// revised, as long as that value's event time is within `horizon` of the fact's own.
    ///
    /// State for a fact or a value is dropped once the watermark has passed its horizon.
    pub fn join_latest<R: Data + Fact>(
        self,
        id: &str,
        latest: Stream<'s, (K, R)>,
        horizon: Duration,
    ) -> Stream<'s, Change<K, L, R>> {
        let inputs = [self.node, latest.node];
        let (node, metrics) = self
            .shared
            .add_step(id, StepKind::Keyed, "join_latest", &inputs);
        let (_, right) = latest.into_edge();
        let (shared, left) = self.into_edge();
        let edge = join_latest(&shared.site, left, right, metrics, horizon);
        Stream::new(shared, node, edge)
    }
}
