//! The reader thread of one source partition: it reads, stamps, and sorts out late and bad records,
//! then hands batches to the worker over a bounded channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{SendTimeoutError, Sender};

use crate::job::{JobContext, Pace};
use crate::ledger::{Fate, Pen};
use crate::letters::{DeadLetter, LateEvent};
use crate::record::{Data, Origin, Record};
use crate::source::{EventTimes, ReadBatch, ReadStatus, Reader, SourceError, Undecodable};
use crate::time::EventTime;

/// What a reader hands to its worker.
pub(crate) struct Batch<T> {
    pub(crate) records: Vec<Record<T>>,
    pub(crate) late: Vec<Record<LateEvent>>,
    pub(crate) dead: Vec<Record<DeadLetter>>,
    /// The partition's watermark after the batch.
    pub(crate) watermark: EventTime,
    pub(crate) status: ReadStatus,
}

/// Wakes the worker when a batch is there; one wake-up serves all batches until it looks.
pub(crate) struct Wake {
    pending: Arc<AtomicBool>,
    activate: Box<dyn Fn() + Send>,
}

impl Wake {
    pub(crate) fn new(pending: Arc<AtomicBool>, activate: Box<dyn Fn() + Send>) -> Self {
        Self { pending, activate }
    }

    fn call(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            (self.activate)();
        }
    }
}

/// Everything a reader thread needs.
pub(crate) struct Intake<T> {
    pub(crate) job: Arc<JobContext>,
    pub(crate) step: String,
    pub(crate) source: u16,
    pub(crate) partition: u32,
    pub(crate) event_times: EventTimes<T>,
    pub(crate) reader: Box<dyn Reader<T>>,
    pub(crate) batches: Sender<Batch<T>>,
    pub(crate) wake: Wake,
}

/// The worker has gone away, or the job is to stop.
struct Stopped;

impl<T: Data> Intake<T> {
    /// Reads to the end of the partition, or until the job stops.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.pump() {
            self.job.fail(format!("source `{}`: {error}", self.step));
        }
        (self.wake.activate)();
    }

    fn pump(&mut self) -> Result<(), SourceError> {
        let mut pen = self.job.telemetry.ledger().pen();
        let mut greatest = EventTime::MIN;
        let mut read = ReadBatch::new();
        loop {
            if self.job.stop.is_stopped() {
                return Ok(());
            }
            let status = self
                .reader
                .read(&mut read, self.job.options.batch_records)?;
            let mut batch = self.empty_batch(status, read.len());
            for (offset, item) in read.drain(..) {
                if self
                    .admit(offset, item, &mut batch, &mut greatest, &mut pen)
                    .is_err()
                {
                    self.abandon(&batch, &mut pen);
                    return Ok(());
                }
            }
            batch.watermark = self.watermark(greatest);
            if status == ReadStatus::End {
                batch.watermark = EventTime::MAX;
            }
            if let Err(unsent) = self.send(batch) {
                self.abandon(&unsent, &mut pen);
                return Ok(());
            }
            if status == ReadStatus::End {
                return Ok(());
            }
        }
    }

    /// Puts one record where it belongs: into the batch, the late events or the dead letters.
    fn admit(
        &self,
        offset: u64,
        item: Result<T, Undecodable>,
        batch: &mut Batch<T>,
        greatest: &mut EventTime,
        pen: &mut Pen,
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
                pen.read(origin);
                pen.mark(origin, Fate::Dead);
                let letter = DeadLetter::new(&self.step, origin, bad.reason, &bad.raw);
                batch.dead.push(self.stamp(*greatest, origin, letter));
                return Ok(());
            }
        };
        let time = (self.event_times.time_of)(&value);
        if let Some(reason) = self.too_far_ahead(time) {
            pen.read(origin);
            pen.mark(origin, Fate::Dead);
            let letter = DeadLetter::of_value(&self.step, origin, reason, &value);
            batch.dead.push(self.stamp(*greatest, origin, letter));
            return Ok(());
        }
        self.keep_pace(time, batch, *greatest)?;
        pen.read(origin);
        let watermark = self.watermark(*greatest);
        let record = self.stamp(time, origin, value);
        if time < watermark.saturating_sub(self.event_times.policy.late_within) {
            pen.mark(origin, Fate::Late);
            let late = LateEvent::of_record(&self.step, &record, watermark);
            batch.late.push(record.with(late));
        } else {
            *greatest = time.max(*greatest);
            batch.records.push(record);
        }
        Ok(())
    }

    /// Waits until a paced replay has come to `time`, handing over first what is already due.
    fn keep_pace(
        &self,
        time: EventTime,
        batch: &mut Batch<T>,
        greatest: EventTime,
    ) -> Result<(), Stopped> {
        let Pace::Times(factor) = self.job.options.pace else {
            return Ok(());
        };
        let clock = &self.job.options.clock;
        let (first, started_ns) = *self.job.pace_origin.get_or_init(|| (time, clock.now_ns()));
        let due_ns = started_ns + (time.since(first).as_nanos() as f64 / factor) as u64;
        while clock.now_ns() < due_ns {
            if !batch.records.is_empty() || !batch.late.is_empty() || !batch.dead.is_empty() {
                let rest = self.empty_batch(batch.status, 0);
                let mut due = std::mem::replace(batch, rest);
                due.watermark = self.watermark(greatest);
                due.status = ReadStatus::More;
                if let Err(unsent) = self.send(due) {
                    *batch = unsent;
                    return Err(Stopped);
                }
            }
            if self.job.stop.is_stopped() {
                return Err(Stopped);
            }
            let wait = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
            std::thread::sleep(wait.min(Duration::from_millis(20)));
        }
        Ok(())
    }

    fn too_far_ahead(&self, time: EventTime) -> Option<String> {
        let limit = self
            .job
            .options
            .clock
            .wall()
            .saturating_add(self.event_times.policy.lead_max);
        (time > limit).then(|| {
            format!(
                "event time {time} is more than {:?} ahead of the clock",
                self.event_times.policy.lead_max
            )
        })
    }

    fn watermark(&self, greatest: EventTime) -> EventTime {
        greatest.saturating_sub(self.event_times.policy.allowance())
    }

    fn stamp<U>(&self, time: EventTime, origin: Origin, value: U) -> Record<U> {
        Record {
            time,
            origin,
            ingested_ns: self.job.options.clock.now_ns(),
            value,
        }
    }

    fn empty_batch(&self, status: ReadStatus, records: usize) -> Batch<T> {
        Batch {
            records: Vec::with_capacity(records),
            late: Vec::new(),
            dead: Vec::new(),
            watermark: EventTime::MIN,
            status,
        }
    }

    /// Hands a batch over, waiting while the worker has enough; gives it back when the job stops.
    fn send(&self, mut batch: Batch<T>) -> Result<(), Batch<T>> {
        let patience = Duration::from_millis(50);
        while let Err(error) = self.batches.send_timeout(batch, patience) {
            match error {
                SendTimeoutError::Timeout(unsent) if !self.job.stop.is_stopped() => batch = unsent,
                error => return Err(error.into_inner()),
            }
        }
        self.wake.call();
        Ok(())
    }

    /// Accounts for records that were read but never handed over.
    fn abandon(&self, batch: &Batch<T>, pen: &mut Pen) {
        batch
            .records
            .iter()
            .for_each(|record| pen.mark(record.origin, Fate::Held));
    }
}
