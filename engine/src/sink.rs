//! The contract of a sink: plain configuration that opens its writers.

use std::collections::BTreeMap;

use crate::checkpoint::Epoch;
use crate::record::{Origin, Record};

/// Why a sink cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It cannot be opened for writing.
    #[error("cannot write to {what}: {reason}; {remedy}")]
    Open {
        /// What should have been opened.
        what: String,
        /// Why it could not.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// Somebody else is writing it, who may be about to end.
    #[error("cannot write to {what}: {reason}; {remedy}")]
    Busy {
        /// What should have been opened.
        what: String,
        /// Who writes it.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// It is away for now. A job that is to start waits for it, and while an epoch is published, the call
    /// is made again until it is back; otherwise this ends the run.
    #[error("cannot reach {what} now: {reason}")]
    Away {
        /// What was being written.
        what: String,
        /// What happened.
        reason: String,
    },
    /// It broke while it was being written.
    #[error("cannot write on to {what}: {reason}")]
    Write {
        /// What was being written.
        what: String,
        /// What happened.
        reason: String,
    },
}

/// Where the writers of a sink are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One for all workers, on a thread of its own: its records are in the job's order.
    One,
    /// One on each worker, which it must not keep waiting: no record changes its thread for it.
    EachWorker,
}

/// When records are seen outside, in a job with checkpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// As soon as they are written; those that were written after the last checkpoint are written again
    /// after a restart.
    #[default]
    Immediate,
    /// When their epoch has been sealed, and never again.
    ExactlyOnce,
}

/// What a job says of the delivery of its sinks; each delivers as it is configured unless it is said
/// here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Deliveries {
    /// For all sinks but those below.
    pub all: Option<Delivery>,
    /// By the sink's step id.
    pub by_sink: BTreeMap<String, Delivery>,
}

impl Deliveries {
    /// What is said of a sink.
    pub fn of(&self, sink: &str) -> Option<Delivery> {
        self.by_sink.get(sink).copied().or(self.all)
    }
}

/// The configuration of a sink of `T`.
pub trait Sink<T>: Send + Sync + 'static {
    /// What is written, in words, for graphs and messages.
    fn describe(&self) -> String;

    /// Checks, before anything starts, that the sink can be written, leaving what is there as it is.
    ///
    /// # Errors
    /// When it cannot, naming it and the remedy.
    fn check(&self) -> Result<(), SinkError>;

    /// Where its writers are; one for all unless a sink says otherwise.
    fn writers(&self) -> Writers {
        Writers::One
    }

    /// Opens a writer.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError>;

    /// How records are delivered in a job with checkpoints; immediately unless a sink says otherwise.
    fn delivery(&self) -> Delivery {
        Delivery::Immediate
    }

    /// Checks, before anything starts, that the sink can deliver exactly once, leaving what is there as
    /// it is. Unless a sink says otherwise, it can if it does so by itself.
    ///
    /// # Errors
    /// When it cannot, naming it and the remedy.
    fn check_epochs(&self) -> Result<(), SinkError> {
        match self.delivery() {
            Delivery::ExactlyOnce => Ok(()),
            Delivery::Immediate => Err(no_epochs(self.describe())),
        }
    }

    /// How far has been published outside, in epochs, by slots whose names begin with `slots`, all of
    /// one pipeline and sink; none where nothing has, or where it cannot be told. Leaves everything as
    /// it is.
    ///
    /// # Errors
    /// When what there is cannot be read.
    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        let _ = slots;
        Ok(None)
    }

    /// Opens the one writer that publishes epochs, for a sink that delivers exactly once. The slot
    /// is the name under which the writer notes outside how far it has published.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        let _ = slot;
        Err(no_epochs(self.describe()))
    }
}

fn no_epochs(what: String) -> SinkError {
    SinkError::Open {
        what,
        reason: "it cannot deliver exactly once".to_owned(),
        remedy: "choose immediate delivery".to_owned(),
    }
}

/// Writes records in the order in which they come.
pub trait Writer<T>: Send {
    /// Takes in records. One that cannot be written, such as one that has no form in the sink's
    /// format, is added to `refused` and passed over: it becomes a dead letter of the sink's step,
    /// and the run goes on.
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError>;

    /// Makes everything written so far visible to readers.
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// Looks what has become of the records that earlier calls have taken in: those of which it turns out
    /// only now that they are not written, such as when a broker refuses them, are added to `refused`, and
    /// become dead letters. Tells whether the fate of all is known, as it is at once unless a writer says
    /// otherwise; after a flush it must be.
    ///
    /// Called after every write and every flush.
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn look_back(&mut self, refused: &mut Vec<RefusedLate>) -> Result<bool, SinkError> {
        let _ = refused;
        Ok(true)
    }

