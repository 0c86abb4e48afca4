//! Joins a stream of facts with a table of latest values, through differential, within a horizon.
//!
//! The [`Gate`] turns records into updates of two relations and takes out again what the watermark
//! has left a horizon behind; differential joins the two; [`close_ticks`] turns the updates of the
//! join back into records. Nothing here remembers a pair once both of its sides have expired.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::time::Duration;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::{AsCollection, Hashable};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder, OutputBuilderSession};
use timely::progress::operate::FrontierInterest;

use super::merge::merge;
use super::route::route;
use super::unary::unary;
use super::{Edge, Site, Tick};
use crate::key::{Key, StableHasher};
use crate::ledger::{Fate, Pen};
use crate::record::{Data, Origin, Packet, Record};
use crate::relation::{Change, Fact};
use crate::time::EventTime;
use crate::watermark::{Watermark, WatermarkMerge};

/// The place in event-time order: of the values of a key the last in this order counts.
type Version = (EventTime, Origin);
type LeftUpdate<K, L> = ((K, Arrived<L>), Tick, isize);
type RightUpdate<K, R> = ((K, (Version, R)), Tick, isize);
type Pair<K, L, R> = (K, Arrived<L>, R);
type PairUpdate<K, L, R> = (Pair<K, L, R>, Tick, isize);
type Builder<T> = CapacityContainerBuilder<Vec<T>>;
type Output<'a, T> = OutputBuilderSession<'a, Tick, Builder<T>>;

/// A fact with what its record says of it, in event-time order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Arrived<L> {
    version: Version,
    ingested_ns: u64,
    value: L,
}

#[derive(Clone, Serialize, Deserialize)]
enum Side<K, L, R> {
    Left(K, L),
    Right(K, R),
}

/// Pairs each fact of `left` with the latest value of its key in `right`, when their event times
/// are at most `horizon` apart, and tells of every revision of that value until the fact expires.
///
/// Revisions within one tick come as one. A value that is revised to an equal one, or to one beyond
/// the horizon, changes nothing. Changes bear the event time and the origin of their fact.
pub(crate) fn join_latest<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    left: Edge<'s, (K, L)>,
    right: Edge<'s, (K, R)>,
    horizon: Duration,
) -> Edge<'s, Change<K, L, R>> {
    let left = side(left, |(key, value)| Side::Left(key, value));
    let right = side(right, |(key, value)| Side::Right(key, value));
    let (lefts, rights, watermarks) = gate(site, merge(site, vec![left, right]), horizon);
    let lefts = lefts.as_collection().arrange_by_key();
    let rights = rights.as_collection().arrange_by_key();
    let near = move |key: &K, left: &Arrived<L>, (version, right): &(Version, R)| {
        let (left_time, right_time) = (left.version.0, version.0);
        let apart = left_time.since(right_time).max(right_time.since(left_time));
        (apart <= horizon).then(|| (key.clone(), left.clone(), right.clone()))
    };
    let pairs = lefts.join_core(rights, near);
    close_ticks(site, pairs.inner, watermarks)
}

fn side<'s, T: Data, K: Key, L: Data, R: Data>(
    input: Edge<'s, T>,
    side: impl Fn(T) -> Side<K, L, R> + 'static,
) -> Edge<'s, Side<K, L, R>> {
    unary(input, "join_latest side", move |packet, given| {
        let records = packet.records.into_iter();
        given.push(Packet {
            from: packet.from,
            to: packet.to,
            records: records.map(|record| record.map(&side)).collect(),
            watermark: packet.watermark,
        });
    })
}

type GateStreams<'s, K, L, R> = (
    StreamVec<'s, Tick, LeftUpdate<K, L>>,
    StreamVec<'s, Tick, RightUpdate<K, R>>,
    StreamVec<'s, Tick, Watermark>,
);

