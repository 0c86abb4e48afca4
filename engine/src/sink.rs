//! The contract of a sink: plain configuration that opens one writer.

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

/// The configuration of a sink of `T`.
pub trait Sink<T>: Send + Sync + 'static {
    /// What is written, in words, for graphs and messages.
    fn describe(&self) -> String;

    /// Checks, before anything starts, that the sink can be written, leaving what is there as it is.
    ///
    /// # Errors
    /// When it cannot, naming it and the remedy.
    fn check(&self) -> Result<(), SinkError>;

    /// Opens the sink's one writer.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError>;
}

/// Writes records on a thread of its own, in the order in which they come.
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
