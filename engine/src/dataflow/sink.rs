//! The end of a path: brings a stream to the sink's writers, and what they refuse back into the graph.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{SendTimeoutError, Sender, bounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Probe};
use timely::progress::operate::FrontierInterest;

use super::epoch::epoch_of;
use super::event_time_queue::{EventTimeQueue, TakenRecords};
use super::give_back::GiveBack;
use super::route::route;
use super::stateful::{Boundary, Held, Identity, TakeState, TakenState};
use super::{Edge, Site, Tick};
use crate::checkpoint::KeyGroups;
use crate::desk::{Desk, Item, Progress, WriterThread};
use crate::epochs::{Epochs, Save};
use crate::intake::Wake;
use crate::job::{JobContext, Order};
use crate::key::KeyGroup;
use crate::left_out::LeftOut;
use crate::letters::DeadLetter;
use crate::publisher::{Outbox, Publisher};
use crate::record::{Data, Packet, Record};
use crate::sink::{Delivery, EpochWriter, Sink, SinkError, Writers};
use crate::state::{EncodedKeys, StateError, TakeHow, decode_all};
use crate::step_state::StepState;
use crate::telemetry::{StepKind, StepMetrics};
use crate::time::{EventTime, millis};
use crate::turns;
use crate::watermark::{Watermark, WatermarkMerge};

/// Batches the worker may be ahead of the writer.
const BATCHES_AHEAD: usize = 64;
/// How long to wait for another start of the pipeline to let go of a sink.
const BUSY_MAX_NS: u64 = 15_000_000_000;

/// Writes the stream with `config`; in event-time order the records are put in order first.
///
/// Gives the dead letters of what the writers refuse, as they come, without a watermark. A tick is
/// over only when everything of it has been written.
pub(crate) fn sink<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    metrics: Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
) -> (Edge<'s, DeadLetter>, Result<(), SinkError>) {
    let delivery = site.job.options.delivery(&metrics.id, config.delivery());
    let writers = match delivery {
        Delivery::Immediate => config.writers(),
        Delivery::ExactlyOnce => Writers::One,
    };
    let give_back = match delivery {
        Delivery::Immediate => None,
        Delivery::ExactlyOnce => GiveBack::new(site, &metrics.id),
    };
    let how = How {
        writers,
        left_out: give_back.as_ref().map(|own| Arc::clone(&own.left_out)),
    };
    let (dead, opened) = if writers == Writers::One && site.workers() > 1 {
        let routed = route(site, input, |_| 0);
        let to_addressee = Exchange::new(|packet: &Packet<T>| packet.to as u64);
        build(site, routed, to_addressee, metrics, config, how)
    } else {
        build(site, input, Pipeline, metrics, config, how)
    };
    let dead = dead.probe_with(&site.probe);
    let dead = match give_back {
        Some(give_back) => give_back.build(dead),
        None => dead,
    };
    (dead, opened)
}

/// How a sink is written.
struct How {
    writers: Writers,
    /// Where it publishes epochs.
    left_out: Option<Arc<LeftOut>>,
}