/// Runs a [`Gate`] on the worker to which differential, too, would bring the record's key.
fn gate<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    input: Edge<'s, Side<K, L, R>>,
    horizon: Duration,
) -> GateStreams<'s, K, L, R> {
    let workers = site.workers() as u64;
    let routed = route(site, input, move |side: &Side<K, L, R>| {
        let (Side::Left(key, _) | Side::Right(key, _)) = side;
        (key.hashed() % workers) as usize
    });
    let mut builder = OperatorBuilder::new("join_latest gate".to_owned(), site.scope);
    let to_owner = Exchange::new(|packet: &Packet<_>| packet.to as u64);
    let mut input = builder.new_input(routed, to_owner);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (lefts, left_stream) = builder.new_output();
    let (rights, right_stream) = builder.new_output();
    let (watermarks, watermark_stream) = builder.new_output();
    let mut lefts = OutputBuilder::<_, Builder<LeftUpdate<K, L>>>::from(lefts);
    let mut rights = OutputBuilder::<_, Builder<RightUpdate<K, R>>>::from(rights);
    let mut watermarks = OutputBuilder::<_, Builder<Watermark>>::from(watermarks);
    let mut gate = Gate::new(site, horizon);
    builder.build(move |_| {
        move |_| {
            let (mut lefts, mut rights) = (lefts.activate(), rights.activate());
            let mut watermarks = watermarks.activate();
            input.for_each(|capability, packets| {
                let tick = gate.enter(*capability.stamp().expect_singleton());
                packets.drain(..).for_each(|packet| gate.take_in(packet));
                let at = |output| capability.delayed(&tick, output);
                lefts.session(&at(0)).give_iterator(gate.lefts.drain(..));
                rights.session(&at(1)).give_iterator(gate.rights.drain(..));
                watermarks.session(&at(2)).give(gate.watermarks.current());
            });
        }
    });
    (left_stream, right_stream, watermark_stream)
}

/// Turns records into updates of the two relations, in an order of ticks that never goes back, and
/// takes out what has expired when a tick begins: no record is in time for a tick and expired in it.
struct Gate<K, L, R> {
    horizon: Duration,
    watermarks: WatermarkMerge,
    tick: Tick,
    /// What the table of values has of each key.
    latest: HashMap<K, (Version, R), BuildHasherDefault<StableHasher>>,
    expiring_lefts: Expiring<(K, Arrived<L>)>,
    expiring_rights: Expiring<(K, Version)>,
    lefts: Vec<LeftUpdate<K, L>>,
    rights: Vec<RightUpdate<K, R>>,
    pen: Pen,
}

impl<K: Key, L: Data + Fact, R: Data + Fact> Gate<K, L, R> {
    fn new(site: &Site<'_>, horizon: Duration) -> Self {
        Self {
            horizon,
            watermarks: WatermarkMerge::new(site.workers()),
            tick: 0,
            latest: HashMap::default(),
            expiring_lefts: Expiring::new(horizon),
            expiring_rights: Expiring::new(horizon),
            lefts: Vec::new(),
            rights: Vec::new(),
            pen: site.job.telemetry.ledger().pen(),
        }
    }

    /// Begins a tick, unless another worker was faster; gives the tick that is open now.
    fn enter(&mut self, tick: Tick) -> Tick {
        if tick > self.tick {
            self.tick = tick;
            self.expire(self.watermarks.current());
        }
        self.tick
    }

    fn take_in(&mut self, packet: Packet<Side<K, L, R>>) {
        for record in packet.records {
            self.pen.mark(record.origin, Fate::Processed);
            let (version, ingested_ns) = ((record.time, record.origin), record.ingested_ns);
            match record.value {
                Side::Left(key, value) => self.insert_left(key, version, ingested_ns, value),
                Side::Right(key, value) => self.insert_right(key, version, value),
            }
        }
        self.watermarks.update(packet.from, packet.watermark);
    }

    fn insert_left(&mut self, key: K, version: Version, ingested_ns: u64, value: L) {
        let left = Arrived {
            version,
            ingested_ns,
            value,
        };
        let last = version.0.saturating_add(self.horizon);
        self.expiring_lefts.push(last, (key.clone(), left.clone()));
        self.lefts.push(((key, left), self.tick, 1));
    }

    fn insert_right(&mut self, key: K, version: Version, value: R) {
        let known = self.latest.get(&key);
        if known.is_some_and(|(latest, _)| *latest >= version) {
            return;
        }
        // As long as the last fact that it can pair with: what revises it until then must find it.
        let last = version.0.saturating_add(self.horizon.saturating_mul(2));
        self.expiring_rights.push(last, (key.clone(), version));
        let value = (version, value);
        if let Some(former) = self.latest.insert(key.clone(), value.clone()) {
            self.rights.push(((key.clone(), former), self.tick, -1));
        }
        self.rights.push(((key, value), self.tick, 1));
    }

    fn expire(&mut self, watermark: Watermark) {
        for (key, left) in self.expiring_lefts.take_passed(watermark) {
            self.lefts.push(((key, left), self.tick, -1));
        }
        for (key, version) in self.expiring_rights.take_passed(watermark) {
            let known = self.latest.get(&key);
            if known.is_some_and(|(latest, _)| *latest == version)
                && let Some(former) = self.latest.remove(&key)
            {
                self.rights.push(((key, former), self.tick, -1));
            }
        }
    }
}

