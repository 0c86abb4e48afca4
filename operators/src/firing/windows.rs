//! [`Windows`]: takes the events of a key in, and says what its windows give as they fire.

use std::any::type_name;
use std::ops::RangeInclusive;
use std::time::Duration;

use thalweg_engine::key::key_hash;
use thalweg_engine::record::Origin;
use thalweg_engine::time::EventTime;

use super::error::WindowError;
use super::fire::{Cause, Trigger};
use super::layout::{Layout, POSITION_MAX, position};
use super::result::{Fired, Timing};
use super::rules::{Axis, Frame, Rules, Window};
use super::slice::{Arrival, Slice};
use super::state::{KeyWindows, Mark, NEVER};
use crate::aggregate::Aggregate;

/// The windows of a step with what is asked of them.
pub(crate) struct Windows<A> {
    pub(super) rules: Rules,
    pub(super) aggregate: A,
    layout: String,
    /// A hash of the layout, which stands in every key's state; never 0.
    fingerprint: u32,
}

/// An event of a key.
pub(crate) struct Event<'a, I> {
    pub(crate) at: EventTime,
    pub(crate) origin: Origin,
    pub(crate) input: &'a I,
}

impl<A: Aggregate> Windows<A> {
    /// Compiles windows of an aggregate whose answers have these names, if they have any.
    ///
    /// # Errors
    /// Every mistake of the declaration.
    pub(crate) fn new(
        window: &Window,
        names: &[String],
        aggregate: A,
    ) -> Result<Self, Vec<WindowError>> {
        let rules = window.rules()?;
        let mut layout = format!("{}, {}", window.layout(), plain_name(type_name::<A>()));
        if !names.is_empty() {
            layout += &format!(" as {}", names.join(", "));
        }
        let fingerprint = (key_hash(&layout) as u32).max(1);
        Ok(Self {
            rules,
            aggregate,
            layout,
            fingerprint,
        })
    }

    /// What the state of a key depends on, in words: see [`Windows::accepts`].
    pub(crate) fn layout(&self) -> &str {
        &self.layout
    }

    /// Whether a state that was restored is of this layout, as far as that shows: states of version
    /// 1 don't tell.
    pub(crate) fn accepts(&self, state: &KeyWindows<A::State>) -> bool {
        [0, self.fingerprint].contains(&state.fingerprint)
    }

    /// Takes an event in, unless it is too late. No event before `settled` comes any more, unless
    /// it is late; what has to fire by then fires first.
    ///
    /// Returns whether the event was taken in.
    pub(crate) fn take(
        &self,
        state: &mut KeyWindows<A::State>,
        event: &Event<'_, A::Input>,
        settled: EventTime,
        fired: &mut Vec<Fired<A::Output>>,
    ) -> bool {
        state.fingerprint = self.fingerprint;
        if !self.rules.is_count() {
            self.settle(state, position(settled), fired);
        }
        match &self.rules.frame {
            Frame::Aligned { layout, axis } => {
                self.take_aligned(layout, *axis, state, event, fired)
            }
            Frame::Session { gap } => self.take_session(*gap, state, event, fired),
        }
    }

    /// Fires what has to fire now that the watermark has come to `settled`; at the end of input,
    /// when that is [`EventTime::MAX`], all that is left.
    pub(crate) fn advance(
        &self,
        state: &mut KeyWindows<A::State>,
        settled: EventTime,
        fired: &mut Vec<Fired<A::Output>>,
    ) {
        let ended = settled == EventTime::MAX;
        if !self.rules.is_count() {
            let settled = if ended { i64::MAX } else { position(settled) };
            self.settle(state, settled, fired);
        } else if ended {
            self.end_count(state, fired);
        }
    }

    /// How often [`Windows::wake`] is to be called for keys that had events, if at all.
    pub(crate) fn wake_every(&self) -> Option<Duration> {
        self.rules.early_every
    }

    /// Fires early what has events that it has not given yet; no event before `settled` comes any
    /// more, unless it is late.
    pub(crate) fn wake(
        &self,
        state: &mut KeyWindows<A::State>,
        settled: EventTime,
        fired: &mut Vec<Fired<A::Output>>,
    ) {
        self.advance(state, settled, fired);
        let fresh = state.kept.marks.iter().filter(|(_, mark)| mark.fresh > 0);
        let windows: Vec<i64> = fresh.map(|(window, _)| *window).collect();
        for window in windows {
            self.fire(state, window, Timing::Early, Cause::Clock, fired);
        }
    }

