//! What a window gives when it fires.

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

/// When a window has fired, as seen from the watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Before the watermark had passed the window's end: more may come.
    Early,
    /// When the watermark passed the window's end, or the input ended.
    OnTime,
    /// After that, because of an event that came within the lateness.
    Late,
}

/// What a window of a key holds at one of its firings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowResult<K, V> {
    /// The key.
    pub key: K,
    /// The first instant of the window.
    pub start: EventTime,
    /// The first instant after the window.
    pub end: EventTime,
    /// Whether the window fired early, on time or late.
    pub timing: Timing,
    /// The number of the firing among those of the window, from 0.
    pub pane: u32,
    /// How many events the value is of: all of the window so far, or, when discarding, those since
    /// the last firing.
    pub events: u64,
    /// The aggregate's answer.
    pub value: V,
}

/// A firing, before it becomes a record of its key.
pub(crate) struct Fired<V> {
    /// The result's own event time.
    pub(crate) time: EventTime,
    pub(crate) origin: Origin,
    /// Whether the event that was being taken in made the window fire.
    pub(crate) by_event: bool,
    pub(crate) start: EventTime,
    pub(crate) end: EventTime,
    pub(crate) timing: Timing,
    pub(crate) pane: u32,
    pub(crate) events: u64,
    pub(crate) value: V,
}

impl<V> Fired<V> {
    pub(crate) fn of_key<K>(self, key: K) -> WindowResult<K, V> {
        WindowResult {
            key,
            start: self.start,
            end: self.end,
            timing: self.timing,
            pane: self.pane,
            events: self.events,
            value: self.value,
        }
    }
}
