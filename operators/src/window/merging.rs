//! A window for aggregates that only add and merge: two stacks, of which the older one has a state
//! for every so many rows only.
//!
//! The window's rows are split in two at some position. Of the newer rows there is one state, to
//! which events are added. Of the older ones there are states from the start of each chunk up to
//! the split, so that when rows leave, the state of those that are left is that of a part of one
//! chunk, made anew from the log, merged with that of the chunks after it. When none of the older
//! rows are left, the newer ones take their place. So an event costs a fixed number of additions
//! and merges, over time, and a window of `n` rows holds about `n / 32` states. Source of the
//! two stacks: Tangwongsan, Hirzel, Schneider, "Low-latency sliding-window aggregation in
//! worst-case constant time" (2017).

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::slot::{ColumnRows, SlotInput, Window};
use crate::aggregate::Aggregate;

/// Rows of a chunk; few in tests, so that the property tests see many chunks.
const CHUNK_ROWS: u32 = if cfg!(test) { 4 } else { 32 };

/// The states of the parts of the rows from a position on.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Merging<S> {
    from: u32,
    split: u32,
    /// Of the rows up to the split.
    older: S,
    /// Of the rows from a position up to the split; the latest position first.
    chunks: Vec<(u32, S)>,
    /// Of the rows after the split.
    newer: S,
}

impl<S> Merging<S> {
    /// How far a position is behind the window's first row.
    fn offset(&self, position: u32) -> u32 {
        position.wrapping_sub(self.from)
    }
}

impl<A: Aggregate> Window<A> for Merging<A::State>
where
    A::Input: SlotInput,
{
    fn empty(aggregate: &A) -> Self {
        Self {
            from: 0,
            split: 0,
            older: aggregate.empty(),
            chunks: Vec::new(),
            newer: aggregate.empty(),
        }
    }

    fn add(&mut self, aggregate: &A, at: EventTime, input: &A::Input) {
        aggregate.add(&mut self.newer, at, input);
    }

    fn answer(&self, aggregate: &A, end: EventTime) -> A::Output {
        let mut state = self.older.clone();
        aggregate.merge(&mut state, &self.newer);
        aggregate.finish(&state, end)
    }

    fn states(&self, count: &mut dyn FnMut(&A::State)) {
        count(&self.older);
        count(&self.newer);
        self.chunks.iter().for_each(|(_, state)| count(state));
    }

    fn leave(&mut self, aggregate: &A, rows: &ColumnRows<'_, A::Input>, window: Range<u32>) {
        let gone = self.offset(window.start);
        if gone == 0 {
            return;
        }
        if gone >= self.offset(self.split) {
            self.refill(aggregate, rows, window);
            return;
        }
        while self
            .chunks
            .last()
            .is_some_and(|(start, _)| self.offset(*start) < gone)
        {
            self.chunks.pop();
        }
        self.from = window.start;
        let next = self.chunks.last();
        let end = next.map_or(self.split, |(start, _)| *start);
        self.older = rows.state(aggregate, self.from..end);
        if let Some((_, later)) = next {
            aggregate.merge(&mut self.older, later);
        }
        aggregate.compact(&mut self.older);
    }

    /// Makes all rows older ones.
    fn refill(&mut self, aggregate: &A, rows: &ColumnRows<'_, A::Input>, window: Range<u32>) {
        (self.from, self.split) = (window.start, window.end);
        self.newer = aggregate.empty();
        self.chunks.clear();
        self.older = aggregate.empty();
        let count = self.offset(window.end);
        let mut end = window.end;
        for chunk in (0..count.div_ceil(CHUNK_ROWS)).rev() {
            let start = self.from.wrapping_add(chunk * CHUNK_ROWS);
            let mut state = rows.state(aggregate, start..end);
            aggregate.merge(&mut state, &self.older);
            aggregate.compact(&mut state);
            let later = std::mem::replace(&mut self.older, state);
            if end != window.end {
                self.chunks.push((end, later));
            }
            end = start;
        }
    }

    fn follow(&mut self, start: u32) {
        let moved = self.offset(start);
        self.from = start;
        self.split = self.split.wrapping_add(moved);
        for (position, _) in &mut self.chunks {
            *position = position.wrapping_add(moved);
        }
    }
}
