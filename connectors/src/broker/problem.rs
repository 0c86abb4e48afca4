//! What is wrong with a broker, a topic or a client, and what to do about it.

use thalweg_engine::sink::SinkError;
use thalweg_engine::source::SourceError;

/// Why something could not be had from a broker.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) reason: String,
    pub(crate) remedy: String,
    /// Whether it may pass by itself, such as that the broker is away.
    pub(crate) may_pass: bool,
}

impl Problem {
    pub(crate) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            remedy: remedy.into(),
            may_pass: false,
        }
    }

    pub(crate) fn of_source(self, what: impl Into<String>) -> SourceError {
        let what = what.into();
        let Self { reason, remedy, .. } = self;
        match self.may_pass {
            true => SourceError::Away {
                what,
                reason,
                remedy,
            },
            false => SourceError::Open {
                what,
                reason,
                remedy,
            },
        }
    }

    pub(crate) fn of_sink(self, what: impl Into<String>) -> SinkError {
        let what = what.into();
        let Self { reason, remedy, .. } = self;
        match self.may_pass {
            true => SinkError::Away {
                what,
                reason: format!("{reason}; {remedy}"),
            },
            false => SinkError::Open {
                what,
                reason,
                remedy,
            },
        }
    }
}
