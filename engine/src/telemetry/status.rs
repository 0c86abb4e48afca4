//! How a job is at this moment, for who looks after it.

use std::time::Duration;

use super::{Telemetry, lock};

/// How a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not begun to read yet.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop, or has failed, and comes to its end.
    Stopping,
    /// It does not go on; why.
    Stuck(String),
}

/// How a job and its cluster are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// How the job is.
    pub health: Health,
    /// For how long nothing has been heard of each other process of the cluster.
    pub silences: Vec<(usize, Duration)>,
}

impl Telemetry {
    /// How the job is; one that has not begun yet is starting, one that is over is stopping.
    pub fn status(&self) -> Status {
        let ask = lock(&self.ask);
        ask.as_ref()
            .map_or_else(|| Status::of(Health::Starting), |ask| ask())
    }

    /// Has the job answer how it is, with nothing when it is over.
    pub(crate) fn answer_with(&self, answer: impl Fn() -> Option<Status> + Send + Sync + 'static) {
        let ask = move || answer().unwrap_or_else(|| Status::of(Health::Stopping));
        *lock(&self.ask) = Some(Box::new(ask));
    }
}

impl Status {
    fn of(health: Health) -> Self {
        Self {
            health,
            silences: Vec::new(),
        }
    }
}
