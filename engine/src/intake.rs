//! The intake of one source partition: it reads, stamps, and sorts out late and bad records. A reader
//! that may have to wait has a thread, which hands batches to the worker over a bounded channel; one
//! that is always ready is read by the worker itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, TryRecvError, bounded};

use crate::epochs::RestoredSource;
use crate::guard::guard;
use crate::job::{JobContext, Pace};
use crate::ledger::{Fate, Pen};
use crate::letters::{DeadLetter, LateEvent};
use crate::reader_thread::ReaderThread;
use crate::record::{Data, Origin, Record};
use crate::silence::Silence;
use crate::source::{
    EventTimes, Found, ReadBatch, ReadStatus, Reader, Source, SourceError, Undecodable,
};
use crate::time::EventTime;
use crate::turns::{self, Defect};

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
    /// For how long the reader has looked since it found something last.
    pub(crate) silent: Duration,
    /// What the watermark after the batch would be if the partition had not ended.
    pub(crate) reached: EventTime,
    /// The offset up to which the batch goes.
    pub(crate) next_offset: u64,
}

impl<T> Batch<T> {
    fn empty(next_offset: u64) -> Self {
        Self {
            records: Vec::new(),
            late: Vec::new(),
            dead: Vec::new(),
            watermark: EventTime::MIN,
            status: ReadStatus::More,
            silent: Duration::ZERO,
            reached: EventTime::MIN,
            next_offset,
        }
    }

    /// How many records were read.
    pub(crate) fn len(&self) -> usize {
        self.records.len() + self.late.len() + self.dead.len()
    }

    /// Whether it only tells that there is nothing.
    pub(crate) fn is_silence(&self) -> bool {
        self.len() == 0 && self.status != ReadStatus::End
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
            self.call_anyway();
        }
    }

    /// Wakes the worker, whether or not it is about to look.
    pub(crate) fn call_anyway(&self) {
        (self.activate)();
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
    pub(crate) batches: Batches<T>,
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

    /// Opens a partition that is known, and starts its reader thread if it needs one.
    pub(crate) fn open(&self, of_source: u32, found: Found) -> Result<Opened<T>, SourceError> {
        let known = self.known.get(&of_source);
        let known = known.expect("invariant: a partition is learnt of before it is opened");
        let (number, name) = (known.number, known.name.clone());
        let restored = self.restored();
        let place = restored.and_then(|restored| restored.partitions.get(&name));
        let (start, watermark) = match place {
            Some(place) if turns::is_planted(Defect::WatermarkGoesBack) => {
                (place.offset, EventTime::MIN)
            }
            Some(place) => (place.offset, place.watermark.time),
            None => {
                // One that was not there before is new.
                let found = restored.map_or(found, |_| Found::Later);
                let found = match turns::is_planted(Defect::NewPartitionFromEnd) {
                    true => Found::AtStart,
                    false => found,
                };
                let start = self.config.start_offset(of_source, found)?;
                (start, EventTime::MIN)
            }
        };
        let reader = self.config.open(of_source, start)?;
        let name_of_thread = format!("{}-{name}", self.step);
        self.job
            .telemetry
            .ledger()
            .begin_at(self.number, number, start);
        self.job.note_opened(self.number, number);
        let is_ready = reader.is_always_ready() && self.job.options.pace == Pace::Max;
        let intake = Intake::new(self, number, reader, start, watermark);
        let batches = if is_ready {
            Batches::Here(Box::new(intake))
        } else {
            let (batches, received) = bounded(BATCHES_AHEAD);
            let wake = self.wake.clone();
            let thread = ReaderThread {
                intake,
                batches,
                wake,
            };
            self.job.spawn(&name_of_thread, move || thread.run());
            Batches::Elsewhere(received)
        };
        Ok(Opened {
            number,
            of_source,
            name,
            watermark,
            start,
            batches,
            taken: Arc::new(AtomicU64::new(start)),
        })
    }
}

