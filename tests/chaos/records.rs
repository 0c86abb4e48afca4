//! What goes into the job and what comes out of it.

use serde::{Deserialize, Serialize};
use thalweg::operators::prelude::WindowResult;
use thalweg::prelude::EventTime;

/// Something that happens to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) at: EventTime,
    pub(crate) key: u32,
    pub(crate) amount: i64,
}

/// What the job makes of an event, in event-time order: its key's events and amounts up to this one,
/// in all and within [`RECENT_MICROS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) key: u32,
    pub(crate) count: u64,
    pub(crate) sum: i64,
    pub(crate) recent_count: u64,
    pub(crate) recent_sum: i64,
}

/// How far back recent events lie, at most.
pub(crate) const RECENT_MICROS: i64 = 1_000_000;

/// The events and amounts of a key in a window of [`WINDOW_MICROS`].
pub(crate) type Total = WindowResult<u32, Vec<f64>>;

pub(crate) const WINDOW_MICROS: i64 = 2_000_000;

/// The topics of the job.
pub(crate) const EVENTS: &str = "events";
pub(crate) const ROWS: &str = "rows";
pub(crate) const TOTALS: &str = "totals";
