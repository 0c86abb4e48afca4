//! The plan: a watch that has been checked and has its reference, shared by all its parts.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_engine::time::EventTime;

use super::column::Column;
use super::lifecycle::Rule;
use super::partial::WindowPartial;
use super::statistics::Statistic;

/// What [`Monitor`](super::Monitor), [`Merger`](super::Merger) and
/// [`Alerting`](super::Alerting) of one drift step are given with every call; made by
/// [`Watch::plan`](super::Watch::plan).
#[derive(Clone, Debug)]
pub struct WatchPlan {
    pub(super) step: String,
    pub(super) columns: Vec<Column>,
    /// Where each column stands among the subjects that the watch was given.
    pub(super) places: Vec<usize>,
    pub(super) size: Duration,
    pub(super) offset: Duration,
    /// For each column, in the same order.
    pub(super) rules: Vec<BTreeMap<Statistic, Rule>>,
    pub(super) with_shares: bool,
    pub(super) model_version: Option<String>,
}

/// State that belongs to another plan than the one it is to be restored into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "drift step `{step}`: its saved state is of another reference, other columns or other windows; \
     restore with the configuration it was saved under, or drop the step's state"
)]
pub struct StateMismatch {
    /// The step id.
    pub step: String,
}

impl WatchPlan {
    /// The step id.
    pub fn step(&self) -> &str {
        &self.step
    }

    /// The watched columns of the reference, in the order rows are given in.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The names of the watched columns, in the order rows are given in.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(Column::name)
    }

    /// Where each watched column stands among the subjects that [`Watch::plan`](super::Watch::plan)
    /// was given: a watch may leave some of them out.
    pub fn places(&self) -> &[usize] {
        &self.places
    }

    /// The start of the window that holds `at`, inclusive.
    pub fn window_start(&self, at: EventTime) -> EventTime {
        at.window_start(self.size, self.offset)
    }

    /// The end of the window that starts at `start`, exclusive.
    pub fn window_end(&self, start: EventTime) -> EventTime {
        start.saturating_add(self.size)
    }

    /// An empty partial of the window that starts at `start`.
    pub(super) fn empty_window(&self, start: EventTime) -> WindowPartial {
        WindowPartial::new(start, &self.columns)
    }

    /// A number that changes with the windows, and with the names, bins and ranges of the columns:
    /// counts made under one plan fit another only where it is the same. FNV-1a, so that it is
    /// stable across versions and machines.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        eat(&self.size.as_micros().to_le_bytes());
        eat(&self.offset.as_micros().to_le_bytes());
        for column in &self.columns {
            eat(&(column.name().len() as u64).to_le_bytes());
            eat(column.name().as_bytes());
            eat(&(column.edges().len() as u64).to_le_bytes());
            let (min, max) = column.range().unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
            for number in column.edges().iter().chain([&min, &max]) {
                eat(&number.to_bits().to_le_bytes());
            }
        }
        hash
    }

    /// Checks that state was saved under a plan with the same windows and bins.
    pub(super) fn check_fingerprint(&self, saved: u64) -> Result<(), StateMismatch> {
        if saved == self.fingerprint() {
            Ok(())
        } else {
            Err(StateMismatch {
                step: self.step.clone(),
            })
        }
    }
}
