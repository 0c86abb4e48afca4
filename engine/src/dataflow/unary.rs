//! Operators with one input: packet by packet, no frontier, in the order of arrival.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::{Edge, SideEdges, Tick};
use crate::letters::{DeadLetter, LateEvent, Letters};
use crate::record::{Data, Packet, Record};
use crate::watermark::Watermark;

type Packets<T> = CapacityContainerBuilder<Vec<Packet<T>>>;

/// An operator on this worker's packets.
pub(crate) fn unary<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>) + 'static,
) -> Edge<'s, O> {
    build(input, Pipeline, name, logic)
}

/// An operator on the packets that all workers have addressed to this one.
pub(crate) fn exchanged<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>) + 'static,
) -> Edge<'s, O> {
    if input.scope().peers() == 1 {
        return unary(input, name, logic);
    }
    build(
        input,
        Exchange::new(|packet: &Packet<I>| packet.to as u64),
        name,
        logic,
    )
}

fn build<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<I>>>,
    name: &str,
    mut logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>) + 'static,
) -> Edge<'s, O> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, pact);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<_, Packets<O>>::from(output);
    builder.build(move |_| {
        let mut given = Vec::new();
        move |_| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                packets
                    .drain(..)
                    .for_each(|packet| logic(packet, &mut given));
                if !given.is_empty() {
                    output.session(&capability).give_container(&mut given);
                    given.clear();
                }
            });
        }
    });
    stream
}

/// As [`unary`], with a second output for the dead letters that `logic` leaves in its last argument
/// where closures of the user's panic. It tells of no watermark and costs nothing while it is empty.
pub(crate) fn unary_guarded<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Vec<Record<DeadLetter>>) + 'static,
) -> (Edge<'s, O>, Edge<'s, DeadLetter>) {
    build_guarded(input, Pipeline, name, logic)
}

/// As [`exchanged`], with a second output as that of [`unary_guarded`].
pub(crate) fn exchanged_guarded<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Vec<Record<DeadLetter>>) + 'static,
) -> (Edge<'s, O>, Edge<'s, DeadLetter>) {
    if input.scope().peers() == 1 {
        return unary_guarded(input, name, logic);
    }
    let to_addressee = Exchange::new(|packet: &Packet<I>| packet.to as u64);
    build_guarded(input, to_addressee, name, logic)
}

fn build_guarded<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<I>>>,
    name: &str,
    mut logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Vec<Record<DeadLetter>>) + 'static,
) -> (Edge<'s, O>, Edge<'s, DeadLetter>) {
    let worker = input.scope().index();
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, pact);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, stream) = builder.new_output();
    let (dead_output, dead_stream) = builder.new_output();
    let mut output = OutputBuilder::<_, Packets<O>>::from(output);
    let mut dead_output = OutputBuilder::<_, Packets<DeadLetter>>::from(dead_output);
    builder.build(move |_| {
        let (mut given, mut dead) = (Vec::new(), Vec::new());
        move |_| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                packets
                    .drain(..)
                    .for_each(|packet| logic(packet, &mut given, &mut dead));
                if !given.is_empty() {
                    output.session(&capability).give_container(&mut given);
                    given.clear();
                }
                if !dead.is_empty() {
                    let letters = std::mem::take(&mut dead);
                    let packet = Packet::local(worker, letters, Watermark::END);
                    dead_output.activate().session(&capability).give(packet);
                }
            });
        }
    });
    (stream, dead_stream)
}

/// An operator with a late stream and dead letters, both of which tell of the watermark, on the
/// packets that all workers have addressed to this one or on this worker's own.
pub(crate) fn with_sides<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    from_all: bool,
    name: &str,
    logic: impl FnMut(Packet<I>) -> Option<(Packet<O>, Letters)> + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    if from_all && input.scope().peers() > 1 {
        let to_addressee = Exchange::new(|packet: &Packet<I>| packet.to as u64);
        build_with_sides(input, to_addressee, name, logic)
    } else {
        build_with_sides(input, Pipeline, name, logic)
    }
}

fn build_with_sides<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<I>>>,
    name: &str,
    mut logic: impl FnMut(Packet<I>) -> Option<(Packet<O>, Letters)> + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, pact);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, stream) = builder.new_output();
    let (late_output, late_stream) = builder.new_output();
    let (dead_output, dead_stream) = builder.new_output();
    let mut output = OutputBuilder::<_, Packets<O>>::from(output);
    let mut late_output = OutputBuilder::<_, Packets<LateEvent>>::from(late_output);
    let mut dead_output = OutputBuilder::<_, Packets<DeadLetter>>::from(dead_output);
    builder.build(move |_| {
        move |_| {
            let mut output = output.activate();
            let (mut late, mut dead) = (late_output.activate(), dead_output.activate());
            input.for_each(|capability, packets| {
                let mut session = output.session(&capability);
                let mut late_session = late.session(&capability);
                let mut dead_session = dead.session(&capability);
                for (packet, letters) in packets.drain(..).filter_map(&mut logic) {
                    let (worker, watermark) = (packet.from, packet.watermark);
                    session.give(packet);
                    late_session.give(Packet::local(worker, letters.late, watermark));
                    dead_session.give(Packet::local(worker, letters.dead, watermark));
                }
            });
        }
    });
    let sides = SideEdges::Streams {
        late: late_stream,
        dead: dead_stream,
    };
    (stream, sides)
}

/// A local operator that turns a packet into one packet, and some of its records into dead letters.
pub(crate) fn unary_with_dead<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    mut logic: impl FnMut(Packet<I>, &mut Vec<Record<DeadLetter>>) -> Packet<O> + 'static,
) -> (Edge<'s, O>, Edge<'s, DeadLetter>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, stream) = builder.new_output();
    let (dead_output, dead_stream) = builder.new_output();
    let mut output = OutputBuilder::<_, Packets<O>>::from(output);
    let mut dead_output = OutputBuilder::<_, Packets<DeadLetter>>::from(dead_output);
    builder.build(move |_| {
        move |_| {
            let mut output = output.activate();
            let mut dead_output = dead_output.activate();
            input.for_each(|capability, packets| {
                let mut session = output.session(&capability);
                let mut dead_session = dead_output.session(&capability);
                for packet in packets.drain(..) {
                    let mut dead = Vec::new();
                    let given = logic(packet, &mut dead);
                    let (from, to, watermark) = (given.from, given.to, given.watermark);
                    session.give(given);
                    dead_session.give(Packet {
                        from,
                        to,
                        records: dead,
                        watermark,
                    });
                }
            });
        }
    });
    (stream, dead_stream)
}
