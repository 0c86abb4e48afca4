//! The contract of a sink: plain configuration that opens its writers.

use crate::record::Record;

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
}

/// Writes records in the order in which they come.
pub trait Writer<T>: Send {
    /// Takes in records.
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError>;

    /// Makes everything written so far visible to readers.
    ///
    /// # Errors
    /// When the sink is broken: this ends the run.
    fn flush(&mut self) -> Result<(), SinkError>;
}
