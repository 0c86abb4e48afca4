//! The reader thread of one source partition: it reads, stamps, and sorts out late and bad records,
//! then hands batches to the worker over a bounded channel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, SendTimeoutError, Sender, bounded};

use crate::epochs::RestoredSource;
use crate::guard::guard;
use crate::job::{JobContext, Pace};
use crate::ledger::{Fate, Pen};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Origin, Record};
use crate::source::{
    EventTimes, Found, ReadBatch, ReadStatus, Reader, Source, SourceError, Undecodable,
};
use crate::time::EventTime;

/// Batches a reader may be ahead of the worker.
const BATCHES_AHEAD: usize = 16;

/// What a reader hands to its worker.
pub(crate) struct Batch<T> {
    pub(crate) records: Vec<Record<T>>,
    pub(crate) late: Vec<Record<LateEvent>>,
    pub(crate) dead: Vec<Record<DeadLetter>>,
    /// The partition's watermark after the batch.
    pub(crate) watermark: EventTime,
    pub(crate) status: ReadStatus,
    /// What the watermark after the batch would be if the partition had not ended.
    pub(crate) reached: EventTime,
    /// The offset up to which the batch goes.
    pub(crate) next_offset: u64,
}

impl<T> Batch<T> {
    /// How many records were read.
    pub(crate) fn len(&self) -> usize {
        self.records.len() + self.late.len() + self.dead.len()
    }
}

/// Wakes the worker when a batch is there; one wake-up serves all batches until it looks.
#[derive(Clone)]
pub(crate) struct Wake {
    pending: Arc<AtomicBool>,
    activate: Arc<dyn Fn() + Send + Sync>,
}

impl Wake {
    pub(crate) fn new(pending: Arc<AtomicBool>, activate: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { pending, activate }
    }

    pub(crate) fn call(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            (self.activate)();
        }
    }
}

/// Opens the partitions of a source that are read on one worker.
pub(crate) struct Opener<T> {
    pub(crate) job: Arc<JobContext>,
    pub(crate) step: String,
    /// The source's number.
    pub(crate) number: u16,
    pub(crate) config: Arc<dyn Source<T>>,
    pub(crate) event_times: EventTimes<T>,
    pub(crate) wake: Wake,
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    /// The partitions that have been found, by the numbers that the source itself gives them.
    pub(crate) known: BTreeMap<u32, Known>,
}

/// What a partition is called.
pub(crate) struct Known {
    number: u32,
    name: String,
}

/// A partition that is being read.
pub(crate) struct Opened<T> {
    pub(crate) number: u32,
    /// The number that the source itself knows it by, which may be another one after a restart.
    pub(crate) of_source: u32,
    pub(crate) name: String,
    /// How far its watermark had got before.
    pub(crate) watermark: EventTime,
    /// Where reading has begun.
    pub(crate) start: u64,
    pub(crate) batches: Receiver<Batch<T>>,
    /// The offset up to which the worker has taken records.
    pub(crate) taken: Arc<AtomicU64>,
}

impl<T: Data> Opener<T> {
    /// Whether the partition at this place in the source's list is read on this worker.
    pub(crate) fn is_mine(&self, index: usize) -> bool {
        (index + usize::from(self.number)) % self.workers == self.worker
    }

    /// Gives the partitions that are not known yet their numbers, and lets everybody know what they are
    /// called, wherever they are read. One that was there before a restart keeps the number that it
    /// had then, as records that are kept bear it.
    pub(crate) fn learn(&mut self, listed: &[u32]) {
        for of_source in listed {
            if self.known.contains_key(of_source) {
                continue;
            }
            let name = self.config.partition_name(*of_source);
            let number = self.free_number(*of_source, &name);
            let telemetry = &self.job.telemetry;
            telemetry.set_partition_name(self.number, number, name.clone());
            self.known.insert(*of_source, Known { number, name });
        }
    }

    /// The number of a partition before a restart, or else one that none has or had: the source's own,
    /// if it is free.
    fn free_number(&self, of_source: u32, name: &str) -> u32 {
        let restored = self.restored().map(|restored| &restored.partitions);
        if let Some(place) = restored.and_then(|places| places.get(name)) {
            return place.number;
        }
        let is_taken = |number: u32| {
            restored.is_some_and(|places| places.values().any(|place| place.number == number))
                || self.known.values().any(|known| known.number == number)
        };
        let mut candidates = std::iter::once(of_source).chain(0..);
        candidates
            .find(|number| !is_taken(*number))
            .expect("invariant: there are fewer partitions than numbers")
    }

    /// How far the source had been read before a restart.
    fn restored(&self) -> Option<&RestoredSource> {
        let restored = self.job.epochs.as_ref()?.restored.as_ref()?;
        restored.sources.get(&self.step)
    }

