//! Operators with one input: packet by packet, no frontier, in the order of arrival.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::{Edge, Tick};
use crate::letters::{DeadLetter, LateEvent, Letters};
use crate::record::{Data, Packet};
use crate::watermark::Watermark;

type Packets<T> = CapacityContainerBuilder<Vec<Packet<T>>>;

/// An operator on this worker's packets.
pub(crate) fn unary<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    mut logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>) + 'static,
) -> Edge<'s, O> {
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
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

/// What an operator has to send beside its main output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sides {
    /// Dead letters where closures of the user's panic: as they come, without a watermark, so that
    /// they cost nothing while there are none.
    Panics,
    /// Dead letters, with the watermark after them.
    Dead,
    /// Dead letters and late events, with the watermark after them.
    DeadAndLate,
}

/// The edges of what an operator sends beside its main output.
pub(crate) struct SideEdges<'s> {
    pub(crate) sides: Sides,
    pub(crate) dead: Edge<'s, DeadLetter>,
    /// With [`Sides::DeadAndLate`] only.
    pub(crate) late: Option<Edge<'s, LateEvent>>,
}

/// As [`unary`], with further outputs for the letters that `logic` leaves in its last argument.
pub(crate) fn unary_with_sides<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    sides: Sides,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Letters) + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    build_with_sides(input, Pipeline, name, sides, logic)
}

/// As [`unary_with_sides`], on the packets that all workers have addressed to this one.
pub(crate) fn exchanged_with_sides<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    name: &str,
    sides: Sides,
    logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Letters) + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    if input.scope().peers() == 1 {
        return unary_with_sides(input, name, sides, logic);
    }
    let to_addressee = Exchange::new(|packet: &Packet<I>| packet.to as u64);
    build_with_sides(input, to_addressee, name, sides, logic)
}

fn build_with_sides<'s, I: Data, O: Data>(
    input: Edge<'s, I>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<I>>>,
    name: &str,
    sides: Sides,
    mut logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Letters) + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    let worker = input.scope().index();
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, pact);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (output, stream) = builder.new_output();
    let (dead_output, dead) = builder.new_output();
    let (late_output, late) = (sides == Sides::DeadAndLate)
        .then(|| builder.new_output())
        .unzip();
    let mut output = OutputBuilder::<_, Packets<O>>::from(output);
    let mut dead_output = OutputBuilder::<_, Packets<DeadLetter>>::from(dead_output);
    let mut late_output = late_output.map(OutputBuilder::<_, Packets<LateEvent>>::from);
    builder.build(move |_| {
        let (mut given, mut letters) = (Vec::new(), Letters::default());
        // Who tells of no watermark holds back no one's.
        let mut told = match sides {
            Sides::Panics => Watermark::END,
            Sides::Dead | Sides::DeadAndLate => Watermark::START,
        };
        move |_| {
            let mut output = output.activate();
            input.for_each(|capability, packets| {
                packets
                    .drain(..)
                    .for_each(|packet| logic(packet, &mut given, &mut letters));
                let mut watermark = told;
                if let (Some(packet), true) = (given.last(), sides != Sides::Panics) {
                    watermark = packet.watermark;
                }
                if !given.is_empty() {
                    output.session(&capability).give_container(&mut given);
                    given.clear();
                }
                if letters.is_empty() && watermark == told {
                    return;
                }
                told = watermark;
                let Letters { dead, late } = std::mem::take(&mut letters);
                let dead = Packet::local(worker, dead, watermark);
                dead_output.activate().session(&capability).give(dead);
                if let Some(late_output) = &mut late_output {
                    let late = Packet::local(worker, late, watermark);
                    late_output.activate().session(&capability).give(late);
                } else {
                    assert!(late.is_empty(), "invariant: who diverts has a late output");
                }
            });
        }
    });
    (stream, SideEdges { sides, dead, late })
}
