//! The thread of an exactly-once sink: it stages the records of the open epoch, and publishes each
//! epoch when it has been sealed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::checkpoint::Epoch;
use crate::desk::{Item, Progress, reject, reject_late};
use crate::epochs::{Epochs, Save};
use crate::flushes::Answers;
use crate::job::JobContext;
use crate::ledger::{Fate, Pen};
use crate::left_out::{LeftOut, Letters};
use crate::record::{Data, Record};
use crate::sink::{EpochWriter, Refused, SinkError};
use crate::telemetry::StepMetrics;
use crate::time::{EventTime, millis, secs};
use crate::turns::{self, Defect};

/// How long to wait before a sink that is away is tried again: at first, and at most.
const RETRY_MIN: Duration = millis(50);
const RETRY_MAX: Duration = secs(2);

/// Everything that the thread needs.
pub(crate) struct Publisher<T> {
    pub(crate) job: Arc<JobContext>,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) step: Arc<StepMetrics>,
    pub(crate) writer: Box<dyn EpochWriter<T>>,
    pub(crate) pen: Pen,
    pub(crate) items: Receiver<Item<T>>,
    pub(crate) answers: Answers,
    pub(crate) progress: Arc<Progress>,
    pub(crate) left_out: Arc<LeftOut>,
    /// What earlier runs have left to be published.
    pub(crate) restored: VecDeque<(Epoch, Vec<u8>)>,
    /// What the open epoch has to publish.
    pub(crate) open: Outbox,
    /// Epochs that are over and not published.
    pub(crate) closed: VecDeque<(u64, Arc<Outbox>)>,
    /// The epoch that is open.
    pub(crate) epoch: u64,
    /// A request to make everything visible, and the epoch with which it will be.
    pub(crate) request: Option<(u64, u64)>,
    /// The event time of what was staged last.
    pub(crate) time: EventTime,
}

/// What an epoch has to publish.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    /// When each of its records was read.
    ingested_ns: Vec<u64>,
}

/// Nothing can be published any more, and the job knows.
struct Broken;

