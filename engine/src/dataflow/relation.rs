//! Joins a stream of facts with a table of latest values, through differential, within a horizon.
//!
//! The gate hands each complete tick to the [`LatestJoin`], which keeps facts and values and gives
//! updates of two relations of their numbers; differential joins the two; at the end of the tick
//! the updates of the join become records again. All of it happens on the worker that owns the
//! key's group, so that nothing is exchanged between the gate and the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use differential_dataflow::operators::arrange::arrangement::arrange_core;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::chunk::vec::{ChunkBatcher, ChunkSpine};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{Operator, OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, InputCapability};
use timely::scheduling::Activator;

use super::epoch::epoch_of;
use super::keyed::{Seat, owner};
use super::latest_index::Place;
use super::latest_join::{FIRST, LatestJoin, Pair, RESTORED, Update};
use super::latest_state::Number;
use super::route::route;
use super::stateful::Boundary;
use super::{Edge, Site, Tick};
use crate::key::Key;
use crate::record::{Data, Packet};
use crate::relation::{Change, Fact};
use crate::telemetry::StepMetrics;
use crate::watermark::Watermark;

type Stamped = ((Place, Number), Tick, isize);
type Numbers<'s> = StreamVec<'s, Tick, Stamped>;
type Arrangement<'s> = Arranged<'s, TraceAgent<ChunkSpine<Place, Number, Tick, isize>>>;
type Builder<T> = CapacityContainerBuilder<Vec<T>>;
type Output<'a, T> = OutputBuilderSession<'a, Tick, Builder<T>>;
type Shared<K, L, R> = Rc<RefCell<LatestJoin<K, L, R>>>;
/// Capabilities for the gate's outputs, for each tick that waits.
type Held = BTreeMap<Tick, [Capability<Tick>; 3]>;

/// Pairs each fact of `left` with the latest value of its key in `right`, when their event times
/// are at most `horizon` apart, and tells of every revision of that value until the fact expires.
///
/// Revisions within one tick come as one. A value that is revised to an equal one, or to one beyond
/// the horizon, changes nothing. Changes bear the event time and the origin of their fact.
pub(crate) fn join_latest<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    left: Edge<'s, (K, L)>,
    right: Edge<'s, (K, R)>,
    metrics: Arc<StepMetrics>,
    horizon: Duration,
) -> Edge<'s, Change<K, L, R>> {
    let seat = Seat {
        worker: site.worker(),
        workers: site.workers(),
        inputs: 2 * site.workers(),
        is_local: false,
    };
    let join = LatestJoin::new(seat, &site.job, metrics, horizon);
    run(site, left, right, &Rc::new(RefCell::new(join)))
}

/// Runs the join on the worker's part of the records.
pub(super) fn run<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    left: Edge<'s, (K, L)>,
    right: Edge<'s, (K, R)>,
    join: &Shared<K, L, R>,
) -> Edge<'s, Change<K, L, R>> {
    let gate = gate(site, left, right, join);
    let facts = arrange(gate.facts, "join_latest facts");
    let values = arrange(gate.values, "join_latest values");
    let meet = |place: &Place, fact: &Number, value: &Number| Some((*place, *fact, *value));
    let pairs = facts.join_core(values, meet);
    close_ticks(site, pairs.inner, gate.watermarks, join, gate.activator)
}

/// Keys are with their owner already: nothing is exchanged.
fn arrange<'s>(numbers: Numbers<'s>, name: &str) -> Arrangement<'s> {
    arrange_core::<_, _, ChunkBatcher<_, _, _, _>, _>(numbers, Pipeline, name, ChunkBatcher::new)
}

/// What the gate gives.
struct Gate<'s> {
    facts: Numbers<'s>,
    values: Numbers<'s>,
    /// Of each tick, the watermark at its end.
    watermarks: StreamVec<'s, Tick, Watermark>,
    activator: Activator,
}

