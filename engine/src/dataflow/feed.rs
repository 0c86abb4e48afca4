//! The worker's side of a source: which batches it gives, in which tick, and what of them is still on
//! its way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::TryRecvError;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Capability;
use timely::scheduling::Activator;

use super::epoch::tick_in;
use super::source::Supply;
use super::{Site, Tick, activate_after};
use crate::alignment::Aligned;
use crate::checkpoint::SourcePartition;
use crate::epochs::Ack;
use crate::intake::{Batch, Batches, Next, Opened};
use crate::job::JobContext;
use crate::record::{Data, Record};
use crate::source::{ReadStatus, WatermarkPolicy};
use crate::telemetry::StepMetrics;
use crate::time::{EventTime, millis};
use crate::turns::{self, Defect};
use crate::watermark::{Watermark, WatermarkMerge};

/// Records taken in before other operators get their turn: so few that they are still in the nearest
/// memory by then.
const RECORDS_AT_ONCE: usize = 512;
/// How long to wait before looking again whether a held-back source may go on: at first, and at
/// most, after twice as long each time in vain.
const RETRY_MIN: Duration = Duration::from_micros(100);
const RETRY_MAX: Duration = millis(2);
/// How often an idle source advances the engine's time, for the sake of the others.
const IDLE: Duration = millis(10);

#[derive(Clone, Copy, PartialEq, Eq)]
enum PartitionState {
    Open,
    /// Read to its end.
    Ended,
    /// Left before its end, because the job stops.
    Left,
}

struct Partition<T> {
    batches: Batches<T>,
    number: u32,
    name: String,
    aligned: Aligned,
    watermark: EventTime,
    /// The watermark but for the partition's end.
    reached: EventTime,
    /// For how long its reader has found nothing, as of what it said last.
    silent: Duration,
    state: PartitionState,
    /// The offset up to which records have been given to the graph.
    taken: Arc<AtomicU64>,
}

/// A source on one worker: its partitions, and what it has given and not seen through.
pub(super) struct Feed<T> {
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
    pub(super) fn new(
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
            silent: Duration::ZERO,
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
    pub(super) fn take_arrivals(&mut self) {
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
    pub(super) fn places(&self, kind: &str) -> Ack {
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

    pub(super) fn open_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.has_begun = false;
    }

    /// Notes that something was given in the epoch; whether it is the first.
    pub(super) fn begin_epoch(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true)
    }

    /// Moves the capabilities to the tick of now, and settles what has left the graph.
    pub(super) fn open_tick(&mut self, capabilities: &mut [Capability<Tick>]) {
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
    pub(super) fn take_batches(&mut self, mut give: impl FnMut(Batch<T>, Watermark)) -> bool {
        let mut taken = 0;
        while taken < RECORDS_AT_ONCE {
            let epochs = self.job.epochs.as_ref();
            let is_full = epochs.is_some_and(|epochs| epochs.is_full());
            if self.in_flight >= self.job.options.in_flight_max || is_full {
                return false;
            }
            let Some((index, batch)) = self.next_batch() else {
                return false;
            };
            self.retry = RETRY_MIN;
            // An empty one takes its time, too.
            taken += batch.len().max(1);
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
            match partition.batches.next() {
                Next::Batch(batch) => {
                    self.next = index + 1;
                    self.hear(index, &batch);
                    if !batch.is_silence() {
                        return Some((index, batch));
                    }
                }
                Next::Nothing => {}
                Next::Gone => self.leave(index),
            }
        }
        None
    }

    fn hear(&mut self, index: usize, batch: &Batch<T>) {
        let partition = &mut self.partitions[index];
        partition.silent = batch.silent;
        if batch.is_silence() {
            return;
        }
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
    pub(super) fn closing_watermark(&mut self) -> Option<Watermark> {
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
        for (index, partition) in self.partitions.iter().enumerate() {
            let (is_open, silent) = (partition.state == PartitionState::Open, partition.silent);
            if !is_open || silent < self.policy.idle_after {
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

    pub(super) fn is_done(&self) -> bool {
        self.supply.arrivals.is_none()
            && self
                .partitions
                .iter()
                .all(|partition| partition.state != PartitionState::Open)
    }

    /// Asks to be called again when it is due: at once, soon, or at the end of the tick.
    pub(super) fn schedule(&mut self, activator: &Activator, more: bool) {
        let options = &self.job.options;
        let held_back = self
            .partitions
            .iter()
            .any(|p| p.state == PartitionState::Open && p.batches.is_ready());
        if more || self.pending.load(Ordering::Acquire) {
            activator.activate();
        } else if held_back {
            activate_after(activator, self.retry);
            self.retry = (self.retry * 2).min(RETRY_MAX);
        } else if options.clock.is_manual() {
            activate_after(activator, millis(1));
        } else if !self.given.is_empty() {
            activate_after(activator, options.tick);
        } else if self.probe.less_equal(&self.tick) {
            activate_after(activator, options.tick.max(IDLE));
        }
    }
}
