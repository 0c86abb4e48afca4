//! A window for aggregates that let go of events: one state, to which events are added and from
//! which they are removed.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::slot::{ColumnRows, SlotInput, Window};
use crate::aggregate::Aggregate;

/// The state of the rows from a position on.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Removing<S> {
    from: u32,
    state: S,
}

impl<A: Aggregate> Window<A> for Removing<A::State>
where
    A::Input: SlotInput,
{
    fn empty(aggregate: &A) -> Self {
        Self {
            from: 0,
            state: aggregate.empty(),
        }
    }

    fn add(&mut self, aggregate: &A, at: EventTime, input: &A::Input) {
        aggregate.add(&mut self.state, at, input);
    }

    fn answer(&self, aggregate: &A, end: EventTime) -> A::Output {
        aggregate.finish(&self.state, end)
    }

    fn states(&self, count: &mut dyn FnMut(&A::State)) {
        count(&self.state);
    }

    fn leave(&mut self, aggregate: &A, rows: &ColumnRows<'_, A::Input>, window: Range<u32>) {
        if self.from == window.start {
            return;
        }
        for (at, input) in rows.events(self.from..window.start) {
            aggregate.remove(&mut self.state, at, &input);
        }
        self.from = window.start;
        if !aggregate.is_exact(&self.state) {
            self.refill(aggregate, rows, window);
        }
    }

    fn refill(&mut self, aggregate: &A, rows: &ColumnRows<'_, A::Input>, window: Range<u32>) {
        self.from = window.start;
        self.state = rows.state(aggregate, window);
    }

    fn follow(&mut self, start: u32) {
        self.from = start;
    }
}
