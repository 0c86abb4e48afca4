//! Operators with one input: packet by packet, no frontier, in the order of arrival.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilityTrait;
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
    mut logic: impl FnMut(Packet<I>, &mut Vec<Packet<O>>, &mut Letters) + 'static,
) -> (Edge<'s, O>, SideEdges<'s>) {
    let worker = input.scope().index();
    let mut builder = OperatorBuilder::new(name.to_owned(), input.scope());
    let mut input = builder.new_input(input, Pipeline);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (mut outputs, stream, side_edges) = SideOutputs::new(&mut builder, sides, worker);
    builder.build(move |_| {
        move |_| {
            input.for_each(|capability, packets| {
                packets
                    .drain(..)
                    .for_each(|packet| logic(packet, &mut outputs.given, &mut outputs.letters));
                outputs.send([&capability; 3]);
            });
        }
    });
    (stream, side_edges)
}

/// The outputs of an operator that has letters, and what is to be sent on them.
pub(super) struct SideOutputs<O: Data> {
    main: OutputBuilder<Tick, Packets<O>>,
    dead: OutputBuilder<Tick, Packets<DeadLetter>>,
    late: Option<OutputBuilder<Tick, Packets<LateEvent>>>,
    sides: Sides,
    worker: usize,
    pub(super) given: Vec<Packet<O>>,
    pub(super) letters: Letters,
    /// The watermark that the letters have told of.
    told: Watermark,
}

impl<O: Data> SideOutputs<O> {
    /// Adds the outputs: the main one, the dead letters, the late events if there are any.
    pub(super) fn new<'s>(
        builder: &mut OperatorBuilder<'s, Tick>,
        sides: Sides,
        worker: usize,
    ) -> (Self, Edge<'s, O>, SideEdges<'s>) {
        let (main, stream) = builder.new_output();
        let (dead_output, dead) = builder.new_output();
        let (late_output, late) = (sides == Sides::DeadAndLate)
            .then(|| builder.new_output())
            .unzip();
        let outputs = Self {
            main: OutputBuilder::from(main),
            dead: OutputBuilder::from(dead_output),
            late: late_output.map(OutputBuilder::from),
            sides,
            worker,
            given: Vec::new(),
            letters: Letters::default(),
            // Who tells of no watermark holds back no one's.
            told: match sides {
                Sides::Panics => Watermark::END,
                Sides::Dead | Sides::DeadAndLate => Watermark::START,
            },
        };
        (outputs, stream, SideEdges { sides, dead, late })
    }

    /// Sends what there is, with the right to do so on each output in their order.
    pub(super) fn send<C: CapabilityTrait<Tick>>(&mut self, [main, dead, late]: [&C; 3]) {
        let mut watermark = self.told;
        if let (Some(packet), true) = (self.given.last(), self.sides != Sides::Panics) {
            watermark = packet.watermark;
        }
        if !self.given.is_empty() {
            let mut output = self.main.activate();
            output.session(main).give_container(&mut self.given);
            self.given.clear();
        }
        if self.letters.is_empty() && watermark == self.told {
            return;
        }
        self.told = watermark;
        let letters = std::mem::take(&mut self.letters);
        let packet = Packet::local(self.worker, letters.dead, watermark);
        self.dead.activate().session(dead).give(packet);
        if let Some(output) = &mut self.late {
            let packet = Packet::local(self.worker, letters.late, watermark);
            output.activate().session(late).give(packet);
        } else {
            assert!(
                letters.late.is_empty(),
                "invariant: who diverts has a late output"
            );
        }
    }
}
