//! The firing of one window: what it holds, and what the result is stamped with.

use std::borrow::Cow;

use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

use super::result::{Fired, Timing};
use super::rules::{Axis, Frame};
use super::slice::{Slice, Summary};
use super::state::{KeyWindows, NEVER};
use super::windows::Windows;
use crate::aggregate::Aggregate;

/// What makes a window fire.
pub(super) enum Cause<'a> {
    /// The watermark, or the number of events.
    Complete,
    /// The end of input, which makes an incomplete count of events a window.
    Ended,
    /// A period of early firings: everything before this position is given.
    Period(i64),
    /// The job's clock.
    Clock,
    /// An event that came early or late.
    Event(&'a mut Trigger),
}

/// An event that makes windows fire while it is being taken in.
pub(super) struct Trigger {
    pub(super) at: i64,
    pub(super) origin: Origin,
    /// The slice that the event went to.
    pub(super) slice: i64,
    /// The number of the next result with the event's origin, unless it is its slice's latest.
    pub(super) number: u32,
}

impl<A: Aggregate> Windows<A> {
    /// Gives what a window has, unless that is nothing.
    pub(super) fn fire(
        &self,
        state: &mut KeyWindows<A::State>,
        window: i64,
        timing: Timing,
        mut cause: Cause<'_>,
        fired: &mut Vec<Fired<A::Output>>,
    ) {
        self.prepare(state, window);
        let Some((content, summary)) = self.content(state, window) else {
            return;
        };
        let (start, end) = self.bounds(window, &summary);
        let (time, asked) = match &cause {
            Cause::Complete if end == i64::MAX => (end - 1, summary.last + 1),
            Cause::Ended => (i64::MAX - 1, end),
            Cause::Period(at) => (at - 1, *at),
            Cause::Clock => {
                // Inside the window, and not late for the steps that come after.
                let at = summary.last.max(state.kept.settled).min(end - 1);
                (at, at + 1)
            }
            Cause::Event(trigger) if timing == Timing::Early => (trigger.at, trigger.at + 1),
            Cause::Complete | Cause::Event(_) => (end - 1, end),
        };
        let value = self
            .aggregate
            .finish(&content, EventTime::from_micros(asked));
        let origin = self.sign(state, window, &mut cause);
        let mut pane = 0;
        if self.rules.fires_again() {
            let mark = state.kept.mark(window);
            pane = mark.panes;
            mark.panes = pane.saturating_add(1);
            mark.fresh = 0;
            mark.early_at = NEVER;
        }
        if self.rules.discarding
            && let Some(place) = self.place_of(state, window)
        {
            state.kept.slices[place].discard();
        }
        fired.push(Fired {
            time: EventTime::from_micros(time),
            origin,
            by_event: matches!(cause, Cause::Event(_)) || self.rules.is_count(),
            start: EventTime::from_micros(start),
            end: EventTime::from_micros(end),
            timing,
            pane,
            events: summary.events,
            value,
        });
    }

    /// Whether a window is one slice of its own, and not several that it shares.
    fn is_one_slice(&self) -> bool {
        match &self.rules.frame {
            Frame::Aligned { layout, .. } => self.rules.discarding || layout.per_window() == 1,
            Frame::Session { .. } => true,
        }
    }

    /// The place of a window's only slice.
    fn place_of(&self, state: &KeyWindows<A::State>, window: i64) -> Option<usize> {
        let slices = &state.kept.slices;
        slices
            .binary_search_by_key(&window, |slice| slice.index)
            .ok()
    }

    /// Merges the slices of a window that is complete, so that [`Self::content`] finds it.
    fn prepare(&self, state: &mut KeyWindows<A::State>, window: i64) {
        if let Frame::Aligned { layout, .. } = &self.rules.frame
            && !self.is_one_slice()
            && layout.end(window) <= state.kept.settled
        {
            let (first, per_window) = (layout.slices_of(window).start, layout.per_window());
            let blocks = state.blocks.get_or_insert_default();
            blocks.prepare(&self.aggregate, &state.kept.slices, first, per_window);
        }
    }

    /// What is kept of the events of a window; `None` when there are none, or none that is new.
    fn content<'a>(
        &self,
        state: &'a KeyWindows<A::State>,
        window: i64,
    ) -> Option<(Cow<'a, A::State>, Summary)> {
        let slices = &state.kept.slices;
        if self.is_one_slice() {
            let slice = &slices[self.place_of(state, window)?];
            return (slice.summary.events > 0).then(|| (self.state_of(slice), slice.summary));
        }
        let Frame::Aligned { layout, .. } = &self.rules.frame else {
            return None;
        };
        let range = layout.slices_of(window);
        if layout.end(window) <= state.kept.settled {
            return state.blocks.as_ref()?.window(&self.aggregate, range.start);
        }
        let begin = slices.partition_point(|slice| slice.index < range.start);
        let mut rest = slices
            .range(begin..)
            .take_while(|slice| slice.index < range.end);
        let first = rest.next()?;
        let (mut content, mut summary) = (self.state_of(first), first.summary);
        for slice in rest {
            self.aggregate
                .merge(content.to_mut(), &self.state_of(slice));
            summary.merge(&slice.summary);
        }
        Some((content, summary))
    }

    fn state_of<'a>(&self, slice: &'a Slice<A::State>) -> Cow<'a, A::State> {
        let owned = || Cow::Owned(slice.state(&self.aggregate));
        slice.whole().map_or_else(owned, Cow::Borrowed)
    }

    fn bounds(&self, window: i64, summary: &Summary) -> (i64, i64) {
        match &self.rules.frame {
            Frame::Aligned {
                layout,
                axis: Axis::Time,
            } => (layout.start(window), layout.end(window)),
            Frame::Aligned {
                axis: Axis::Count { .. },
                ..
            } => (summary.first, summary.last + 1),
            Frame::Session { gap } => (summary.first, summary.last + gap),
        }
    }

    /// The origin of a result: that of the event that made the window fire, or else of the latest
    /// event in it, with a number that no other result with that origin has.
    fn sign(&self, state: &mut KeyWindows<A::State>, window: i64, cause: &mut Cause<'_>) -> Origin {
        let stride = match self.rules.discarding {
            true => u32::try_from(self.rules.overlap()).unwrap_or(u32::MAX),
            false => 1,
        };
        let slices = &mut state.kept.slices;
        let end = match &self.rules.frame {
            Frame::Aligned { layout, .. } if !self.is_one_slice() => layout.slices_of(window).end,
            Frame::Aligned { .. } | Frame::Session { .. } => window + 1,
        };
        let latest = match cause {
            Cause::Event(trigger) => slices.partition_point(|slice| slice.index <= trigger.slice),
            Cause::Complete | Cause::Ended | Cause::Period(_) | Cause::Clock => {
                slices.partition_point(|slice| slice.index < end)
            }
        };
        let latest = &mut slices[latest - 1];
        match cause {
            Cause::Event(trigger) if !latest.is_latest(trigger.origin) => {
                let number = trigger.number;
                trigger.number = number.wrapping_add(stride);
                trigger.origin.child(number)
            }
            _ => latest.sign(stride),
        }
    }
}