/// Brings records to the owner of their key, and hands them to the join tick by tick.
fn gate<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    left: Edge<'s, (K, L)>,
    right: Edge<'s, (K, R)>,
    join: &Shared<K, L, R>,
) -> Gate<'s> {
    let workers = site.workers();
    let left = route(site, left, move |(key, _): &(K, L)| owner(key, workers));
    let right = route(site, right, move |(key, _): &(K, R)| owner(key, workers));
    let mut builder = OperatorBuilder::new("join_latest gate".to_owned(), site.scope);
    let mut left = builder.new_input(left, Exchange::new(|p: &Packet<(K, L)>| p.to as u64));
    let mut right = builder.new_input(right, Exchange::new(|p: &Packet<(K, R)>| p.to as u64));
    let (facts, fact_stream) = builder.new_output();
    let (values, value_stream) = builder.new_output();
    let (watermarks, watermark_stream) = builder.new_output();
    let mut outputs = Outputs {
        facts: OutputBuilder::from(facts),
        values: OutputBuilder::from(values),
        watermarks: OutputBuilder::from(watermarks),
    };
    let activator = site.scope.activator_for(builder.operator_info().address);
    let mut boundary = Boundary::new(site, &mut builder, join.borrow().identity());
    let join = Rc::clone(join);
    builder.build(move |mut initial| {
        if let Some(boundary) = &mut boundary {
            boundary.begin(initial.pop());
        }
        let mut initial = Some(initial);
        let mut held = Held::new();
        move |frontiers| {
            let join = &mut *join.borrow_mut();
            if let Some(initial) = initial.take() {
                if join.has_waiting() {
                    held.insert(
                        FIRST,
                        [0, 1, 2].map(|output| initial[output].delayed(&FIRST)),
                    );
                }
                let watermark = join.open_restored();
                outputs.give(&mut join.updates, &initial, watermark);
            }
            left.for_each(|capability, packets| {
                let tick = hold(&mut held, &capability);
                let packets = packets.drain(..);
                packets.for_each(|packet| join.wait_facts(tick, packet));
            });
            right.for_each(|capability, packets| {
                let tick = hold(&mut held, &capability);
                let packets = packets.drain(..);
                packets.for_each(|packet| join.wait_values(tick, packet));
            });
            if let Some(boundary) = &mut boundary {
                // Ticks are told one by one: an epoch is over when its last one has been, and before
                // the first one of the next is taken in.
                let first = held.first_key_value().map(|(tick, _)| epoch_of(*tick));
                while !join.is_open()
                    && first.is_none_or(|first| first > boundary.epoch)
                    && frontiers.iter().all(|front| boundary.is_over(front))
                {
                    boundary.close(join, frontiers, first);
                }
                boundary.take_some(join, 0);
                boundary.acknowledge();
            }
            let is_complete = |tick| frontiers.iter().all(|front| !front.less_equal(tick));
            if !join.is_open()
                && let Some(first) = held.first_entry()
                && is_complete(first.key())
            {
                let (tick, at) = first.remove_entry();
                let watermark = join.take_in(tick);
                outputs.give(&mut join.updates, &at, watermark);
            }
        }
    });
    Gate {
        facts: fact_stream,
        values: value_stream,
        watermarks: watermark_stream,
        activator,
    }
}

/// The gate's outputs.
struct Outputs {
    facts: OutputBuilder<Tick, Builder<Stamped>>,
    values: OutputBuilder<Tick, Builder<Stamped>>,
    watermarks: OutputBuilder<Tick, Builder<Watermark>>,
}

impl Outputs {
    fn give(
        &mut self,
        updates: &mut (Vec<Update>, Vec<Update>),
        at: &[Capability<Tick>],
        watermark: Watermark,
    ) {
        let tick = *at[0].time();
        let stamp = move |(number, diff): Update| (number, tick, diff);
        let (mut facts, mut values) = (self.facts.activate(), self.values.activate());
        let (mut facts, mut values) = (facts.session(&at[0]), values.session(&at[1]));
        facts.give_iterator(updates.0.drain(..).map(stamp));
        values.give_iterator(updates.1.drain(..).map(stamp));
        let mut watermarks = self.watermarks.activate();
        watermarks.session(&at[2]).give(watermark);
    }
}

/// Holds the gate's capabilities for the tick of a message, and tells which tick that is.
fn hold(held: &mut Held, capability: &InputCapability<Tick>) -> Tick {
    let tick = FIRST.max(*capability.stamp().expect_singleton());
    let all = || [0, 1, 2].map(|output| capability.delayed(&tick, output));
    held.entry(tick).or_insert_with(all);
    tick
}

/// Gives the changes of each tick, and the watermark at its end, in one packet once it is complete,
/// and has the gate go on.
fn close_ticks<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    pairs: StreamVec<'s, Tick, (Pair, Tick, isize)>,
    watermarks: StreamVec<'s, Tick, Watermark>,
    join: &Shared<K, L, R>,
    gate: Activator,
) -> Edge<'s, Change<K, L, R>> {
    let (worker, id) = (site.worker(), "join_latest changes");
    let join = Rc::clone(join);
    let mut told = Watermark::START;
    // The gate gives one tick at a time.
    let mut updates = Vec::new();
    let mut open: Option<(Capability<Tick>, Watermark)> = None;
    pairs.binary_frontier(watermarks, Pipeline, Pipeline, id, move |_, _| {
        move |(pairs, front), (watermarks, watermarks_front), output: &mut Output<'_, _>| {
            pairs.for_each(|_, given| {
                updates.extend(given.drain(..).map(|(pair, _, diff)| (pair, diff)));
            });
            watermarks.for_each(|capability, given| {
                let tick = *capability.stamp().expect_singleton();
                open = given
                    .pop()
                    .map(|watermark| (capability.delayed(&tick, 0), watermark));
            });
            let is_complete = |(capability, _): &mut (Capability<Tick>, Watermark)| {
                let tick = capability.time();
                !front.less_equal(tick) && !watermarks_front.less_equal(tick)
            };
            let Some((capability, watermark)) = open.take_if(is_complete) else {
                return;
            };
            if *capability.time() == RESTORED {
                // These pairs had been told before the restart.
                updates.clear();
            }
            let records = join
                .borrow_mut()
                .close(std::mem::take(&mut updates), watermark);
            if !records.is_empty() || watermark != told {
                told = watermark;
                let packet = Packet::local(worker, records, watermark);
                output.session(&capability).give(packet);
            }
            gate.activate();
        }
    })
}