    /// Whether what was written is visible to readers once it has been flushed, as it is unless a writer
    /// says otherwise, or only once it has been completed. In the latter case no source is told before
    /// that anything is done.
    fn shows_when_flushed(&self) -> bool {
        true
    }

    /// Completes what was written, such as a file that is whole only with its last bytes. It comes
    /// last, however the run ends, unless the writer has failed before; just a flush unless a
    /// writer has more to do.
    ///
    /// # Errors
    /// When it cannot be completed: the run then has failed.
    fn close(&mut self) -> Result<(), SinkError> {
        self.flush()
    }
}

/// Writes whole epochs, each exactly once.
pub trait EpochWriter<T>: Send {
    /// Takes in how far had been [published](Self::published) when the checkpoint was taken that the job
    /// goes on from, if the writer has said so then. It comes before everything else. A writer that finds
    /// less than this outside must end the run: what it goes by there is lost, and it would publish again.
    ///
    /// # Errors
    /// When it cannot be read: this ends the run.
    fn resume(&mut self, published: &str) -> Result<(), SinkError> {
        let _ = published;
        Ok(())
    }

    /// How far has been published, as far as the writer knows, in words of its own. They are kept with
    /// each checkpoint. None unless a writer has something to say.
    ///
    /// A checkpoint knows only of what had been published when its epoch ended. So a writer that goes by
    /// notes leaves one when it takes over for the first time, before it publishes anything: then there is
    /// no checkpoint without words of one, and that all notes are lost shows from the first on.
    fn published(&self) -> Option<String> {
        None
    }

    /// Keeps whoever has published under this slot before from doing so any more. It comes first, on
    /// the thread that publishes.
    ///
    /// # Errors
    /// [`SinkError::Away`] to be called again; any other one ends the run.
    fn take_over(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Adds records to the outbox of the open epoch, in whatever form
    /// [`publish`](Self::publish) takes them; nothing of it may be seen outside. One that cannot be
    /// written is added to `refused`, as in [`Writer::write`].
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn stage(
        &mut self,
        records: &[Record<T>],
        outbox: &mut Vec<u8>,
        refused: &mut Refused,
    ) -> Result<(), SinkError>;

    /// Makes a whole outbox visible and durable, with a note that it is. Epochs come in order. One
    /// that has been published already, in full or in part, perhaps by an earlier run, comes again
    /// with the same outbox: what is there must not be written twice.
    ///
    /// # Errors
    /// [`SinkError::Away`] to be called again with the same outbox; any other one ends the run.
    fn publish(&mut self, epoch: Epoch, outbox: &[u8]) -> Result<(), SinkError>;

    /// Whether records may be left out of an epoch as it is published, since the other side refuses them.
    /// Not unless a writer says otherwise.
    fn leaves_out(&self) -> bool {
        false
    }

    /// The records that were left out of the epoch that [`publish`](Self::publish) was last called with: they
    /// become dead letters. Where the last epoch that has been published, perhaps by an earlier run, comes
    /// again, they must be given again, so what they are has to be noted outside, together with the epoch. An
    /// earlier one has nothing to tell any more: no epoch is published before the letters of the one before
    /// it are in a checkpoint.
    ///
    /// Asked for after each [`publish`](Self::publish), if anything [may be left out](Self::leaves_out).
    fn left_out(&mut self) -> Vec<RefusedLate> {
        Vec::new()
    }
}

/// A record that a writer had taken in before it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLate {
    /// Which record it is.
    pub origin: Origin,
    /// Why it is not written.
    pub reason: String,
    /// Its bytes, as they were to be written.
    pub raw: Vec<u8>,
}

/// The records of one call that a writer does not write, by their place among those of the call,
/// with the reasons.
#[derive(Debug, Default)]
pub struct Refused {
    records: Vec<(usize, String)>,
    /// The place, in the whole, of the part that is being written.
    first: usize,
}

impl Refused {
    /// Adds the record at this place.
    pub fn add(&mut self, index: usize, reason: impl Into<String>) {
        self.records.push((self.first + index, reason.into()));
    }

    /// Has `write` write the part that begins at place `first`, by places of its own.
    pub fn of_part<R>(&mut self, first: usize, write: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.first;
        self.first += first;
        let outcome = write(self);
        self.first = before;
        outcome
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes them out: places, in the order in which they were added, and reasons.
    pub fn take(&mut self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_part_are_places_in_the_whole() {
        let mut refused = Refused::default();
        refused.add(1, "one");
        refused.of_part(4, |refused| {
            refused.add(0, "four");
            refused.of_part(2, |refused| refused.add(1, "seven"));
            refused.add(1, "five");
        });
        refused.add(9, "nine");
        let places: Vec<_> = refused.take().into_iter().map(|(at, _)| at).collect();
        assert_eq!(places, [1, 4, 7, 5, 9]);
        assert!(refused.is_empty());
    }
}