    /// Opens a partition that is known, and starts its reader thread.
    pub(crate) fn open(&self, of_source: u32, found: Found) -> Result<Opened<T>, SourceError> {
        let known = self.known.get(&of_source);
        let known = known.expect("invariant: a partition is learnt of before it is opened");
        let (number, name) = (known.number, known.name.clone());
        let restored = self.restored();
        let place = restored.and_then(|restored| restored.partitions.get(&name));
        let (start, watermark) = match place {
            Some(place) => (place.offset, place.watermark.time),
            None => {
                // One that was not there before is new.
                let found = restored.map_or(found, |_| Found::Later);
                let start = self.config.start_offset(of_source, found)?;
                (start, EventTime::MIN)
            }
        };
        let reader = self.config.open(of_source, start)?;
        let thread = format!("{}-{name}", self.step);
        self.job
            .telemetry
            .ledger()
            .begin_at(self.number, number, start);
        self.job.note_opened(self.number, number);
        let (batches, received) = bounded(BATCHES_AHEAD);
        let intake = Intake {
            job: Arc::clone(&self.job),
            step: self.step.clone(),
            source: self.number,
            partition: number,
            event_times: self.event_times.clone(),
            reader,
            batches,
            wake: self.wake.clone(),
            next_offset: start,
            restored: watermark,
        };
        self.job.spawn(&thread, move || intake.run());
        Ok(Opened {
            number,
            of_source,
            name,
            watermark,
            start,
            batches: received,
            taken: Arc::new(AtomicU64::new(start)),
        })
    }
}

/// Everything a reader thread needs.
struct Intake<T> {
    job: Arc<JobContext>,
    step: String,
    source: u16,
    partition: u32,
    event_times: EventTimes<T>,
    reader: Box<dyn Reader<T>>,
    batches: Sender<Batch<T>>,
    wake: Wake,
    next_offset: u64,
    /// How far the watermark had got before a restart.
    restored: EventTime,
}

/// The worker has gone away, or the job is to stop.
struct Stopped;

impl<T: Data> Intake<T> {
    /// Reads to the end of the partition, or until the job stops.
    fn run(mut self) {
        if let Err(error) = self.pump() {
            self.job.fail(format!("source `{}`: {error}", self.step));
        }
        (self.wake.activate)();
    }

    fn pump(&mut self) -> Result<(), SourceError> {
        let mut admitted = Admitted {
            batch: self.empty_batch(ReadStatus::More, 0),
            greatest: match self.restored {
                EventTime::MIN => EventTime::MIN,
                time => time.saturating_add(self.event_times.policy.allowance()),
            },
            pen: self.job.telemetry.ledger().pen(),
            now_ns: 0,
            latest: EventTime::MAX,
        };
        let mut read = ReadBatch::new();
        let mut before = ReadStatus::More;
        loop {
            if self.job.stop.is_stopped() {
                return Ok(());
            }
            let status = self
                .reader
                .read(&mut read, self.job.options.batch_records)?;
            let is_silent = status == ReadStatus::Waiting && read.is_empty();
            if is_silent && before == ReadStatus::Waiting {
                continue;
            }
            before = status;
            admitted.batch = self.empty_batch(status, read.len());
            self.look_at_the_clock(&mut admitted);
            for (offset, item) in read.drain(..) {
                if self.admit(offset, item, &mut admitted).is_err() {
                    self.abandon(&mut admitted);
                    return Ok(());
                }
            }
            admitted.batch.reached = self.watermark(admitted.greatest);
            admitted.batch.watermark = match status {
                ReadStatus::End => EventTime::MAX,
                _ => admitted.batch.reached,
            };
            if self.send(&mut admitted).is_err() {
                self.abandon(&mut admitted);
                return Ok(());
            }
            if status == ReadStatus::End {
                return Ok(());
            }
        }
    }

    /// Once for all records that are read at once.
    fn look_at_the_clock(&self, admitted: &mut Admitted<T>) {
        let clock = &self.job.options.clock;
        admitted.now_ns = clock.now_ns();
        admitted.latest = clock
            .wall()
            .saturating_add(self.event_times.policy.lead_max);
    }

