//! What goes out: predictions, and the feature rows that a model is trained on.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;

use crate::event::Event;

/// The answer to one payment.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Prediction {
    pub(crate) payment: u64,
    pub(crate) at: EventTime,
    pub(crate) card: u64,
    pub(crate) merchant: u32,
    /// The probability that it is fraud.
    pub(crate) probability: f32,
    /// The share of payments that were reported as frauds so far: the answer without a model.
    pub(crate) baseline: f64,
}

/// What the baseline says at least: nobody is sure that there is no fraud.
const BASELINE_MIN: f64 = 0.001;

impl Prediction {
    pub(crate) fn new(row: &Scored<Event>, baseline: usize) -> Self {
        let Event {
            payment,
            at,
            card,
            merchant,
            ..
        } = row.event;
        Self {
            payment,
            at,
            card,
            merchant,
            probability: row.score,
            baseline: row.features[baseline].max(BASELINE_MIN),
        }
    }
}

/// A file of feature rows: `payment,event_time,<features>`.
pub(crate) fn feature_file(path: PathBuf, names: &Arc<Vec<String>>) -> impl Sink<Featured<Event>> {
    let fixed = ["payment", "event_time"].map(str::to_owned);
    let header = fixed.into_iter().chain(names.iter().cloned()).collect();
    FileSink::rows(path, header, |record: &Record<Featured<Event>>, row| {
        row.text(&record.value.event.payment.to_string());
        row.integer(record.time.as_micros());
        for value in &record.value.features {
            row.number(*value);
        }
    })
}
