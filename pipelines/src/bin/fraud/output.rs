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
    /// The share of frauds in all that is known so far: the answer without a model.
    pub(crate) baseline: f64,
}

/// The share of frauds that is believed in before anything is known.
const SHARE_AT_FIRST: f64 = 0.01;

impl Prediction {
    pub(crate) fn new(row: &Scored<Event>, baseline: usize) -> Self {
        let Event {
            payment,
            at,
            card,
            merchant,
            ..
        } = row.event;
        let share = row.features[baseline];
        let known = if share.is_nan() {
            SHARE_AT_FIRST
        } else {
            share
        };
        Self {
            payment,
            at,
            card,
            merchant,
            probability: row.score,
            // The first labels are of one kind: nobody is sure because of them.
            baseline: known.clamp(0.001, 0.999),
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