    /// Puts one record where it belongs: into the batch, the late events or the dead letters.
    fn admit(
        &mut self,
        offset: u64,
        item: Result<T, Undecodable>,
        admitted: &mut Admitted<T>,
    ) -> Result<(), Stopped> {
        let origin = Origin {
            source: self.source,
            partition: self.partition,
            offset,
            index: 0,
        };
        let value = match item {
            Ok(value) => value,
            Err(bad) => {
                self.next_offset = offset + 1;
                let letter = DeadLetter::new(&self.step, origin, bad.reason, &bad.raw);
                admitted.bury(origin, letter);
                return Ok(());
            }
        };
        let time = match self.event_time(&value, admitted.latest) {
            Ok(time) => time,
            Err(reason) => {
                self.next_offset = offset + 1;
                let letter = DeadLetter::of_value(&self.step, origin, reason, &value);
                admitted.bury(origin, letter);
                return Ok(());
            }
        };
        // What is handed over meanwhile does not go as far as this record.
        self.keep_pace(time, admitted)?;
        self.next_offset = offset + 1;
        admitted.pen.read(origin);
        let watermark = self.watermark(admitted.greatest);
        let record = admitted.stamp(time, origin, value);
        if time < watermark.saturating_sub(self.event_times.policy.late_within) {
            admitted.pen.mark(origin, Fate::Late);
            let late = LateEvent::of_record(&self.step, &record, watermark);
            admitted.batch.late.push(record.with(late));
        } else {
            admitted.greatest = time.max(admitted.greatest);
            admitted.batch.records.push(record);
        }
        Ok(())
    }

    /// Waits until a paced replay has come to `time`, handing over first what is already due.
    fn keep_pace(&self, time: EventTime, admitted: &mut Admitted<T>) -> Result<(), Stopped> {
        let Pace::Times(factor) = self.job.options.pace else {
            return Ok(());
        };
        let clock = &self.job.options.clock;
        let (first, started_ns) = self.job.pace_origin(time);
        let due_ns = started_ns + (time.since(first).as_nanos() as f64 / factor) as u64;
        while clock.now_ns() < due_ns {
            if admitted.batch.len() > 0 {
                let status = std::mem::replace(&mut admitted.batch.status, ReadStatus::More);
                admitted.batch.reached = self.watermark(admitted.greatest);
                admitted.batch.watermark = admitted.batch.reached;
                self.send(admitted)?;
                admitted.batch.status = status;
            }
            if self.job.stop.is_stopped() {
                return Err(Stopped);
            }
            let wait = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
            std::thread::sleep(wait.min(Duration::from_millis(20)));
            self.look_at_the_clock(admitted);
        }
        Ok(())
    }

    /// The record's event time, or why it has none that can be used.
    fn event_time(&self, value: &T, latest: EventTime) -> Result<EventTime, String> {
        let time = guard(|| (self.event_times.time_of)(value))?;
        if time > latest {
            return Err(format!(
                "event time {time} is more than {:?} ahead of the clock",
                self.event_times.policy.lead_max
            ));
        }
        Ok(time)
    }

    fn watermark(&self, greatest: EventTime) -> EventTime {
        greatest.saturating_sub(self.event_times.policy.allowance())
    }

    fn empty_batch(&self, status: ReadStatus, records: usize) -> Batch<T> {
        Batch {
            records: Vec::with_capacity(records),
            late: Vec::new(),
            dead: Vec::new(),
            watermark: EventTime::MIN,
            reached: EventTime::MIN,
            status,
            next_offset: self.next_offset,
        }
    }

    /// Hands the batch over, waiting while the worker has enough; keeps it when the job stops.
    fn send(&self, admitted: &mut Admitted<T>) -> Result<(), Stopped> {
        let patience = Duration::from_millis(50);
        let rest = self.empty_batch(admitted.batch.status, 0);
        let mut batch = std::mem::replace(&mut admitted.batch, rest);
        batch.next_offset = self.next_offset;
        while let Err(error) = self.batches.send_timeout(batch, patience) {
            match error {
                SendTimeoutError::Timeout(unsent) if !self.job.stop.is_stopped() => batch = unsent,
                error => {
                    admitted.batch = error.into_inner();
                    return Err(Stopped);
                }
            }
        }
        self.wake.call();
        Ok(())
    }

    /// Accounts for records that were read but never handed over.
    fn abandon(&self, admitted: &mut Admitted<T>) {
        let Admitted { batch, pen, .. } = admitted;
        batch
            .records
            .iter()
            .for_each(|record| pen.mark(record.origin, Fate::Held));
    }
}

/// What a reader has admitted and not handed over, and what it judges the next record by.
struct Admitted<T> {
    batch: Batch<T>,
    /// The greatest event time so far.
    greatest: EventTime,
    pen: Pen,
    /// When the records at hand were read.
    now_ns: u64,
    /// Beyond this event time, records are too far ahead of the clock.
    latest: EventTime,
}

impl<T> Admitted<T> {
    fn stamp<U>(&self, time: EventTime, origin: Origin, value: U) -> Record<U> {
        Record {
            time,
            origin,
            ingested_ns: self.now_ns,
            value,
        }
    }

    fn bury(&mut self, origin: Origin, letter: DeadLetter) {
        self.pen.read(origin);
        self.pen.mark(origin, Fate::Dead);
        let letter = self.stamp(self.greatest, origin, letter);
        self.batch.dead.push(letter);
    }
}