impl<T: Data> Publisher<T> {
    /// Publishes what earlier runs have left, then whatever comes, until everything is published.
    pub(crate) fn run(mut self) {
        let resumed = self.resume();
        let taken_over = resumed.and_then(|()| self.insist(|writer| writer.take_over()));
        self.note_unpublished();
        if taken_over.and_then(|()| self.publish_due()).is_err() {
            return;
        }
        let sealed = self.epochs.subscribe();
        let items = self.items.clone();
        loop {
            let outcome = match turns::recv_unless_told(&items, &sealed, millis(20)) {
                Ok(item) => self.take(item),
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if outcome.and_then(|()| self.publish_due()).is_err() || self.job.is_aborted() {
                return;
            }
            self.answer();
        }
        while self.oldest() < self.epoch {
            // It tells at most that there is something to look at.
            let _ = turns::recv_timeout(&sealed, millis(20));
            if self.publish_due().is_err() || self.job.is_aborted() {
                return;
            }
        }
    }

    fn take(&mut self, item: Item<T>) -> Result<(), Broken> {
        match item {
            Item::Records(records) => {
                self.stage(&records)?;
                self.progress.written.fetch_add(1, Ordering::Release);
                self.progress.wake();
            }
            Item::EndOfEpoch(epoch) => self.close(epoch),
            Item::Save(save) => self.save(*save),
        }
        Ok(())
    }

    fn stage(&mut self, records: &[Record<T>]) -> Result<(), Broken> {
        let mut refused = Refused::default();
        let before = self.open.bytes.len();
        let staged = self
            .writer
            .stage(records, &mut self.open.bytes, &mut refused);
        self.settle(staged)?;
        self.epochs.add_outbox(self.open.bytes.len() - before);
        let origins = records.iter().map(|record| record.origin);
        self.pen.mark_all(origins, Fate::Processed);
        let ingested_ns = records.iter().map(|record| record.ingested_ns);
        self.open.ingested_ns.extend(ingested_ns);
        self.time = records.last().map_or(self.time, |record| record.time);
        let letters = refused
            .take()
            .into_iter()
            .map(|(index, reason)| reject(&self.step, &mut self.pen, &records[index], reason));
        self.progress.add_letters(letters.collect());
        Ok(())
    }

    fn close(&mut self, epoch: u64) {
        let outbox = std::mem::take(&mut self.open);
        if !outbox.bytes.is_empty() {
            self.closed.push_back((epoch, Arc::new(outbox)));
        }
        self.epoch = epoch + 1;
        self.epochs.note_end(epoch, self.job.options.clock.now_ns());
        if turns::is_planted(Defect::EarlyOutboxDeletion) {
            let epoch = self.epochs.number(epoch);
            self.epochs.note_published(&self.step.id, epoch, 0);
        }
        self.note_unpublished();
        self.left_out.note_published(self.oldest(), None);
    }

    /// Has the epoch that was closed last saved, with its outbox.
    fn save(&self, mut save: Save) {
        let closed = self.closed.back();
        let own = closed.filter(|(epoch, _)| *epoch == save.epoch);
        save.outbox = own.map(|(_, outbox)| Arc::clone(outbox));
        save.published = self.writer.published();
        self.epochs.save(save);
    }

    /// Publishes what may be published: what earlier runs have left before what this one has sealed, also
    /// where letters of it have to come back first.
    fn publish_due(&mut self) -> Result<(), Broken> {
        while self.left_out.may_publish(self.epochs.sealed()) {
            let is_next = self.restored.is_empty() || turns::is_planted(Defect::RestoredOvertaken);
            if is_next && let Some((epoch, outbox)) = self.take_sealed() {
                self.publish(self.epochs.number(epoch), &outbox.bytes)?;
                let now_ns = self.job.options.clock.now_ns();
                self.epochs.note_visible(&self.job, epoch, now_ns);
                let ingested_ns = outbox.ingested_ns.iter();
                self.step
                    .records(ingested_ns.map(|ns| now_ns.saturating_sub(*ns)));
                self.epochs.remove_outbox(outbox.bytes.len());
            } else if let Some((epoch, bytes)) = self.restored.pop_front() {
                self.publish(epoch, &bytes)?;
            } else {
                break;
            }
            self.note_unpublished();
        }
        Ok(())
    }

    /// Takes the oldest epoch of this run, if it has been sealed.
    fn take_sealed(&mut self) -> Option<(u64, Arc<Outbox>)> {
        let (epoch, _) = self.closed.front()?;
        let is_sealed =
            *epoch < self.epochs.sealed() || turns::is_planted(Defect::PublishBeforeSeal);
        is_sealed.then(|| self.closed.pop_front())?
    }

    /// Makes a call until the sink is there for it, or the job has ended. That it is away is told once,
    /// and so is that it is back.
    fn insist(
        &mut self,
        mut call: impl FnMut(&mut dyn EpochWriter<T>) -> Result<(), SinkError>,
    ) -> Result<(), Broken> {
        let (mut wait, mut has_waited) = (RETRY_MIN, false);
        let telemetry = Arc::clone(&self.job.telemetry);
        loop {
            let outcome = call(&mut *self.writer);
            let Err(SinkError::Away { .. }) = &outcome else {
                if has_waited {
                    telemetry.set_waiting("publishing", &self.step.id, None);
                    if outcome.is_ok() {
                        tracing::info!(sink = self.step.id, "epochs are published again");
                    }
                }
                return self.settle(outcome);
            };
            if let Err(error) = outcome {
                match std::mem::replace(&mut has_waited, true) {
                    false => tracing::warn!(sink = self.step.id, "an epoch waits: {error}"),
                    true => tracing::debug!(sink = self.step.id, "an epoch waits: {error}"),
                }
                telemetry.set_waiting("publishing", &self.step.id, Some(error.to_string()));
            }
            if self.job.is_aborted() {
                return Err(Broken);
            }
            turns::sleep(wait);
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    /// Tells the writer how far had been published when the checkpoint was taken.
    fn resume(&mut self) -> Result<(), Broken> {
        let epochs = Arc::clone(&self.epochs);
        let restored = epochs.restored.as_ref();
        match restored.and_then(|restored| restored.published(&self.step.id)) {
            Some(published) => {
                let resumed = self.writer.resume(published);
                self.settle(resumed)
            }
            None => Ok(()),
        }
    }

    fn publish(&mut self, epoch: Epoch, bytes: &[u8]) -> Result<(), Broken> {
        if self.epochs.failpoint.is_hit(&self.job, "before publish") {
            return Err(Broken);
        }
        self.insist(|writer| writer.publish(epoch, bytes))?;
        if self.epochs.failpoint.is_hit(&self.job, "after publish") {
            return Err(Broken);
        }
        let letters = self.left_out_of(epoch);
        if letters.is_none() {
            self.epochs.note_published(&self.step.id, epoch, 0);
        }
        self.left_out.note_published(self.oldest(), letters);
        Ok(())
    }

    /// Dead letters of what was left out of the epoch published last.
    fn left_out_of(&mut self, epoch: Epoch) -> Option<Letters> {
        if !self.left_out.is_expected() {
            return None;
        }
        let left_out = self.writer.left_out().into_iter();
        let letters: Vec<_> = left_out
            .map(|refused| reject_late(&self.step, &mut self.pen, refused, self.time))
            .collect();
        (!letters.is_empty()).then_some((epoch, letters))
    }

    /// The oldest epoch of the run that is not published; the open one where all before it are.
    fn oldest(&self) -> u64 {
        match self.restored.is_empty() {
            true => self.closed.front().map_or(self.epoch, |(epoch, _)| *epoch),
            false => 0,
        }
    }

    fn note_unpublished(&self) {
        let is_published = self.restored.is_empty() && self.closed.is_empty();
        let oldest = (!is_published).then(|| self.oldest());
        self.epochs.note_unpublished(&self.step.id, oldest);
    }

    /// Answers requests to make everything visible, once it is.
    fn answer(&mut self) {
        let asked = self.job.flushes.asked();
        if self.request.is_none() && asked > self.answers.latest() && self.items.is_empty() {
            self.request = Some((asked, self.epoch));
        }
        let oldest = self.oldest();
        let is_empty = self.closed.is_empty() && self.open.bytes.is_empty();
        if let Some((asked, _)) = self
            .request
            .take_if(|(_, epoch)| *epoch < oldest || is_empty)
        {
            self.answers.answer(asked);
        }
    }

    fn settle(&self, outcome: Result<(), SinkError>) -> Result<(), Broken> {
        outcome.map_err(|error| {
            self.job.fail(format!("sink `{}`: {error}", self.step.id));
            Broken
        })
    }
}
