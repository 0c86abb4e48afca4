//! What the joins of events with a table ask of the rows of a key.

use std::time::Duration;

use thalweg_engine::time::EventTime;
use thalweg_engine::watermark::Watermark;

use super::{Ageing, Stamp};

/// The rows of one key. How old a row may be when it is met is the rule of its [`Ageing`].
pub(crate) trait Table: Ageing<Rule = Duration> {
    /// What is put in.
    type Row;
    /// What an event meets.
    type Value;

    /// Whether an event that is yet to come can meet the row, or the row replaces another.
    fn wants(&self, stamp: Stamp, age_max: Duration, watermark: Watermark) -> bool;

    /// Puts a row in.
    fn insert(&mut self, stamp: Stamp, row: Self::Row);

    /// Whether a row would be one too many for a table of at most `most`.
    fn excess(&self, _stamp: Stamp, _most: usize) -> bool {
        false
    }

    /// Lets the oldest row go.
    fn drop_oldest(&mut self) {}

    /// What an event of this time meets.
    fn find(&self, time: EventTime, age_max: Duration) -> Option<&Self::Value>;

    /// Drops what no event after the watermark can meet.
    fn trim(&mut self, age_max: Duration, watermark: Watermark);
}