/// Where a worker gets the batches of a partition from.
pub(crate) enum Batches<T> {
    /// Read on a thread of their own.
    Elsewhere(Receiver<Batch<T>>),
    /// Read by the worker, when it has room for them.
    Here(Box<Intake<T>>),
}

/// What there is of a partition at this moment.
pub(crate) enum Next<T> {
    Batch(Batch<T>),
    Nothing,
    /// No more will come, for whatever reason.
    Gone,
}

impl<T: Data> Batches<T> {
    pub(crate) fn next(&mut self) -> Next<T> {
        match self {
            Self::Elsewhere(batches) => match batches.try_recv() {
                Ok(batch) => Next::Batch(batch),
                Err(TryRecvError::Empty) => Next::Nothing,
                Err(TryRecvError::Disconnected) => Next::Gone,
            },
            Self::Here(intake) => intake.next(),
        }
    }

    /// Whether there is something to be taken.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Elsewhere(batches) => !batches.is_empty(),
            Self::Here(_) => true,
        }
    }
}

/// Reads a partition, and sorts out what it reads.
pub(crate) struct Intake<T> {
    pub(crate) job: Arc<JobContext>,
    pub(crate) step: String,
    source: u16,
    partition: u32,
    event_times: EventTimes<T>,
    reader: Box<dyn Reader<T>>,
    silence: Silence,
    /// What it has read and is still to be admitted.
    pub(crate) read: ReadBatch<T>,
    /// What has been admitted and not handed over.
    batch: Batch<T>,
    /// The greatest event time so far.
    greatest: EventTime,
    pen: Pen,
    /// When the records at hand were read.
    now_ns: u64,
    /// Beyond this event time, records are too far ahead of the clock.
    latest: EventTime,
}

impl<T: Data> Intake<T> {
    fn new(
        opener: &Opener<T>,
        partition: u32,
        reader: Box<dyn Reader<T>>,
        start: u64,
        restored: EventTime,
    ) -> Self {
        Self {
            job: Arc::clone(&opener.job),
            step: opener.step.clone(),
            source: opener.number,
            partition,
            event_times: opener.event_times.clone(),
            reader,
            silence: Silence::new(opener.event_times.policy.idle_after),
            read: ReadBatch::new(),
            batch: Batch::empty(start),
            greatest: match restored {
                EventTime::MIN => EventTime::MIN,
                time => time.saturating_add(opener.event_times.policy.allowance()),
            },
            pen: opener.job.telemetry.ledger().pen(),
            now_ns: 0,
            latest: EventTime::MAX,
        }
    }

    /// The next batch, read on the worker; a failure of the reader's ends the job.
    fn next(&mut self) -> Next<T> {
        if self.job.stop.is_stopped() {
            return Next::Gone;
        }
        let read = guard(|| {
            let status = self.read()?;
            Ok::<_, SourceError>(status.map(|status| {
                self.admit_all();
                self.close(status)
            }))
        });
        match read {
            Ok(Ok(Some(batch))) => Next::Batch(batch),
            Ok(Ok(None)) => Next::Nothing,
            Ok(Err(error)) => {
                self.fail(&error);
                Next::Gone
            }
            Err(panic) => {
                self.fail(&panic);
                Next::Gone
            }
        }
    }

    pub(crate) fn fail(&self, reason: &dyn std::fmt::Display) {
        self.job.fail(format!("source `{}`: {reason}", self.step));
    }

    /// Has the reader read once; `None` where it gives nothing, and the worker knows as much.
    pub(crate) fn read(&mut self) -> Result<Option<ReadStatus>, SourceError> {
        let limit = self.job.options.batch_records;
        let began_ns = self.job.options.clock.now_ns();
        let status = self.reader.read(&mut self.read, limit)?;
        self.look_at_the_clock();
        if !self.read.is_empty() || status == ReadStatus::End {
            self.silence.end();
        } else {
            let looked_ns = self.now_ns.saturating_sub(began_ns);
            self.silence.listen(status, Duration::from_nanos(looked_ns));
            if !self.silence.is_news() {
                return Ok(None);
            }
        }
        self.batch.records.reserve(self.read.len());
        Ok(Some(status))
    }

