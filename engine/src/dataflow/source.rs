//! The timely source of a step: it takes batches from reader threads into the open tick.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use super::epoch::{Announcement, tick_in};
use super::{Edge, Site, Tick, activate_after};
use crate::checkpoint::SourcePartition;
use crate::epochs::Ack;
use crate::intake::{Batch, Opened, Opener, Wake};
use crate::job::{Aligned, JobContext};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Packet, Record};
use crate::source::{EventTimes, Found, ReadStatus, Source, SourceError, WatermarkPolicy};
use crate::telemetry::StepMetrics;
use crate::time::EventTime;
use crate::turns::{self, Defect};
use crate::upkeep::{Passage, Upkeep};
use crate::watermark::{Watermark, WatermarkMerge};

/// Batches taken in before other operators get their turn.
const BATCHES_AT_ONCE: usize = 16;
/// How long to wait before looking again whether a held-back source may go on: at first, and at
/// most, after twice as long each time in vain.
const RETRY_MIN: Duration = Duration::from_micros(100);
const RETRY_MAX: Duration = Duration::from_millis(5);

/// What is announced to a source bears on no output.
const NO_PATH: [(usize, Antichain<Tick>); 0] = [];

/// What a source gives: the records, the late events, the dead letters.
pub(crate) type SourceEdges<'s, T> = (Edge<'s, T>, Edge<'s, LateEvent>, Edge<'s, DeadLetter>);

/// Builds the source of a step; its partitions are spread over the workers.
pub(crate) fn source<'s, T: Data>(
    site: &Site<'s>,
    metrics: Arc<StepMetrics>,
    number: u16,
    config: &Arc<dyn Source<T>>,
    event_times: &EventTimes<T>,
) -> Result<SourceEdges<'s, T>, SourceError> {
    let mut builder = OperatorBuilder::new(metrics.id.clone(), site.scope);
    let mut announced = site.epochs.as_ref().map(|epochs| {
        let to_addressee = Exchange::new(|(worker, _): &Announcement| *worker as u64);
        let stream = epochs.announcements.clone();
        let input = builder.new_input_connection(stream, to_addressee, NO_PATH);
        builder.set_notify_for(0, FrontierInterest::Never);
        input
    });
    let (records, edge) = builder.new_output_connection(NO_PATH);
    let (late, late_edge) = builder.new_output_connection(NO_PATH);
    let (dead, dead_edge) = builder.new_output_connection(NO_PATH);
    let (mut records, mut late, mut dead) = (Port::new(records), Port::new(late), Port::new(dead));
    let mut acks = site.epochs.as_ref().map(|epochs| {
        let (acks, stream) = builder.new_output_connection(NO_PATH);
        epochs.join(stream);
        Port::new(acks)
    });
    let kind = config.describe();
    let address = builder.operator_info().address;
    let pending = Arc::new(AtomicBool::new(true));
    let supply = if site.planning {
        Supply::none()
    } else {
        let activator = site.scope.worker().sync_activator_for(address.to_vec());
        let activate = Arc::new(move || {
            // Fails only when the worker has gone, and the reader stops by itself then.
            let _ = activator.activate();
        });
        open_partitions(Opener {
            job: Arc::clone(&site.job),
            step: metrics.id.clone(),
            number,
            config: site.job.share_source(number, config),
            event_times: event_times.clone(),
            wake: Wake::new(Arc::clone(&pending), activate),
            worker: site.worker(),
            workers: site.workers(),
        })?
    };
    let mut feed = Feed::new(site, metrics, number, event_times.policy, supply, pending);
    let activator = site.scope.activator_for(address);
    let worker = site.worker();
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        move |_| {
            let mut next = None;
            if let Some(announced) = &mut announced {
                announced.for_each(|_, given| {
                    let epochs = given.drain(..).map(|(_, epoch)| epoch);
                    next = epochs.chain(next).max();
                });
            }
            let Some(held) = capabilities.as_mut() else {
                return;
            };
            feed.take_arrivals();
            if let (Some(epoch), Some(acks)) = (next, &mut acks) {
                acks.give(&held[3], feed.places(&kind));
                feed.open_epoch(epoch);
            }
            feed.open_tick(held);
            let mut has_given = false;
            let more = feed.take_batches(|batch, watermark| {
                has_given = true;
                records.give(&held[0], Packet::local(worker, batch.records, watermark));
                late.give(&held[1], Packet::local(worker, batch.late, watermark));
                dead.give(&held[2], Packet::local(worker, batch.dead, watermark));
            });
            if let Some(watermark) = feed.closing_watermark() {
                has_given = true;
                records.give(&held[0], Packet::local(worker, Vec::new(), watermark));
                late.give(&held[1], Packet::local(worker, Vec::new(), watermark));
                dead.give(&held[2], Packet::local(worker, Vec::new(), watermark));
            }
            if let Some(acks) = &mut acks {
                if has_given && feed.begin_epoch() {
                    acks.give(&held[3], Ack::Begun);
                }
                if feed.is_done() {
                    acks.give(&held[3], feed.places(&kind));
                }
            }
            if feed.is_done() {
                capabilities = None;
            } else {
                feed.schedule(&activator, more);
            }
        }
    });
    Ok((edge, late_edge, dead_edge))
}