/// Gives the letters, and whether the sink could be opened: timely panics where an operator that has been
/// begun is not built.
fn build<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    pact: impl ParallelizationContract<Tick, Vec<Packet<T>>>,
    metrics: Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
    how: How,
) -> (Edge<'s, DeadLetter>, Result<(), SinkError>) {
    let writers = how.writers;
    let mut builder = OperatorBuilder::new(metrics.id.clone(), site.scope);
    let mut input = builder.new_input(input, pact);
    let (dead, edge) = builder.new_output();
    let mut dead =
        OutputBuilder::<_, CapacityContainerBuilder<Vec<Packet<DeadLetter>>>>::from(dead);
    let pending = Arc::new(AtomicBool::new(false));
    let address = builder.operator_info().address;
    let activator = site.scope.worker().sync_activator_for(address.to_vec());
    let activate = Arc::new(move || {
        // Fails only when the worker has gone, and then nobody waits.
        let _ = activator.activate();
    });
    let wake = Wake::new(Arc::clone(&pending), activate);
    let (outlet, opened) = match open_outlet(site, &metrics, config, how, wake) {
        Ok(outlet) => (outlet, Ok(())),
        Err(error) => (Outlet::None, Err(error)),
    };
    let mut end = End::new(site, &metrics.id, outlet, writers);
    let identity = Identity {
        id: metrics.id.clone(),
        kind: StepKind::Sink.word().to_owned(),
        groups: end.groups,
        merge: None,
    };
    let mut boundary = Boundary::new(site, &mut builder, identity);
    if boundary.is_none() {
        builder.set_notify_for(0, FrontierInterest::Never);
    }
    let worker = site.worker();
    builder.build(move |mut capabilities| {
        if let Some(boundary) = &mut boundary {
            boundary.begin(capabilities.pop());
        }
        let mut held = Held::default();
        move |frontiers| {
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
            let open = boundary
                .as_ref()
                .map_or(u64::MAX, |boundary| boundary.epoch);
            let mut records = 0;
            input.for_each(|capability, packets| {
                let tick = *capability.stamp().expect_singleton();
                if epoch_of(tick) > open {
                    held.keep(tick, &capability, 1, std::mem::take(packets));
                    return;
                }
                let capability = capability.delayed(&tick, 0);
                for packet in packets.drain(..) {
                    records += packet.records.len();
                    end.take_in(packet, &capability, &mut give);
                }
            });
            let Some(boundary) = &mut boundary else {
                return;
            };
            while boundary.is_over(&frontiers[0]) {
                boundary.close(&mut end, frontiers, held.first_epoch());
                if boundary.has_ended() {
                    end.note_end();
                }
                for (at, packets) in held.take(boundary.epoch) {
                    for packet in packets {
                        end.take_in(packet, &at[0], &mut give);
                    }
                }
            }
            boundary.take_some(&mut end, records);
            boundary.acknowledge();
        }
    });
    (edge, opened)
}

/// Opens the sink, where this worker writes it.
fn open_outlet<T: Data>(
    site: &Site<'_>,
    metrics: &Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
    how: How,
    wake: Wake,
) -> Result<Outlet<T>, SinkError> {
    let is_written_here = how.writers == Writers::EachWorker || site.worker() == 0;
    if site.planning || !is_written_here {
        return Ok(Outlet::None);
    }
    if how.writers == Writers::EachWorker {
        return Ok(Outlet::Here(desk(site, metrics, config)?));
    }
    Ok(Outlet::Thread(match (how.left_out, &site.job.epochs) {
        (Some(left_out), Some(epochs)) => {
            let writer = open_epochs(&site.job, config, &epochs.slot(&metrics.id))?;
            start_publisher(&site.job, epochs, metrics, writer, (left_out, wake))
        }
        _ => start(&site.job, metrics, desk(site, metrics, config)?, wake),
    }))
}

/// Opens the writer that publishes epochs. Another start of the pipeline may still have it: that one
/// has been fenced off by now, and ends when it notices.
fn open_epochs<T: Data>(
    job: &JobContext,
    config: &Arc<dyn Sink<T>>,
    slot: &str,
) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
    let clock = &job.options.clock;
    let deadline_ns = clock.now_ns().saturating_add(BUSY_MAX_NS);
    loop {
        match config.open_epochs(slot) {
            Err(SinkError::Busy { .. }) if clock.now_ns() < deadline_ns && !job.is_aborted() => {
                turns::sleep(millis(20));
            }
            opened => return opened,
        }
    }
}

/// Opens a writer that writes at once.
fn desk<T: Data>(
    site: &Site<'_>,
    metrics: &Arc<StepMetrics>,
    config: &Arc<dyn Sink<T>>,
) -> Result<Desk<T>, SinkError> {
    let restored = site
        .job
        .epochs
        .as_ref()
        .and_then(|epochs| epochs.restored.as_ref());
    if restored.is_some_and(|restored| restored.has_outboxes(&metrics.id)) {
        return Err(SinkError::Open {
            what: config.describe(),
            reason: "epochs that were to be delivered exactly once are not published yet"
                .to_owned(),
            remedy: "run with exactly-once delivery until they are, and change it then".to_owned(),
        });
    }
    let writer = config.open()?;
    Ok(Desk::new(
        Arc::clone(&site.job),
        Arc::clone(metrics),
        writer,
    ))
}

