//! Unites streams of one type; the watermark is the least of theirs.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::{Edge, Site};
use crate::record::{Data, Packet};
use crate::watermark::WatermarkMerge;

/// Unites streams, each packet as it comes.
pub(crate) fn merge<'s, T: Data>(site: &Site<'s>, inputs: Vec<Edge<'s, T>>) -> Edge<'s, T> {
    merge_beside(site, inputs, Vec::new())
}

/// As [`merge`], with further streams that tell of no watermark.
pub(crate) fn merge_beside<'s, T: Data>(
    site: &Site<'s>,
    inputs: Vec<Edge<'s, T>>,
    silent: Vec<Edge<'s, T>>,
) -> Edge<'s, T> {
    let worker = site.worker();
    let mut builder = OperatorBuilder::new("merge".to_owned(), site.scope);
    let mut watermarks = WatermarkMerge::beside(inputs.len(), silent.len());
    let mut handles: Vec<_> = inputs
        .into_iter()
        .chain(silent)
        .map(|input| builder.new_input(input, Pipeline))
        .collect();
    (0..handles.len()).for_each(|i| builder.set_notify_for(i, FrontierInterest::Never));
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<T>>>>::from(output);
    builder.build(move |_| {
        move |_| {
            let mut output = output.activate();
            for (index, input) in handles.iter_mut().enumerate() {
                input.for_each(|capability, packets| {
                    let mut session = output.session(&capability);
                    for mut packet in packets.drain(..) {
                        let before = watermarks.current();
                        packet.watermark = watermarks.update(index, packet.watermark);
                        packet.from = worker;
                        packet.to = worker;
                        if !packet.records.is_empty() || packet.watermark != before {
                            session.give(packet);
                        }
                    }
                });
            }
        }
    });
    stream
}