/// Opens this worker's share of the partitions, each with a reader thread, and sees to their upkeep.
fn open_partitions<T: Data>(opener: Opener<T>) -> Result<Supply<T>, SourceError> {
    let listed = opener.config.partitions()?;
    let numbers = opener.numbers(&listed);
    opener.name_all(&numbers);
    let mut opened = Vec::new();
    for (index, partition) in listed.iter().enumerate() {
        if opener.is_mine(index) {
            opened.push(opener.open(*partition, numbers[partition], Found::AtStart)?);
        }
    }
    let (arrive, arrivals) = opener.config.discover_every().map(|_| unbounded()).unzip();
    let (open, closed) = bounded(0);
    let passage = Arc::new(Passage::default());
    Upkeep::new(
        opener,
        &opened,
        listed.len(),
        Arc::clone(&passage),
        arrive,
        closed,
    )
    .start();
    Ok(Supply {
        opened,
        arrivals,
        passage,
        _open: Some(open),
    })
}

/// Where a worker's records come from.
struct Supply<T> {
    opened: Vec<Opened<T>>,
    /// Partitions that are found later; none where there will be no more.
    arrivals: Option<Receiver<Opened<T>>>,
    passage: Arc<Passage>,
    /// Closes when the worker has no more need of the source.
    _open: Option<Sender<()>>,
}

impl<T> Supply<T> {
    fn none() -> Self {
        Self {
            opened: Vec::new(),
            arrivals: None,
            passage: Arc::default(),
            _open: None,
        }
    }
}

/// One output of the source operator.
struct Port<D: Clone + 'static>(OutputBuilder<Tick, CapacityContainerBuilder<Vec<D>>>);

