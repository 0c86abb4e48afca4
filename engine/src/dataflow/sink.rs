//! The end of a path: brings a stream to the sink's writers, and what they refuse back into the graph.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Sender, bounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Probe};
use timely::progress::operate::FrontierInterest;

use super::event_time_queue::EventTimeQueue;
use super::route::route;
use super::{Edge, Site, Tick};
use crate::desk::{Desk, Progress, WriterThread};
use crate::intake::Wake;
use crate::job::{JobContext, Order};
use crate::letters::DeadLetter;
use crate::record::{Data, Packet, Record};
use crate::sink::{Sink, SinkError, Writers};
use crate::telemetry::StepMetrics;
use crate::watermark::{Watermark, WatermarkMerge};

/// Batches the worker may be ahead of the writer.
const BATCHES_AHEAD: usize = 64;

/// Writes the stream with `config`; in event-time order the records are put in order first.
///
/// Gives the dead letters of what the writers refuse, as they come, without a watermark. A tick is
/// over only when everything of it has been written.
pub(crate) fn sink<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
) -> Result<Edge<'s, DeadLetter>, SinkError> {
    let writers = config.writers();
    let dead = if writers == Writers::One && site.workers() > 1 {
        let routed = route(site, input, |_| 0);
        let to_addressee = Exchange::new(|packet: &Packet<T>| packet.to as u64);
        build(site, routed, to_addressee, metrics, config, writers)?
    } else {
        build(site, input, Pipeline, metrics, config, writers)?
    };
    Ok(dead.probe_with(&site.probe))
}

fn build<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<T>>>,
    metrics: Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
    writers: Writers,
) -> Result<Edge<'s, DeadLetter>, SinkError> {
    let mut builder = OperatorBuilder::new(metrics.id.clone(), site.scope);
    let mut input = builder.new_input(input, pact);
    builder.set_notify_for(0, FrontierInterest::Never);
    let (dead, edge) = builder.new_output();
    let mut dead =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<DeadLetter>>>>::from(dead);
    let pending = Arc::new(AtomicBool::new(false));
    let is_written_here = writers == Writers::EachWorker || site.worker() == 0;
    let outlet = if site.planning || !is_written_here {
        Outlet::None
    } else {
        let desk = Desk::new(Arc::clone(&site.job), Arc::clone(&metrics), config.open()?);
        match writers {
            Writers::EachWorker => Outlet::Here(desk),
            Writers::One => {
                let address = builder.operator_info().address;
                let activator = site.scope.worker().sync_activator_for(address.to_vec());
                let activate = Arc::new(move || {
                    // Fails only when the worker has gone, and then nobody waits.
                    let _ = activator.activate();
                });
                let wake = Wake::new(Arc::clone(&pending), activate);
                Outlet::Thread(start(&site.job, &metrics, desk, wake))
            }
        }
    };
    let mut end = End {
        outlet,
        order: site.job.options.order,
        queue: EventTimeQueue::default(),
        watermarks: WatermarkMerge::new(match writers {
            Writers::One => site.workers(),
            Writers::EachWorker => 1,
        }),
        job: Arc::clone(&site.job),
    };
    let worker = site.worker();
    builder.build(move |_| {
        move |_| {
            pending.store(false, Ordering::Release);
            let mut dead = dead.activate();
            let mut give = |capability: &Capability<Tick>, letters: Vec<_>| {
                if !letters.is_empty() {
                    // Who tells of no watermark holds back no one's.
                    let packet = Packet::local(worker, letters, Watermark::END);
                    dead.session(capability).give(packet);
                }
            };
            end.settle(&mut give);
            input.for_each(|capability, packets| {
                let capability = capability.retain_least(0);
                let capability = capability.expect("invariant: packets come at a tick");
                for mut packet in packets.drain(..) {
                    if writers == Writers::EachWorker {
                        packet.from = 0;
                    }
                    end.take_in(packet, &capability, &mut give);
                }
            });
        }
    });
    Ok(edge)
}

/// Starts the thread of the one writer.
fn start<T: Data>(
    job: &Arc<JobContext>,
    metrics: &StepMetrics,
    desk: Desk<T>,
    wake: Wake,
) -> Away<T> {
    let (sender, batches) = bounded(BATCHES_AHEAD);
    let progress = Arc::new(Progress::new(wake));
    let thread = WriterThread {
        desk,
        batches,
        answers: job.flushes.join(),
        progress: Arc::clone(&progress),
        untold: 0,
    };
    job.spawn(&metrics.id, move || thread.run());
    Away {
        batches: sender,
        sent: 0,
        held: VecDeque::new(),
        progress,
    }
}

/// Where records go that have come to the end.
enum Outlet<T> {
    None,
    Here(Desk<T>),
    Thread(Away<T>),
}

/// The batches that are with a writer on another thread.
struct Away<T> {
    batches: Sender<Vec<Record<T>>>,
    /// How many batches have been sent so far.
    sent: u64,
    /// The right to send on in a tick, with the number of the last batch of it that is away.
    held: VecDeque<(Capability<Tick>, u64)>,
    progress: Arc<Progress>,
}

impl<T> Away<T> {
    fn send(&mut self, records: Vec<Record<T>>, capability: &Capability<Tick>) {
        self.sent += 1;
        match self.held.back_mut() {
            Some((held, last)) if held.time() == capability.time() => *last = self.sent,
            _ => self.held.push_back((capability.clone(), self.sent)),
        }
        // Fails only when the writer has given up, and it has said why.
        let _ = self.batches.send(records);
    }

    /// Gives what the writer has refused, and lets go of the ticks that it has done with.
    fn settle(&mut self, give: &mut impl FnMut(&Capability<Tick>, Vec<Record<DeadLetter>>)) {
        let Some((first, _)) = self.held.front() else {
            return;
        };
        let (written, letters) = self.progress.take();
        give(first, letters);
        while self.held.front().is_some_and(|(_, last)| *last <= written) {
            self.held.pop_front();
        }
    }
}

struct End<T: Data> {
    outlet: Outlet<T>,
    order: Order,
    queue: EventTimeQueue<T>,
    watermarks: WatermarkMerge,
    job: Arc<JobContext>,
}

impl<T: Data> End<T> {
    fn settle(&mut self, give: &mut impl FnMut(&Capability<Tick>, Vec<Record<DeadLetter>>)) {
        if let Outlet::Thread(away) = &mut self.outlet {
            away.settle(give);
        }
    }

    fn take_in(
        &mut self,
        packet: Packet<T>,
        capability: &Capability<Tick>,
        give: &mut impl FnMut(&Capability<Tick>, Vec<Record<DeadLetter>>),
    ) {
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => self.queue.exchange(packet.records, watermark, |_| 0),
        };
        if ready.is_empty() {
            return;
        }
        match &mut self.outlet {
            Outlet::None => {}
            Outlet::Here(desk) => {
                if let Ok(letters) = desk.write(&ready) {
                    give(capability, letters);
                    let _ = desk.flush();
                }
            }
            Outlet::Thread(away) => away.send(ready, capability),
        }
    }
}

impl<T: Data> Drop for End<T> {
    fn drop(&mut self) {
        self.queue.hold(&mut self.job.telemetry.ledger().pen());
    }
}