    /// When the key is to be looked at next: once the watermark has passed this time.
    pub(crate) fn due(&self, state: &KeyWindows<A::State>) -> EventTime {
        if state.is_empty() {
            return EventTime::MIN;
        }
        let due = if self.rules.is_count() {
            i64::MAX
        } else {
            let end = self.next_to_complete(state).map(|(end, _)| end);
            let over = state.kept.slices.front().map(|slice| self.over(slice));
            let early = self.next_early(state);
            end.unwrap_or(i64::MAX)
                .min(over.unwrap_or(i64::MAX))
                .min(early)
        };
        // What lies beyond the last position is settled at the end of input only.
        let last = if due > POSITION_MAX {
            i64::MAX
        } else {
            due - 1
        };
        EventTime::from_micros(last)
    }

    fn take_aligned(
        &self,
        layout: &Layout,
        axis: Axis,
        state: &mut KeyWindows<A::State>,
        event: &Event<'_, A::Input>,
        fired: &mut Vec<Fired<A::Output>>,
    ) -> bool {
        let at = position(event.at);
        let (place, settled) = match axis {
            Axis::Time => (at, state.kept.settled),
            Axis::Count { .. } => (state.kept.counted, state.kept.counted),
        };
        let slice = layout.slice_of(place);
        let windows = layout.windows_of(slice);
        if self.is_closed(layout.end(*windows.end()), settled) {
            return false;
        }
        let arrival = self.arrival(event, place, settled);
        if self.rules.discarding {
            for window in windows.clone() {
                if !self.is_closed(layout.end(window), settled) {
                    self.add(state, window, &arrival, at, rank(&windows, window));
                }
            }
        } else {
            self.add(state, slice, &arrival, at, 0);
            if let Some(blocks) = &mut state.blocks {
                blocks.touch(slice, layout.per_window());
            }
        }
        if let Axis::Count { .. } = axis {
            state.kept.counted += 1;
            let counted = state.kept.counted;
            self.settle(state, counted, fired);
        }
        if self.rules.fires_again() {
            let mut trigger = Trigger {
                at,
                origin: event.origin,
                slice,
                number: 0,
            };
            for window in windows.clone() {
                if self.rules.discarding {
                    trigger.slice = window;
                    trigger.number = rank(&windows, window);
                }
                self.react(state, window, layout.end(window), &mut trigger, fired);
            }
        }
        true
    }

