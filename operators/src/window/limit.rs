//! A limit on the rows of a key's log: letting the oldest of a full one go, or saying that it is full.
//!
//! A log that is full holds its newest rows, by event time, then arrival. Rows that no window and no
//! allowed late event can reach any more leave first and are not counted.

use serde::{Deserialize, Serialize};

use super::program::{Inputs, Program};
use super::state::KeyFeatures;

/// Where the rows go that are too many.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Excess {
    /// Nowhere.
    Dropped,
    /// Into tiles of so many microseconds.
    Tiled(i64),
}

/// What is known of the rows that a limit has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Truncated {
    /// How many there were.
    pub(crate) events: u64,
    /// The latest of their times.
    pub(crate) until: i64,
}

impl Program {
    /// Lets the oldest rows go so that a log of at most `most` has room for the event, unless the
    /// event will be older than all rows: then it is the one to go, by [`Program::settle`].
    pub(crate) fn make_room(
        &self,
        state: &mut KeyFeatures,
        (inputs, at): (&Inputs, i64),
        (most, excess): (u32, Excess),
    ) {
        if state.rows() < most || !self.contributes(inputs) {
            return;
        }
        self.get_ready(state);
        if let Some(more) = &self.more {
            more.wake(state);
        }
        if at >= state.newest() {
            self.expire(state, at);
        } else {
            let oldest = state.geometry().time(state.log(), state.head());
            let passes = self.horizon(state.newest()).is_some_and(|past| at <= past);
            if at < oldest || passes {
                return;
            }
        }
        self.settle(state, (most - 1, excess));
    }

    /// Lets the oldest rows go from a log with more than `most`.
    pub(crate) fn settle(&self, state: &mut KeyFeatures, (most, excess): (u32, Excess)) {
        while state.rows() > most {
            match excess {
                Excess::Dropped => self.drop_oldest(state),
                Excess::Tiled(width) => self.tile_oldest(state, width),
            }
        }
    }

    /// Whether the event would be one row too many for a log of at most `most`.
    pub(crate) fn is_full(&self, state: &KeyFeatures, inputs: &Inputs, at: i64, most: u32) -> bool {
        if state.rows() < most || !self.contributes(inputs) {
            return false;
        }
        let Some(past) = self.horizon(state.newest().max(at)) else {
            return true;
        };
        let live = state
            .geometry()
            .after(state.log(), state.head(), state.tail, past);
        at > past && state.tail.wrapping_sub(live) >= most
    }

    /// Whether a window of this length that ends at `at` lacks a row that was dropped: whether one
    /// later than its start was.
    pub(crate) fn is_cut(state: &KeyFeatures, at: i64, length: i64) -> bool {
        let Some(truncated) = state.extra.as_ref().and_then(|extra| extra.truncated) else {
            return false;
        };
        at.checked_sub(length)
            .is_none_or(|edge| truncated.until > edge)
    }

    /// Lets the rows and tiles go that have grown too old once there is an event at `at`.
    pub(super) fn expire(&self, state: &mut KeyFeatures, at: i64) {
        state.set_newest(at);
        let geometry = state.geometry();
        self.advance(state, &geometry, at);
        if let Some(more) = &self.more {
            self.leave_slots(more, state, &geometry);
        }
        self.trim(state, &geometry);
        if let Some(tiles) = state.extra.as_mut().and_then(|extra| extra.tiles.as_mut()) {
            tiles.advance(self, at);
        }
    }

    /// Lets the oldest row go for good.
    fn drop_oldest(&self, state: &mut KeyFeatures) {
        let at = self.let_oldest_go(state);
        let none = Truncated {
            events: 0,
            until: i64::MIN,
        };
        let truncated = state.extra().truncated.get_or_insert(none);
        truncated.events += 1;
        truncated.until = truncated.until.max(at);
    }

    /// Lets the oldest row go from the log and from every window that it is in; its time.
    pub(super) fn let_oldest_go(&self, state: &mut KeyFeatures) -> i64 {
        let (geometry, oldest, tail) = (state.geometry(), state.head(), state.tail);
        let next = oldest.wrapping_add(1);
        let at = geometry.time(state.log(), oldest);
        let (fixed, log) = state.split();
        for span in &self.spans {
            if fixed[span.cursor] != oldest {
                continue;
            }
            fixed[span.cursor] = next;
            self.leave(span, fixed, (&geometry, log), (oldest..next, tail));
        }
        if let Some(more) = &self.more {
            self.leave_slots(more, state, &geometry);
        }
        self.unindex(state, &geometry, next);
        state.set_head(next);
        at
    }
}
