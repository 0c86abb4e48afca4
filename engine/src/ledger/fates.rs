//! The ways in which a record can end, and how many have.

use serde::{Deserialize, Serialize};

/// One way in which a record's path through the graph can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// It reached the end of a path.
    Processed = 1,
    /// A step that says so has taken it out.
    Filtered = 2,
    /// It came too late for its watermark.
    Late = 4,
    /// It went to the dead letters.
    Dead = 8,
    /// It is still waiting in a step's state.
    Held = 16,
}

/// The mark of a record that a source has read.
pub(super) const READ: u8 = 128;

/// How many records have ended in which way; the five sum to `records_in`, or records were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Records that the sources have read.
    pub records_in: u64,
    /// Records that went through every step they should.
    pub processed: u64,
    /// Records that came too late.
    pub late: u64,
    /// Records in the dead letters.
    pub dead_letters: u64,
    /// Records that a filtering step took out everywhere.
    pub filtered: u64,
    /// Records still waiting in a step's state.
    pub held: u64,
}

impl Fates {
    /// Whether every record read has ended in exactly one way.
    pub fn balance(&self) -> bool {
        self.records_in
            == self.processed + self.late + self.dead_letters + self.filtered + self.held
    }

    /// These and those of other records.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            records_in: self.records_in + other.records_in,
            processed: self.processed + other.processed,
            late: self.late + other.late,
            dead_letters: self.dead_letters + other.dead_letters,
            filtered: self.filtered + other.filtered,
            held: self.held + other.held,
        }
    }

    /// Counts records that bear these marks.
    pub(super) fn count(&mut self, marks: u8, records: u64) {
        if marks & READ != 0 {
            self.records_in += records;
        }
        let has = |fate: Fate| marks & fate as u8 != 0;
        let counter = if has(Fate::Dead) {
            &mut self.dead_letters
        } else if has(Fate::Late) {
            &mut self.late
        } else if has(Fate::Held) {
            &mut self.held
        } else if has(Fate::Processed) {
            &mut self.processed
        } else if has(Fate::Filtered) {
            &mut self.filtered
        } else {
            return;
        };
        *counter += records;
    }
}

/// Whether nothing is left to do for a record that bears these marks, or there is none.
pub(super) fn is_done(marks: u8) -> bool {
    marks & READ == 0 || (marks & !READ != 0 && marks & Fate::Held as u8 == 0)
}
