//! Gives the dead letters of what an exactly-once sink [leaves out](crate::left_out) back into the graph, in the
//! epoch that is open.
//!
//! Once nothing comes to the sink any more, it keeps one more epoch open until all of them are published: what
//! the last one leaves out is sealed, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use super::epoch::{epoch_of, first_tick};
use super::{Edge, Site, Tick, activate_after};
use crate::epochs::{Ack, Epochs};
use crate::intake::Wake;
use crate::job::JobContext;
use crate::left_out::LeftOut;
use crate::letters::DeadLetter;
use crate::record::Packet;
use crate::time::millis;
use crate::turns::{self, Defect};
use crate::watermark::Watermark;

/// How often to let those who watch over the worker know that it waits for a sink.
const STILL_WAITING: Duration = millis(100);

/// The operator behind a sink, before it is built.
pub(super) struct GiveBack<'s> {
    site: Site<'s>,
    sink: String,
    builder: OperatorBuilder<'s, Tick>,
    activator: Activator,
    pending: Arc<AtomicBool>,
    epochs: Arc<Epochs>,
    pub(super) left_out: Arc<LeftOut>,
}

impl<'s> GiveBack<'s> {
    /// None in a job without checkpoints.
    pub(super) fn new(site: &Site<'s>, sink: &str) -> Option<Self> {
        let epochs = Arc::clone(site.job.epochs.as_ref()?);
        site.epochs.as_ref()?;
        let builder = OperatorBuilder::new(format!("left out of {sink}"), site.scope);
        let address = builder.operator_info().address;
        let activator = site.scope.worker().sync_activator_for(address.to_vec());
        let activate = Arc::new(move || {
            // Fails only when the worker has gone.
            let _ = activator.activate();
        });
        let pending = Arc::new(AtomicBool::new(false));
        Some(Self {
            site: site.clone(),
            sink: sink.to_owned(),
            activator: site.scope.activator_for(address),
            builder,
            left_out: Arc::new(LeftOut::new(Wake::new(Arc::clone(&pending), activate))),
            pending,
            epochs,
        })
    }

    /// Adds the letters to those that the sink gives by itself.
    pub(super) fn build(self, dead: Edge<'s, DeadLetter>) -> Edge<'s, DeadLetter> {
        let Self {
            site,
            sink,
            mut builder,
            activator,
            pending,
            epochs,
            left_out,
        } = self;
        let mut input = builder.new_input(dead, Pipeline);
        let (given, edge) = builder.new_output();
        let mut given =
            OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<DeadLetter>>>>::from(given);
        let (acks, stream) = builder.new_output();
        let mut acks = OutputBuilder::<_, CapacityContainerBuilder<Vec<Ack>>>::from(acks);
        if let Some(epoch_site) = &site.epochs {
            epoch_site.join(stream);
        }
        let (worker, job) = (site.worker(), Arc::clone(&site.job));
        let is_expected = left_out.is_expected();
        if !is_expected {
            builder.set_notify_for(0, FrontierInterest::Never);
        }
        builder.build(move |capabilities| {
            let mut held = is_expected.then_some(capabilities);
            move |frontiers| {
                pending.store(false, Ordering::Release);
                let mut given = given.activate();
                input.for_each(|capability, packets| {
                    given.session(&capability).give_container(packets);
                });
                let Some(capabilities) = &mut held else {
                    return;
                };
                let first = frontiers[0].frontier().first().copied();
                loop {
                    let tick = first.unwrap_or_else(|| first_tick(left_out.last_epoch()));
                    for capability in capabilities.iter_mut() {
                        capability.downgrade(&tick.max(*capability.time()));
                    }
                    let epoch = epoch_of(*capabilities[0].time());
                    let Some((of, letters)) = left_out.take(epoch) else {
                        break;
                    };
                    let from = match turns::is_planted(Defect::LettersCountUnsealed) {
                        true => 0,
                        false => epoch,
                    };
                    epochs.note_published(&sink, of, from);
                    // Who tells of no watermark holds back no one's.
                    let packet = Packet::local(worker, letters, Watermark::END);
                    given.session(&capabilities[0]).give(packet);
                    if first.is_some() {
                        acks.activate().session(&capabilities[1]).give(Ack::Begun);
                    }
                    if epochs.failpoint.is_hit(&job, "after letters") {
                        return;
                    }
                }
                if first.is_none() {
                    if left_out.is_done() {
                        held = None;
                    } else {
                        wait(&job, &activator);
                    }
                }
            }
        });
        edge
    }
}

fn wait(job: &JobContext, activator: &Activator) {
    // It is the first worker that has the one writer of a sink.
    job.pulse.hold_up(0, job.options.clock.now_ns());
    activate_after(activator, STILL_WAITING);
}