/// What waits for the watermark to pass its last instant, in spans that go as a whole: which pairs
/// there are does not depend on how long something stays beyond its last instant.
struct Expiring<T> {
    span_us: i64,
    spans: BTreeMap<i64, Vec<T>>,
}

impl<T> Expiring<T> {
    /// Spans of a small part of the horizon.
    fn new(horizon: Duration) -> Self {
        let span_us = i64::try_from(horizon.as_micros() / 64).unwrap_or(i64::MAX);
        Self {
            span_us: span_us.max(1),
            spans: BTreeMap::new(),
        }
    }

    fn push(&mut self, last: EventTime, item: T) {
        let span = last.as_micros().div_euclid(self.span_us);
        self.spans.entry(span).or_default().push(item);
    }

    /// The end of input passes nothing: there is no later tick to do it in.
    fn take_passed(&mut self, watermark: Watermark) -> Vec<T> {
        let mut passed = Vec::new();
        let reached = watermark.time.as_micros().div_euclid(self.span_us);
        while let Some(entry) = self.spans.first_entry()
            && *entry.key() < reached
            && !watermark.is_end()
        {
            passed.extend(entry.remove());
        }
        passed
    }
}

/// What has come of a tick so far.
struct OpenTick<K, L, R> {
    capability: Capability<Tick>,
    pairs: Vec<(Pair<K, L, R>, isize)>,
    watermark: Option<Watermark>,
}

impl<K, L, R> OpenTick<K, L, R> {
    fn new(capability: Capability<Tick>) -> Self {
        Self {
            capability,
            pairs: Vec::new(),
            watermark: None,
        }
    }
}

/// Gives the changes of each tick, and the watermark at its end, in one packet once it is complete.
fn close_ticks<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    pairs: StreamVec<'s, Tick, PairUpdate<K, L, R>>,
    watermarks: StreamVec<'s, Tick, Watermark>,
) -> Edge<'s, Change<K, L, R>> {
    let (worker, id) = (site.worker(), "join_latest changes");
    let mut ticks = BTreeMap::new();
    let mut told = Watermark::START;
    pairs.binary_frontier(watermarks, Pipeline, Pipeline, id, move |_, _| {
        move |(pairs, front), (watermarks, watermarks_front), output: &mut Output<'_, _>| {
            pairs.for_each(|capability, updates| {
                for (pair, tick, diff) in updates.drain(..) {
                    let open = || OpenTick::new(capability.delayed(&tick, 0));
                    let tick = ticks.entry(tick).or_insert_with(open);
                    tick.pairs.push((pair, diff));
                }
            });
            watermarks.for_each(|capability, given| {
                let tick = *capability.stamp().expect_singleton();
                let open = || OpenTick::new(capability.delayed(&tick, 0));
                ticks.entry(tick).or_insert_with(open).watermark = given.pop();
            });
            while let Some(entry) = ticks.first_entry()
                && !front.less_equal(entry.key())
                && !watermarks_front.less_equal(entry.key())
            {
                let tick = entry.remove();
                let watermark = tick.watermark.unwrap_or(told);
                let records = changes(tick.pairs);
                if !records.is_empty() || watermark != told {
                    told = watermark;
                    let packet = Packet::local(worker, records, watermark);
                    output.session(&tick.capability).give(packet);
                }
            }
        }
    })
}

/// The changes that a tick's updates of pairs amount to, in event-time order.
fn changes<K: Key, L: Data + Fact, R: Data + Fact>(
    mut updates: Vec<(Pair<K, L, R>, isize)>,
) -> Vec<Record<Change<K, L, R>>> {
    consolidate(&mut updates);
    let mut records = Vec::new();
    for group in updates.chunk_by(|(a, _), (b, _)| (&a.0, &a.1) == (&b.0, &b.1)) {
        let Some(((key, left, new), added)) = group.iter().find(|(_, diff)| *diff > 0) else {
            // The fact or the value has expired.
            continue;
        };
        let removed = group.iter().find(|(_, diff)| *diff < 0);
        // Several, when one record came to the join by several ways.
        for nth in 0..*added {
            let old = removed.filter(|(_, diff)| nth < -diff);
            let (key, fact, new) = (key.clone(), left.value.clone(), new.clone());
            let value = match old.map(|((_, _, old), _)| old.clone()) {
                Some(old) => Change::Revised {
                    key,
                    left: fact,
                    old,
                    new,
                },
                None => Change::Added {
                    key,
                    left: fact,
                    right: new,
                },
            };
            let ((time, origin), ingested_ns) = (left.version, left.ingested_ns);
            records.push(Record {
                time,
                origin,
                ingested_ns,
                value,
            });
        }
    }
    records.sort_by_key(|record| (record.time, record.origin));
    records
}