/// Starts the thread of the one writer.
fn start<T: Data>(
    job: &Arc<JobContext>,
    metrics: &StepMetrics,
    desk: Desk<T>,
    wake: Wake,
) -> Away<T> {
    let (sender, items) = bounded(BATCHES_AHEAD);
    let progress = Arc::new(Progress::new(wake));
    let thread = WriterThread {
        desk,
        items,
        answers: job.flushes.join(),
        progress: Arc::clone(&progress),
        written: 0,
        untold: 0,
    };
    job.spawn(&metrics.id, move || thread.run());
    Away {
        items: sender,
        sent: 0,
        held: VecDeque::new(),
        progress,
        left_out: None,
    }
}

/// Starts the thread of a writer that publishes epochs.
fn start_publisher<T: Data>(
    job: &Arc<JobContext>,
    epochs: &Arc<Epochs>,
    metrics: &Arc<StepMetrics>,
    writer: Box<dyn EpochWriter<T>>,
    (left_out, wake): (Arc<LeftOut>, Wake),
) -> Away<T> {
    let (sender, items) = bounded(BATCHES_AHEAD);
    let progress = Arc::new(Progress::new(wake));
    if writer.leaves_out() {
        left_out.expect();
    }
    let restored = epochs.restored.iter();
    let restored = restored.flat_map(|restored| restored.take_outboxes(&metrics.id));
    let thread = Publisher {
        job: Arc::clone(job),
        epochs: Arc::clone(epochs),
        step: Arc::clone(metrics),
        writer,
        pen: job.telemetry.ledger().pen(),
        items,
        answers: job.flushes.join(),
        progress: Arc::clone(&progress),
        left_out: Arc::clone(&left_out),
        restored: restored.collect(),
        open: Outbox::default(),
        closed: VecDeque::new(),
        epoch: 0,
        request: None,
        time: EventTime::default(),
    };
    job.spawn(&metrics.id, move || thread.run());
    Away {
        items: sender,
        sent: 0,
        held: VecDeque::new(),
        progress,
        left_out: Some(left_out),
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
    items: Sender<Item<T>>,
    /// How many batches have been sent so far.
    sent: u64,
    /// The right to send on in a tick, with the number of the last batch of it that is away.
    held: VecDeque<(Capability<Tick>, u64)>,
    progress: Arc<Progress>,
    /// Where it publishes epochs.
    left_out: Option<Arc<LeftOut>>,
}

impl<T> Away<T> {
    fn send(&mut self, records: Vec<Record<T>>, capability: &Capability<Tick>, job: &JobContext) {
        self.sent += 1;
        match self.held.back_mut() {
            Some((held, last)) if held.time() == capability.time() => *last = self.sent,
            _ => self.held.push_back((capability.clone(), self.sent)),
        }
        self.hand_over(Item::Records(records), job);
    }

    /// Hands something over to the writer, waiting while it has enough.
    fn hand_over(&self, item: Item<T>, job: &JobContext) {
        let mut unsent = item;
        // Another failure than a time-out means that the writer has given up, and it has said why.
        while let Err(SendTimeoutError::Timeout(item)) =
            turns::send_timeout(&self.items, unsent, millis(100))
        {
            if job.is_aborted() {
                return;
            }
            // Whoever watches over the worker is to know that it waits.
            job.pulse.hold_up(FIRST_WORKER, job.options.clock.now_ns());
            unsent = item;
        }
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
    /// Of the records that wait, what has been taken so far.
    waiting_taken: TakenRecords,
    watermarks: WatermarkMerge,
    writers: Writers,
    /// Those under which what waits here is kept over a restart.
    groups: KeyGroups,
    job: Arc<JobContext>,
}

impl<T: Data> End<T> {
    /// Goes on from what the job has restored for the sink, or begins anew.
    fn new(site: &Site<'_>, id: &str, outlet: Outlet<T>, writers: Writers) -> Self {
        let (worker, workers) = (site.worker(), site.workers());
        let (inputs, groups) = match writers {
            Writers::One if worker == 0 => (workers, KeyGroups::ALL),
            Writers::One => (workers, KeyGroups::NONE),
            Writers::EachWorker => (1, KeyGroups::of_worker(worker, workers)),
        };
        let mut end = Self {
            outlet,
            order: site.job.options.order,
            queue: EventTimeQueue::default(),
            waiting_taken: TakenRecords::default(),
            watermarks: WatermarkMerge::new(inputs),
            writers,
            groups,
            job: Arc::clone(&site.job),
        };
        if let Some(state) = site.job.restored.take(id, groups)
            && let Err(error) = end.restore(id, &state, (worker, workers), inputs)
        {
            site.job.fail(error.to_string());
        }
        end
    }

    fn restore(
        &mut self,
        id: &str,
        state: &StepState,
        seat: (usize, usize),
        inputs: usize,
    ) -> Result<(), StateError> {
        let mut waiting = Vec::new();
        for bytes in state.waiting.values() {
            decode_all(id, bytes, |record| waiting.push(record))?;
        }
        // They have been read before, and count in this job from here on.
        let mut pen = self.job.telemetry.ledger().pen();
        let origins = waiting.iter().map(|record: &Record<T>| record.origin);
        origins.for_each(|origin| pen.read(origin));
        self.queue.push(waiting, |_| 0);
        let is_local = self.writers == Writers::EachWorker;
        self.watermarks = state.resume_watermarks(seat, inputs, is_local);
        Ok(())
    }

    /// The group under which what waits here is kept.
    fn group(&self) -> KeyGroup {
        self.groups.iter().next().unwrap_or(KeyGroup(0))
    }

    /// Notes that nothing comes any more.
    fn note_end(&self) {
        if let Outlet::Thread(away) = &self.outlet
            && let Some(left_out) = &away.left_out
        {
            left_out.note_end();
        }
    }

    fn settle(&mut self, give: &mut impl FnMut(&Capability<Tick>, Vec<Record<DeadLetter>>)) {
        if let Outlet::Thread(away) = &mut self.outlet {
            away.settle(give);
        }
    }

    fn take_in(
        &mut self,
        mut packet: Packet<T>,
        capability: &Capability<Tick>,
        give: &mut impl FnMut(&Capability<Tick>, Vec<Record<DeadLetter>>),
    ) {
        if self.writers == Writers::EachWorker {
            packet.from = 0;
        }
        let watermark = self.watermarks.update(packet.from, packet.watermark);
        let ready = match self.order {
            Order::Arrival => packet.records,
            Order::EventTime => {
                let (group, taken) = (self.group(), &mut self.waiting_taken);
                let take = |record: &Record<T>| taken.write(group, record);
                self.queue.exchange(packet.records, watermark, |_| 0, take)
            }
        };
        if ready.is_empty() {
            return;
        }
        match &mut self.outlet {
            Outlet::None => {}
            Outlet::Here(desk) => {
                if let Ok(mut letters) = desk.write(&ready) {
                    letters.extend(desk.flush().unwrap_or_default());
                    give(capability, letters);
                }
            }
            Outlet::Thread(away) => away.send(ready, capability, &self.job),
        }
    }
}

impl<T: Data> TakeState for End<T> {
    fn begin_taking(&mut self, end: Tick, _: TakeHow) -> Result<StepState, postcard::Error> {
        self.queue.begin_taking();
        if let Outlet::Thread(away) = &self.outlet {
            let next = epoch_of(end);
            if let Some(left_out) = &away.left_out {
                left_out.note_closed(next);
            }
            away.hand_over(Item::EndOfEpoch(next - 1), &self.job);
        }
        Ok(StepState {
            keys: EncodedKeys::new(),
            bases: KeyGroups::NONE,
            waiting: BTreeMap::new(),
            watermarks: vec![self.watermarks.clone()],
        })
    }

    fn take_some(&mut self, most: usize) -> Result<Option<TakenState>, postcard::Error> {
        let (group, taken) = (self.group(), &mut self.waiting_taken);
        self.queue
            .take_some(most, |record| taken.write(group, record));
        if self.queue.is_taking() {
            return Ok(None);
        }
        Ok(Some(TakenState {
            keys: EncodedKeys::new(),
            waiting: self.waiting_taken.finish()?,
        }))
    }

    fn save(&self, save: Save, epochs: &Epochs) {
        match &self.outlet {
            Outlet::Thread(away) => away.hand_over(Item::Save(Box::new(save)), &self.job),
            Outlet::Here(_) | Outlet::None => epochs.save(save),
        }
    }
}

/// The worker at which the records of a sink with one writer come together.
const FIRST_WORKER: usize = 0;

impl<T: Data> Drop for End<T> {
    fn drop(&mut self) {
        self.queue.hold(&mut self.job.telemetry.ledger().pen());
    }
}