impl<D: Clone + 'static> Port<D> {
    fn new(output: timely::dataflow::channels::pushers::Output<Tick, Vec<D>>) -> Self {
        Self(OutputBuilder::from(output))
    }

    fn give(&mut self, capability: &Capability<Tick>, given: D) {
        self.0.activate().session(capability).give(given);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PartitionState {
    Open,
    /// Read to its end.
    Ended,
    /// Left before its end, because the job stops.
    Left,
}

struct Partition<T> {
    batches: Receiver<Batch<T>>,
    number: u32,
    name: String,
    aligned: Aligned,
    watermark: EventTime,
    /// The watermark but for the partition's end.
    reached: EventTime,
    /// When something last came.
    heard_ns: u64,
    /// Whether the reader last said that it had nothing.
    waiting: bool,
    state: PartitionState,
    /// The offset up to which records have been given to the graph.
    taken: Arc<AtomicU64>,
}

/// The worker's side of a source: its partitions, and what it has given and not seen through.
struct Feed<T> {
    job: Arc<JobContext>,
    metrics: Arc<StepMetrics>,
    /// The source's number.
    number: u16,
    policy: WatermarkPolicy,
    partitions: Vec<Partition<T>>,
    supply: Supply<T>,
    /// Of the partitions in their order, after that of those to come: an idle one, until there can
    /// be no more of them.
    watermarks: WatermarkMerge,
    told: Watermark,
    pending: Arc<AtomicBool>,
    probe: ProbeHandle<Tick>,
    /// Records given per open tick, oldest first.
    given: VecDeque<(Tick, usize)>,
    in_flight: usize,
    /// The open epoch, and whether anything has been given in it.
    epoch: u64,
    has_begun: bool,
    tick: Tick,
    next: usize,
    retry: Duration,
}

/// The place of the partitions to come among the watermarks.
const TO_COME: usize = 0;

impl<T: Data> Feed<T> {
    fn new(
        site: &Site<'_>,
        metrics: Arc<StepMetrics>,
        number: u16,
        policy: WatermarkPolicy,
        mut supply: Supply<T>,
        pending: Arc<AtomicBool>,
    ) -> Self {
        let opened = std::mem::take(&mut supply.opened);
        let mut feed = Self {
            job: Arc::clone(&site.job),
            metrics,
            number,
            policy,
            partitions: Vec::new(),
            watermarks: WatermarkMerge::new(1),
            told: Watermark::START,
            supply,
            pending,
            probe: site.probe.clone(),
            given: VecDeque::new(),
            in_flight: 0,
            epoch: 0,
            has_begun: false,
            tick: 0,
            next: 0,
            retry: RETRY_MIN,
        };
        opened.into_iter().for_each(|opened| feed.add(opened));
        feed.note_partitions_to_come();
        feed
    }

    fn add(&mut self, opened: Opened<T>) {
        self.watermarks.add();
        let aligned = self.job.alignment.join();
        if opened.watermark != EventTime::MIN {
            aligned.set(opened.watermark);
            let known = Watermark::active(opened.watermark);
            self.watermarks
                .update(TO_COME + 1 + self.partitions.len(), known);
        }
        self.partitions.push(Partition {
            batches: opened.batches,
            number: opened.number,
            name: opened.name,
            aligned,
            watermark: opened.watermark,
            reached: opened.watermark,
            heard_ns: self.job.options.clock.now_ns(),
            waiting: false,
            state: PartitionState::Open,
            taken: opened.taken,
        });
    }

    fn note_partitions_to_come(&mut self) {
        let watermark = match self.supply.arrivals {
            Some(_) => Watermark {
                idle: true,
                ..Watermark::START
            },
            None => Watermark::END,
        };
        self.watermarks.update(TO_COME, watermark);
    }

    /// Takes in the partitions that have been found since.
    fn take_arrivals(&mut self) {
        while let Some(arrivals) = &self.supply.arrivals {
            match arrivals.try_recv() {
                Ok(opened) => {
                    self.add(opened);
                    // Until it has data, nobody waits to be read beside it.
                    let added = self.partitions.last();
                    added.inspect(|partition| partition.aligned.set(EventTime::MAX));
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.supply.arrivals = None;
                    self.note_partitions_to_come();
                }
            }
        }
    }

    /// How far the partitions have been read, for the epoch that is closed here.
    fn places(&self, kind: &str) -> Ack {
        let place = |partition: &Partition<T>| SourcePartition {
            name: partition.name.clone(),
            number: partition.number,
            offset: partition.taken.load(Ordering::Relaxed)
                + u64::from(turns::is_planted(Defect::OffByOneOffset)),
            watermark: Watermark::active(partition.reached),
        };
        Ack::Source {
            step: self.metrics.id.clone(),
            number: self.number,
            kind: kind.to_owned(),
            partitions: self.partitions.iter().map(place).collect(),
        }
    }

    fn open_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.has_begun = false;
    }

    /// Notes that something was given in the epoch; whether it is the first.
    fn begin_epoch(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true)
    }

    /// Moves the capabilities to the tick of now, and settles what has left the graph.
    fn open_tick(&mut self, capabilities: &mut [Capability<Tick>]) {
        self.pending.store(false, Ordering::Release);
        let length = u64::try_from(self.job.options.tick.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let now_ns = self.job.options.clock.now_ns();
        self.tick = match self.job.epochs {
            None => now_ns / length * length,
            Some(_) => tick_in(self.epoch, now_ns / length),
        };
        for capability in capabilities.iter_mut() {
            if self.tick > *capability.time() {
                capability.downgrade(&self.tick);
            }
        }
        while let Some(&(tick, records)) = self.given.front() {
            if self.probe.less_equal(&tick) {
                break;
            }
            self.in_flight -= records;
            self.given.pop_front();
        }
        let passage = &self.supply.passage;
        let settled = passage.given.load(Ordering::Relaxed) - self.in_flight as u64;
        passage.settled.store(settled, Ordering::Release);
    }

    /// Hands on what the readers have, in turn, and tells whether there may be more at once.
    fn take_batches(&mut self, mut give: impl FnMut(Batch<T>, Watermark)) -> bool {
        for _ in 0..BATCHES_AT_ONCE {
            let epochs = self.job.epochs.as_ref();
            let is_full = epochs.is_some_and(|epochs| epochs.is_full());
            if self.in_flight >= self.job.options.in_flight_max || is_full {
                return false;
            }
            let Some((index, batch)) = self.next_batch() else {
                return false;
            };
            self.retry = RETRY_MIN;
            self.count_given(index, &batch);
            self.metrics.packet(
                batch.len(),
                batch.records.len(),
                self.age_ns(batch.records.first()),
            );
            self.told = self.watermarks.current();
            give(batch, self.told);
        }
        true
    }

    fn count_given(&mut self, index: usize, batch: &Batch<T>) {
        let records = batch.len();
        self.in_flight += records;
        match self.given.back_mut() {
            Some((tick, count)) if *tick == self.tick => *count += records,
            _ => self.given.push_back((self.tick, records)),
        }
        let given = &self.supply.passage.given;
        given.fetch_add(records as u64, Ordering::AcqRel);
        // Only now, so that who sees that it was taken sees that it was given, too.
        let taken = &self.partitions[index].taken;
        taken.store(batch.next_offset, Ordering::Release);
    }

    fn age_ns(&self, oldest: Option<&Record<T>>) -> Option<u64> {
        oldest.map(|record| {
            self.job
                .options
                .clock
                .now_ns()
                .saturating_sub(record.ingested_ns)
        })
    }

    /// The next batch of a partition that is not too far ahead, round robin.
    fn next_batch(&mut self) -> Option<(usize, Batch<T>)> {
        let count = self.partitions.len();
        for turn in 0..count {
            let index = (self.next + turn) % count;
            let partition = &mut self.partitions[index];
            if partition.state != PartitionState::Open {
                continue;
            }
            self.job.alignment.refresh(&mut partition.aligned);
            if partition.aligned.is_ahead(self.job.options.drift_max) {
                continue;
            }
            match partition.batches.try_recv() {
                Ok(batch) => {
                    self.next = index + 1;
                    self.hear(index, &batch);
                    return Some((index, batch));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.leave(index),
            }
        }
        None
    }

    fn hear(&mut self, index: usize, batch: &Batch<T>) {
        let partition = &mut self.partitions[index];
        partition.waiting = batch.status == ReadStatus::Waiting;
        if batch.len() == 0 && partition.waiting {
            return;
        }
        partition.heard_ns = self.job.options.clock.now_ns();
        partition.watermark = batch.watermark.max(partition.watermark);
        partition.reached = batch.reached.max(partition.reached);
        if batch.status == ReadStatus::End {
            partition.state = PartitionState::Ended;
        }
        partition.aligned.set(partition.watermark);
        let (number, watermark) = (partition.number, partition.watermark);
        self.job
            .telemetry
            .set_watermark(self.number, number, watermark);
        self.watermarks
            .update(TO_COME + 1 + index, Watermark::active(watermark));
    }

    /// A partition whose reader has gone before its end no longer holds the others back.
    fn leave(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        partition.state = PartitionState::Left;
        partition.aligned.set(EventTime::MAX);
    }

    /// A watermark to send without records: at the end, or because partitions are idle.
    fn closing_watermark(&mut self) -> Option<Watermark> {
        self.note_idle();
        let ended = self.supply.arrivals.is_none()
            && self
                .partitions
                .iter()
                .all(|p| p.state == PartitionState::Ended);
        let watermark = if ended {
            Watermark::END
        } else {
            self.watermarks.current()
        };
        (watermark != self.told).then(|| {
            self.told = watermark;
            watermark
        })
    }

    /// Lets partitions that have been silent for long enough stop holding the watermark back.
    fn note_idle(&mut self) {
        let now_ns = self.job.options.clock.now_ns();
        for (index, partition) in self.partitions.iter().enumerate() {
            let silent = Duration::from_nanos(now_ns.saturating_sub(partition.heard_ns));
            let open = partition.state == PartitionState::Open;
            if !open || !partition.waiting || silent < self.policy.idle_after {
                continue;
            }
            let follows = self.policy.wall_clock_when_idle && partition.watermark != EventTime::MIN;
            let passed = if follows { silent } else { Duration::ZERO };
            let time = partition.watermark.saturating_add(passed);
            partition.aligned.set(EventTime::MAX);
            self.watermarks
                .update(TO_COME + 1 + index, Watermark { time, idle: true });
        }
    }

    fn is_done(&self) -> bool {
        self.supply.arrivals.is_none()
            && self
                .partitions
                .iter()
                .all(|partition| partition.state != PartitionState::Open)
    }

    /// Asks to be called again when it is due: at once, soon, or at the end of the tick.
    fn schedule(&mut self, activator: &Activator, more: bool) {
        let options = &self.job.options;
        let held_back = self
            .partitions
            .iter()
            .any(|partition| !partition.batches.is_empty());
        if more || self.pending.load(Ordering::Acquire) {
            activator.activate();
        } else if held_back {
            activate_after(activator, self.retry);
            self.retry = (self.retry * 2).min(RETRY_MAX);
        } else if options.clock.is_manual() {
            activate_after(activator, Duration::from_millis(1));
        } else if self.probe.less_equal(&self.tick) || !self.given.is_empty() {
            activate_after(activator, options.tick);
        } else if self.partitions.iter().any(|partition| partition.waiting) {
            let glance = self.policy.idle_after.div_f64(10.0).max(options.tick);
            activate_after(activator, glance);
        }
    }
}
