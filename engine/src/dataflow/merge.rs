//! Unites streams of one type; the watermark is the least of theirs.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::CapabilityTrait;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::progress::operate::FrontierInterest;

use super::epoch::{epoch_of, open_epoch};
use super::stateful::Held;
use super::{Edge, Site, Tick};
use crate::record::{Data, Packet};
use crate::turns::{self, Defect};
use crate::watermark::WatermarkMerge;

type Output<'a, T> = OutputBuilderSession<'a, Tick, CapacityContainerBuilder<Vec<Packet<T>>>>;

/// Unites streams, each packet as it comes.
///
/// What belongs to the next epoch is held back until the open one is over on all inputs: a watermark
/// that one of them has got to in the next epoch must not go out with a packet that another one sends
/// in this one, ahead of the records that it promises.
pub(crate) fn merge<'s, T: Data>(site: &Site<'s>, inputs: Vec<Edge<'s, T>>) -> Edge<'s, T> {
    merge_beside(site, inputs, Vec::new())
}

/// As [`merge`], with further streams that tell of no watermark.
pub(crate) fn merge_beside<'s, T: Data>(
    site: &Site<'s>,
    inputs: Vec<Edge<'s, T>>,
    silent: Vec<Edge<'s, T>>,
) -> Edge<'s, T> {
    let mut builder = OperatorBuilder::new("merge".to_owned(), site.scope);
    let mut merging = Merging {
        worker: site.worker(),
        watermarks: WatermarkMerge::beside(inputs.len(), silent.len()),
    };
    let mut handles: Vec<_> = inputs
        .into_iter()
        .chain(silent)
        .map(|input| builder.new_input(input, Pipeline))
        .collect();
    let has_epochs = site.epochs.is_some() && !turns::is_planted(Defect::EpochsMerged);
    if !has_epochs {
        (0..handles.len()).for_each(|i| builder.set_notify_for(i, FrontierInterest::Never));
    }
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<T>>>>::from(output);
    builder.build(move |_| {
        let mut held = Held::default();
        move |frontiers| {
            let mut output = output.activate();
            let open = match has_epochs {
                true => frontiers.iter().filter_map(open_epoch).min(),
                false => None,
            };
            let open = open.unwrap_or(u64::MAX);
            while let Some(epoch) = held.first_epoch().filter(|first| *first <= open) {
                for (at, (index, packets)) in held.take(epoch) {
                    merging.send(index, packets, &at[0], &mut output);
                }
            }
            for (index, input) in handles.iter_mut().enumerate() {
                input.for_each(|capability, packets| {
                    let tick = *capability.stamp().expect_singleton();
                    if epoch_of(tick) > open {
                        held.keep(tick, &capability, 1, (index, std::mem::take(packets)));
                    } else {
                        merging.send(index, packets.drain(..), &capability, &mut output);
                    }
                });
            }
        }
    });
    stream
}

/// What is known of all inputs.
struct Merging {
    worker: usize,
    watermarks: WatermarkMerge,
}

impl Merging {
    /// Sends packets of one input with the watermark of all.
    fn send<T: Data>(
        &mut self,
        input: usize,
        packets: impl IntoIterator<Item = Packet<T>>,
        at: &impl CapabilityTrait<Tick>,
        output: &mut Output<'_, T>,
    ) {
        let mut session = output.session(at);
        for mut packet in packets {
            let before = self.watermarks.current();
            packet.watermark = self.watermarks.update(input, packet.watermark);
            packet.from = self.worker;
            packet.to = self.worker;
            if !packet.records.is_empty() || packet.watermark != before {
                session.give(packet);
            }
        }
    }
}