    pub(super) fn arrival<'a>(
        &self,
        event: &Event<'a, A::Input>,
        place: i64,
        settled: i64,
    ) -> Arrival<'a, A::Input> {
        Arrival {
            at: event.at,
            position: place,
            complete_to: settled.saturating_sub(self.rules.lateness),
            origin: event.origin,
            input: event.input,
        }
    }

    /// Adds an event to a slice, which is made if there is none.
    fn add(
        &self,
        state: &mut KeyWindows<A::State>,
        index: i64,
        arrival: &Arrival<'_, A::Input>,
        at: i64,
        number: u32,
    ) {
        let slices = &mut state.kept.slices;
        let place = slices.partition_point(|slice| slice.index < index);
        if slices.get(place).is_none_or(|slice| slice.index != index) {
            slices.insert(place, Slice::new(index, at));
        }
        slices[place].add(&self.aggregate, arrival, at, number);
    }

    /// Fires a window that an event has come to, if it is to fire early or late.
    pub(super) fn react(
        &self,
        state: &mut KeyWindows<A::State>,
        window: i64,
        end: i64,
        trigger: &mut Trigger,
        fired: &mut Vec<Fired<A::Output>>,
    ) {
        let settled = state.kept.settled;
        if end <= settled {
            if !self.is_closed(end, settled) {
                self.fire(state, window, Timing::Late, Cause::Event(trigger), fired);
            }
            return;
        }
        if !self.rules.fires_early() {
            return;
        }
        let mark = state.kept.mark(window);
        mark.fresh += 1;
        if let Some(period) = self.rules.early_period {
            let next = (trigger.at.div_euclid(period) + 1).saturating_mul(period);
            if next < end {
                mark.early_at = mark.early_at.min(next);
            }
        }
        if self
            .rules
            .early_events
            .is_some_and(|events| mark.fresh >= events)
        {
            self.fire(state, window, Timing::Early, Cause::Event(trigger), fired);
        }
    }

    /// Whether nothing is taken in any more for a window with this end.
    pub(super) fn is_closed(&self, end: i64, settled: i64) -> bool {
        end.saturating_add(self.rules.lateness) <= settled
    }

    /// The position at which a slice is of no more use.
    fn over(&self, slice: &Slice<A::State>) -> i64 {
        let end = match &self.rules.frame {
            Frame::Aligned { layout, .. } if self.rules.discarding => layout.end(slice.index),
            Frame::Aligned { layout, .. } => layout.end(*layout.windows_of(slice.index).end()),
            Frame::Session { gap } => slice.summary.last + gap,
        };
        end.saturating_add(self.rules.lateness)
    }

    /// Fires on time and by the period what is due up to a position, in that order of time; what is
    /// complete at the same time goes first. Then forgets what is over.
    fn settle(&self, state: &mut KeyWindows<A::State>, to: i64, fired: &mut Vec<Fired<A::Output>>) {
        if to <= state.kept.settled {
            return;
        }
        loop {
            let complete = self.next_to_complete(state).filter(|(end, _)| *end <= to);
            let early = self.next_early(state);
            match complete {
                Some((end, window)) if end <= early => {
                    state.kept.settled = end;
                    self.fire(state, window, Timing::OnTime, Cause::Complete, fired);
                }
                _ if early <= to && early != NEVER => self.fire_early(state, early, fired),
                _ => break,
            }
        }
        state.kept.settled = to;
        self.forget(state);
    }

    /// The next window to fire on time: its end and number.
    fn next_to_complete(&self, state: &KeyWindows<A::State>) -> Option<(i64, i64)> {
        let slices = &state.kept.slices;
        let settled = state.kept.settled;
        match &self.rules.frame {
            Frame::Aligned { layout, .. } => {
                let next = layout.first_ending_after(settled);
                if self.rules.discarding {
                    let begin = slices.partition_point(|slice| slice.index < next);
                    let mut rest = slices.range(begin..);
                    let slice = rest.find(|slice| slice.summary.events > 0)?;
                    return Some((layout.end(slice.index), slice.index));
                }
                let windows = |slice: &Slice<_>| layout.windows_of(slice.index);
                let begin = slices.partition_point(|slice| *windows(slice).end() < next);
                let window = next.max(*windows(slices.get(begin)?).start());
                Some((layout.end(window), window))
            }
            Frame::Session { gap } => {
                let begin = slices.partition_point(|slice| slice.summary.last + gap <= settled);
                let mut rest = slices.range(begin..);
                let session = rest.find(|session| session.summary.events > 0)?;
                Some((session.summary.last + gap, session.index))
            }
        }
    }

    /// When a window next fires by the period of early firings.
    fn next_early(&self, state: &KeyWindows<A::State>) -> i64 {
        if self.rules.early_period.is_none() {
            return NEVER;
        }
        let times = state.kept.marks.iter().map(|(_, mark)| mark.early_at);
        times.min().unwrap_or(NEVER)
    }

    fn fire_early(
        &self,
        state: &mut KeyWindows<A::State>,
        at: i64,
        fired: &mut Vec<Fired<A::Output>>,
    ) {
        let due = |(_, mark): &&(i64, Mark)| mark.early_at <= at;
        let windows: Vec<i64> = state
            .kept
            .marks
            .iter()
            .filter(due)
            .map(|(w, _)| *w)
            .collect();
        for window in windows {
            state.kept.mark(window).early_at = NEVER;
            self.fire(state, window, Timing::Early, Cause::Period(at), fired);
        }
    }

    /// Forgets slices that no open window is made of, and marks of closed windows.
    fn forget(&self, state: &mut KeyWindows<A::State>) {
        let kept = &mut state.kept;
        while kept
            .slices
            .front()
            .is_some_and(|slice| self.over(slice) <= kept.settled)
        {
            kept.slices.pop_front();
        }
        while let Some(&(window, _)) = kept.marks.front() {
            let open = match &self.rules.frame {
                Frame::Aligned { layout, .. } => !self.is_closed(layout.end(window), kept.settled),
                Frame::Session { .. } => kept
                    .slices
                    .front()
                    .is_some_and(|session| session.index <= window),
            };
            if open {
                break;
            }
            kept.marks.pop_front();
        }
        if kept.slices.is_empty() {
            state.blocks = None;
        }
    }

    /// At the end of input, makes the events since the last firing one more window.
    fn end_count(&self, state: &mut KeyWindows<A::State>, fired: &mut Vec<Fired<A::Output>>) {
        if let Frame::Aligned {
            layout,
            axis: Axis::Count { slide },
        } = &self.rules.frame
            && state.kept.counted % slide != 0
        {
            let window = layout.first_ending_after(state.kept.counted);
            self.fire(state, window, Timing::OnTime, Cause::Ended, fired);
        }
        *state = KeyWindows::default();
    }
}

/// A type's name without the modules that its parts are in.
fn plain_name(name: &str) -> String {
    let mut plain = String::new();
    for part in name.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
        if part == ":" {
            let part = plain.trim_end_matches(|c: char| c.is_alphanumeric() || "_:".contains(c));
            plain.truncate(part.len());
        } else {
            plain.push_str(part);
        }
    }
    plain
}

/// A window's place among those of an event, the last one's being 0: where they are slices of their
/// own, results with the event's origin are numbered apart.
fn rank(windows: &RangeInclusive<i64>, window: i64) -> u32 {
    u32::try_from(windows.end() - window).unwrap_or(u32::MAX)
}