    /// Once for all records that are read at once.
    pub(crate) fn look_at_the_clock(&mut self) {
        let clock = &self.job.options.clock;
        self.now_ns = clock.now_ns();
        self.latest = clock
            .wall()
            .saturating_add(self.event_times.policy.lead_max);
    }

    /// Admits all that has been read.
    pub(crate) fn admit_all(&mut self) {
        let mut read = std::mem::take(&mut self.read);
        for (offset, item) in read.drain(..) {
            self.admit(offset, item);
        }
        self.read = read;
    }

    /// Puts one record where it belongs: into the batch, the late events or the dead letters.
    pub(crate) fn admit(&mut self, offset: u64, item: Result<T, Undecodable>) {
        self.batch.next_offset = offset + 1;
        let origin = Origin {
            source: self.source,
            partition: self.partition,
            offset,
            index: 0,
        };
        let value = match item {
            Ok(value) => value,
            Err(bad) => {
                return self.bury(
                    DeadLetter::new(&self.step, origin, bad.reason, &bad.raw),
                    origin,
                );
            }
        };
        let time = match self.event_time(&value) {
            Ok(time) => time,
            Err(reason) => {
                let letter = DeadLetter::of_value(&self.step, origin, reason, &value);
                return self.bury(letter, origin);
            }
        };
        let watermark = self.watermark();
        let record = self.stamp(time, origin, value);
        if time < watermark.saturating_sub(self.event_times.policy.late_within) {
            self.pen.read(origin);
            self.pen.mark(origin, Fate::Late);
            let late = LateEvent::of_record(&self.step, &record, watermark);
            self.batch.late.push(record.with(late));
        } else {
            self.greatest = time.max(self.greatest);
            self.batch.records.push(record);
        }
    }

    /// The record's event time, or why it has none that can be used.
    pub(crate) fn event_time(&self, value: &T) -> Result<EventTime, String> {
        let time = guard(|| (self.event_times.time_of)(value))?;
        if time > self.latest {
            return Err(format!(
                "event time {time} is more than {:?} ahead of the clock",
                self.event_times.policy.lead_max
            ));
        }
        Ok(time)
    }

    fn stamp<U>(&self, time: EventTime, origin: Origin, value: U) -> Record<U> {
        Record {
            time,
            origin,
            ingested_ns: self.now_ns,
            value,
        }
    }

    fn bury(&mut self, letter: DeadLetter, origin: Origin) {
        self.pen.read(origin);
        self.pen.mark(origin, Fate::Dead);
        let letter = self.stamp(self.greatest, origin, letter);
        self.batch.dead.push(letter);
    }

    fn watermark(&self) -> EventTime {
        let policy = &self.event_times.policy;
        self.greatest.saturating_sub(policy.allowance())
    }

    /// Whether anything has been admitted and not handed over.
    pub(crate) fn has_admitted(&self) -> bool {
        self.batch.len() > 0
    }

    /// The batch with all that has been admitted; another one is begun.
    pub(crate) fn close(&mut self, status: ReadStatus) -> Batch<T> {
        let next = Batch::empty(self.batch.next_offset);
        let mut batch = std::mem::replace(&mut self.batch, next);
        self.pen
            .read_all(batch.records.iter().map(|record| record.origin));
        batch.status = status;
        batch.silent = self.silence.tell();
        batch.reached = self.watermark();
        batch.watermark = match status {
            ReadStatus::End => EventTime::MAX,
            _ => batch.reached,
        };
        batch
    }

    /// Accounts for records that were read but never handed over.
    pub(crate) fn abandon(&mut self, batch: &Batch<T>) {
        let origins = batch.records.iter().map(|record| record.origin);
        self.pen.mark_all(origins, Fate::Held);
    }
}
