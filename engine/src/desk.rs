//! A sink's writer with what it has to account for, and the thread that it may have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::epochs::Save;
use crate::flushes::Answers;
use crate::intake::Wake;
use crate::job::JobContext;
use crate::ledger::{Fate, Pen};
use crate::letters::DeadLetter;
use crate::record::{Data, Record};
use crate::sink::{Refused, RefusedLate, SinkError, Writer};
use crate::telemetry::StepMetrics;
use crate::time::{EventTime, millis};
use crate::turns;

/// How long nothing may come before what was written is flushed.
const QUIET: Duration = millis(20);
/// How long nothing may come before the worker hears how far the writer is, and after how many
/// batches it does in any case.
const SHORT_PAUSE: Duration = millis(1);
const BATCHES_UNTOLD: u64 = 16;

/// A writer with what it has to account for.
pub(crate) struct Desk<T> {
    job: Arc<JobContext>,
    step: Arc<StepMetrics>,
    writer: Box<dyn Writer<T>>,
    refused: Refused,
    pen: Pen,
    is_dirty: bool,
    /// Whether the fate of all that was written is known.
    is_settled: bool,
    /// The event time of what was written last.
    time: EventTime,
    is_broken: bool,
    /// Where the requests are that are not answered before the writer has completed everything.
    _unanswered: Option<Answers>,
}

/// The writer is broken, and the job knows.
pub(crate) struct Broken;

impl<T: Data> Desk<T> {
    pub(crate) fn new(
        job: Arc<JobContext>,
        step: Arc<StepMetrics>,
        writer: Box<dyn Writer<T>>,
    ) -> Self {
        let pen = job.telemetry.ledger().pen();
        let _unanswered = (!writer.shows_when_flushed()).then(|| job.flushes.join());
        Self {
            job,
            step,
            writer,
            refused: Refused::default(),
            pen,
            is_dirty: false,
            is_settled: true,
            time: EventTime::default(),
            is_broken: false,
            _unanswered,
        }
    }

    /// Writes records, and gives dead letters of those that the writer refuses.
    pub(crate) fn write(
        &mut self,
        records: &[Record<T>],
    ) -> Result<Vec<Record<DeadLetter>>, Broken> {
        self.is_dirty = true;
        let written = self.writer.write(records, &mut self.refused);
        self.settle(written)?;
        let now_ns = self.job.options.clock.now_ns();
        let origins = records.iter().map(|record| record.origin);
        self.pen.mark_all(origins, Fate::Processed);
        let latencies_ns = records.iter().map(|r| now_ns.saturating_sub(r.ingested_ns));
        self.step.records(latencies_ns);
        self.time = records.last().map_or(self.time, |record| record.time);
        let mut letters = self.look_back()?;
        let refused = self.refused.take().into_iter();
        letters.extend(
            refused
                .map(|(index, reason)| reject(&self.step, &mut self.pen, &records[index], reason)),
        );
        Ok(letters)
    }

    /// Makes everything visible, and gives dead letters of what turns out not to be written.
    pub(crate) fn flush(&mut self) -> Result<Vec<Record<DeadLetter>>, Broken> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(Vec::new());
        }
        let flushed = self.writer.flush();
        self.settle(flushed)?;
        self.look_back()
    }

    fn look_back(&mut self) -> Result<Vec<Record<DeadLetter>>, Broken> {
        let mut late = Vec::new();
        let looked = self.writer.look_back(&mut late);
        self.is_settled = *looked.as_ref().unwrap_or(&false);
        self.settle(looked.map(drop))?;
        let late = late.into_iter();
        Ok(late
            .map(|refused| reject_late(&self.step, &mut self.pen, refused, self.time))
            .collect())
    }
}

/// Makes a dead letter of a record that a writer refuses: of a record's marks in the ledger, that of
/// a dead letter decides.
pub(crate) fn reject<T: Data>(
    step: &StepMetrics,
    pen: &mut Pen,
    record: &Record<T>,
    reason: String,
) -> Record<DeadLetter> {
    pen.mark(record.origin, Fate::Dead);
    let letter = DeadLetter::of_value(&step.id, record.origin, reason, &record.value);
    record.with(letter)
}

/// Makes a dead letter of a record that a writer had taken in before it was refused.
pub(crate) fn reject_late(
    step: &StepMetrics,
    pen: &mut Pen,
    refused: RefusedLate,
    time: EventTime,
) -> Record<DeadLetter> {
    let RefusedLate {
        origin,
        reason,
        raw,
    } = refused;
    pen.mark(origin, Fate::Dead);
    Record {
        time,
        origin,
        ingested_ns: 0,
        value: DeadLetter::new(&step.id, origin, reason, &raw),
    }
}

