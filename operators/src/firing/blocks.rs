//! Windows of many slices, merged with a constant number of merges a window.
//!
//! Slices are cut into blocks of as many as a window has. A window then is the tail of a block and
//! the head of the next one. Tails are computed once a block, the head grows slice by slice (van
//! Herk 1992, Gil and Werman 1993). Unlike two stacks, what is merged with what depends only on the
//! slices' numbers, so that floating-point results are the same after a restart, where this is
//! computed anew: it is no part of the state.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::slice::{Slice, Summary};
use crate::aggregate::Aggregate;

/// Tails of one block, and a head of the next.
pub(super) struct Blocks<S> {
    block: Option<i64>,
    /// From each slice of the block that has events to the block's end, the last first.
    tails: Vec<(i64, Part<S>)>,
    head: Option<Part<S>>,
    /// The slice up to which the head goes.
    head_end: i64,
}

struct Part<S> {
    state: S,
    summary: Summary,
}

impl<S> Default for Blocks<S> {
    fn default() -> Self {
        Self {
            block: None,
            tails: Vec::new(),
            head: None,
            head_end: 0,
        }
    }
}

impl<S: Clone> Part<S> {
    fn of<A: Aggregate<State = S>>(slice: &Slice<S>, aggregate: &A) -> Self {
        Self {
            state: slice.state(aggregate),
            summary: slice.summary,
        }
    }

    fn merge<A: Aggregate<State = S>>(&mut self, aggregate: &A, later: &S, summary: &Summary) {
        aggregate.merge(&mut self.state, later);
        aggregate.compact(&mut self.state);
        self.summary.merge(summary);
    }
}

impl<S: Clone> Blocks<S> {
    /// Makes ready for the window of `per_window` slices from `first` on, all of them complete.
    pub(super) fn prepare<A: Aggregate<State = S>>(
        &mut self,
        aggregate: &A,
        slices: &VecDeque<Slice<S>>,
        first: i64,
        per_window: i64,
    ) {
        let block = first.div_euclid(per_window);
        let boundary = (block + 1) * per_window;
        let range = |from: i64, to: i64| {
            let from = slices.partition_point(|slice| slice.index < from);
            slices.range(from..slices.partition_point(|slice| slice.index < to))
        };
        if self.block != Some(block) {
            self.block = Some(block);
            self.tails.clear();
            for slice in range(block * per_window, boundary).rev() {
                let mut part = Part::of(slice, aggregate);
                if let Some((_, later)) = self.tails.last() {
                    part.merge(aggregate, &later.state, &later.summary);
                }
                self.tails.push((slice.index, part));
            }
            self.forget_head(boundary);
        }
        let end = first + per_window;
        if self.head_end > end {
            self.forget_head(boundary);
        }
        for slice in range(self.head_end, end) {
            match &mut self.head {
                Some(head) => {
                    let state = slice
                        .whole()
                        .map_or_else(|| Cow::Owned(slice.state(aggregate)), Cow::Borrowed);
                    head.merge(aggregate, &state, &slice.summary);
                }
                None => self.head = Some(Part::of(slice, aggregate)),
            }
        }
        self.head_end = end;
    }

    fn forget_head(&mut self, boundary: i64) {
        self.head = None;
        self.head_end = boundary;
    }

    /// The window from slice `first` on that was made ready; `None` when it has no events.
    pub(super) fn window<A: Aggregate<State = S>>(
        &self,
        aggregate: &A,
        first: i64,
    ) -> Option<(Cow<'_, S>, Summary)> {
        let tails = self.tails.partition_point(|(slice, _)| *slice >= first);
        let tail = tails.checked_sub(1).map(|last| &self.tails[last].1);
        match (tail, &self.head) {
            (Some(tail), Some(head)) => {
                let mut state = tail.state.clone();
                aggregate.merge(&mut state, &head.state);
                let mut summary = tail.summary;
                summary.merge(&head.summary);
                Some((Cow::Owned(state), summary))
            }
            (Some(part), None) | (None, Some(part)) => {
                Some((Cow::Borrowed(&part.state), part.summary))
            }
            (None, None) => None,
        }
    }

    /// Notes that an event has come to a slice.
    pub(super) fn touch(&mut self, slice: i64, per_window: i64) {
        let Some(block) = self.block else { return };
        let boundary = (block + 1) * per_window;
        if slice >= boundary {
            if slice < self.head_end {
                self.forget_head(boundary);
            }
        } else if slice >= block * per_window {
            self.block = None;
        }
    }
}
