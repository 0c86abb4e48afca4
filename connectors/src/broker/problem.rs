//! What is wrong with a broker, a topic or a client, and what to do about it.

use thalweg_engine::sink::SinkError;
use thalweg_engine::source::SourceError;

/// Why something could not be had from a broker.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) reason: String,
    pub(crate) remedy: String,
}

impl Problem {
    pub(crate) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn of_source(self, what: impl Into<String>) -> SourceError {
        SourceError::Open {
            what: what.into(),
            reason: self.reason,
            remedy: self.remedy,
        }
    }

    pub(crate) fn of_sink(self, what: impl Into<String>) -> SinkError {
        SinkError::Open {
            what: what.into(),
            reason: self.reason,
            remedy: self.remedy,
        }
    }
}