impl<T> Desk<T> {
    fn settle(&mut self, outcome: Result<(), SinkError>) -> Result<(), Broken> {
        outcome.map_err(|error| {
            self.is_broken = true;
            self.job.fail(format!("sink `{}`: {error}", self.step.id));
            Broken
        })
    }
}

impl<T> Drop for Desk<T> {
    /// Whatever ends the run, what was written is completed.
    fn drop(&mut self) {
        if !self.is_broken && !std::thread::panicking() {
            let closed = self.writer.close();
            let _ = self.settle(closed);
        }
    }
}

/// What a writer on a thread of its own tells the worker that feeds it.
pub(crate) struct Progress {
    /// Batches written.
    pub(crate) written: AtomicU64,
    /// Dead letters of records that were refused in them.
    letters: Mutex<Vec<Record<DeadLetter>>>,
    wake: Wake,
}

impl Progress {
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            written: AtomicU64::new(0),
            letters: Mutex::default(),
            wake,
        }
    }

    pub(crate) fn wake(&self) {
        self.wake.call();
    }

    /// Hands over dead letters, before the batch that they are of counts as written.
    pub(crate) fn add_letters(&self, letters: Vec<Record<DeadLetter>>) {
        if !letters.is_empty() {
            let kept = self.letters.lock();
            kept.unwrap_or_else(PoisonError::into_inner).extend(letters);
        }
    }

    /// How many batches have been written, and the dead letters of at least these.
    pub(crate) fn take(&self) -> (u64, Vec<Record<DeadLetter>>) {
        let written = self.written.load(Ordering::Acquire);
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        (written, std::mem::take(&mut *letters))
    }
}

/// What a worker sends to the thread of a writer.
pub(crate) enum Item<T> {
    Records(Vec<Record<T>>),
    /// What came before is all of this epoch of the run.
    EndOfEpoch(u64),
    /// Once what came before that is safe, this may be saved.
    Save(Box<Save>),
}

/// A writer on a thread of its own.
pub(crate) struct WriterThread<T> {
    pub(crate) desk: Desk<T>,
    pub(crate) items: Receiver<Item<T>>,
    pub(crate) answers: Answers,
    pub(crate) progress: Arc<Progress>,
    pub(crate) written: u64,
    /// Batches written that the worker has not been woken for.
    pub(crate) untold: u64,
}

impl<T: Data> WriterThread<T> {
    /// Writes what comes, and flushes whenever nothing more is waiting, or when it is asked to.
    pub(crate) fn run(mut self) {
        while let Ok(true) = self.turn() {}
    }

    /// Does the next thing; whether there can be more.
    fn turn(&mut self) -> Result<bool, Broken> {
        let asked = self.desk.job.flushes.asked();
        if asked > self.answers.latest() {
            // What is here by now is what was given before the request.
            for _ in 0..self.items.len() {
                let Ok(item) = self.items.try_recv() else {
                    break;
                };
                self.take(item)?;
            }
            self.flush()?;
            self.answers.answer(asked);
            return Ok(true);
        }
        let patience = if self.untold > 0 { SHORT_PAUSE } else { QUIET };
        match turns::recv_timeout(&self.items, patience) {
            Ok(item) => self.take(item)?,
            Err(RecvTimeoutError::Timeout) if self.untold > 0 => self.tell(),
            Err(RecvTimeoutError::Timeout) => self.flush()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, item: Item<T>) -> Result<(), Broken> {
        match item {
            Item::Records(records) => self.write(&records),
            Item::EndOfEpoch(_) => Ok(()),
            Item::Save(save) => {
                self.flush()?;
                if let Some(epochs) = &self.desk.job.epochs {
                    epochs.save(*save);
                }
                Ok(())
            }
        }
    }

    fn write(&mut self, records: &[Record<T>]) -> Result<(), Broken> {
        let letters = self.desk.write(records)?;
        let has_letters = !letters.is_empty();
        self.written += 1;
        self.untold += 1;
        self.note(letters);
        if has_letters || self.untold >= BATCHES_UNTOLD {
            self.tell();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        let was_settled = self.desk.is_settled;
        let letters = self.desk.flush()?;
        self.note(letters);
        if !was_settled {
            self.tell();
        }
        Ok(())
    }

    /// Notes how far the writer is. The last batch is not over before the fate of all records is known:
    /// dead letters that are still to come need a tick to come in.
    fn note(&self, letters: Vec<Record<DeadLetter>>) {
        self.progress.add_letters(letters);
        let open = u64::from(!self.desk.is_settled);
        let written = self.written.saturating_sub(open);
        self.progress.written.store(written, Ordering::Release);
    }

    fn tell(&mut self) {
        self.untold = 0;
        self.progress.wake.call();
    }
}
