//! What goes out: predictions, and the feature rows that a model is trained on.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;

use crate::events::{Code, Event, What};

/// The answer to one question.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Prediction {
    pub(crate) flight: u32,
    pub(crate) departs: EventTime,
    pub(crate) carrier: Code,
    pub(crate) origin: Code,
    pub(crate) dest: Code,
    /// The probability that it arrives more than 15 minutes late.
    pub(crate) probability: f32,
    /// The share of all flights landed so far that were late: the answer without a model.
    pub(crate) baseline: f64,
}

impl Prediction {
    pub(crate) fn new(row: &Scored<Event>, baseline: usize) -> Self {
        let Event {
            flight,
            carrier,
            origin,
            dest,
            ..
        } = row.event;
        let departs = match row.event.what {
            What::Scheduled { departs, .. } => departs,
            What::Landed { .. } => EventTime::MIN,
        };
        let share = row.features[baseline];
        let baseline = if share.is_nan() { 0.5 } else { share };
        Self {
            flight,
            departs,
            carrier,
            origin,
            dest,
            probability: row.score,
            baseline,
        }
    }
}

/// A file of feature rows: `flight,event_time,<features>`.
pub(crate) fn feature_file(path: PathBuf, names: &Arc<Vec<String>>) -> impl Sink<Featured<Event>> {
    let fixed = ["flight", "event_time"].map(str::to_owned);
    let header = fixed.into_iter().chain(names.iter().cloned()).collect();
    FileSink::rows(path, header, |record: &Record<Featured<Event>>, row| {
        row.integer(i64::from(record.value.event.flight));
        row.integer(record.time.as_micros());
        for value in &record.value.features {
            row.number(*value);
        }
    })
}
