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
use crate::letters::log_letter;
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
    /// Whether no more records will come.
    pub(crate) is_over: bool,
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
        if taken_over.and_then(|()| self.publish_restored()).is_err() {
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
            if outcome.and_then(|()| self.publish_sealed()).is_err() || self.job.is_aborted() {
                return;
            }
            self.answer();
        }
        self.is_over = true;
        let (_, untaken) = self.progress.take();
        untaken.iter().for_each(|letter| log_letter(&letter.value));
        while let Some((epoch, _)) = self.closed.front() {
            if !self.epochs.wait_sealed(*epoch, &self.job) || self.publish_sealed().is_err() {
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
            Item::EndOfEpoch(save) => self.close(*save),
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

    fn close(&mut self, mut save: Save) {
        let outbox = Arc::new(std::mem::take(&mut self.open));
        if !outbox.bytes.is_empty() {
            self.closed.push_back((save.epoch, Arc::clone(&outbox)));
            save.outbox = Some(outbox);
        }
        save.published = self.writer.published();
        self.epoch = save.epoch + 1;
        self.epochs
            .note_end(save.epoch, self.job.options.clock.now_ns());
        if turns::is_planted(Defect::EarlyOutboxDeletion) {
            let epoch = self.epochs.number(save.epoch);
            self.epochs.note_published(&self.step.id, epoch);
        }
        self.note_unpublished();
        self.epochs.save(save);
    }

    /// Publishes the epochs that have been sealed.
    fn publish_sealed(&mut self) -> Result<(), Broken> {
        while let Some((epoch, _)) = self.closed.front()
            && (*epoch < self.epochs.sealed() || turns::is_planted(Defect::PublishBeforeSeal))
        {
            let Some((epoch, outbox)) = self.closed.pop_front() else {
                break;
            };
            self.publish(self.epochs.number(epoch), &outbox.bytes)?;
            let now_ns = self.job.options.clock.now_ns();
            self.epochs.note_visible(&self.job, epoch, now_ns);
            let ingested_ns = outbox.ingested_ns.iter();
            self.step
                .records(ingested_ns.map(|ns| now_ns.saturating_sub(*ns)));
            self.epochs.remove_outbox(outbox.bytes.len());
            self.note_unpublished();
        }
        Ok(())
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

    fn publish_restored(&mut self) -> Result<(), Broken> {
        let restored = self.epochs.restored.iter();
        let outboxes: Vec<_> = restored
            .flat_map(|restored| restored.take_outboxes(&self.step.id))
            .collect();
        for (epoch, bytes) in outboxes {
            self.publish(epoch, &bytes)?;
        }
        Ok(())
    }

    fn publish(&mut self, epoch: Epoch, bytes: &[u8]) -> Result<(), Broken> {
        if self.epochs.failpoint.is_hit(&self.job, "before publish") {
            return Err(Broken);
        }
        self.insist(|writer| writer.publish(epoch, bytes))?;
        self.bury_left_out();
        if self.epochs.failpoint.is_hit(&self.job, "after publish") {
            return Err(Broken);
        }
        self.epochs.note_published(&self.step.id, epoch);
        Ok(())
    }

    /// Gives dead letters of what was left out of an epoch. Where nothing comes any more for them to come
    /// with, they are logged.
    fn bury_left_out(&mut self) {
        let left_out = self.writer.left_out().into_iter();
        let letters: Vec<_> = left_out
            .map(|refused| reject_late(&self.step, &mut self.pen, refused, self.time))
            .collect();
        if self.is_over {
            letters.iter().for_each(|letter| log_letter(&letter.value));
        } else if !letters.is_empty() {
            self.progress.add_letters(letters);
            self.progress.wake();
        }
    }

    fn note_unpublished(&self) {
        let oldest = self.closed.front().map(|(epoch, _)| *epoch);
        self.epochs.note_unpublished(&self.step.id, oldest);
    }

    /// Answers requests to make everything visible, once it is.
    fn answer(&mut self) {
        let asked = self.job.flushes.asked();
        if self.request.is_none() && asked > self.answers.latest() && self.items.is_empty() {
            self.request = Some((asked, self.epoch));
        }
        let oldest = self.closed.front().map_or(self.epoch, |(epoch, _)| *epoch);
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
