//! What becomes different in the course of a stream.

use clap::ValueEnum;

/// What can become different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drift {
    /// Everything costs more: half as much again in the end
    Amounts,
    /// Fraudsters pay less at a time and take more time
    Tactics,
    /// Many people are abroad
    Travel,
}

/// How long a change takes, as a share of the stream.
const TAKES: f64 = 0.1;

/// How far the changes have gone.
pub(super) struct Course {
    kinds: Vec<Drift>,
    after: f64,
    level: f64,
}

impl Course {
    pub(super) fn new(kinds: &[Drift], after: f64) -> Self {
        Self {
            kinds: kinds.to_vec(),
            after,
            level: 0.0,
        }
    }

    /// Notes which share of the stream is over.
    pub(super) fn advance(&mut self, share: f64) {
        self.level = ((share - self.after) / TAKES).clamp(0.0, 1.0);
    }

    /// From 0, as at the beginning, to 1.
    pub(super) fn level(&self, kind: Drift) -> f64 {
        if self.kinds.contains(&kind) {
            self.level
        } else {
            0.0
        }
    }
}
