//! Sessions: events of a key less than a gap apart.

use super::fire::Trigger;
use super::layout::position;
use super::result::Fired;
use super::slice::Slice;
use super::state::{KeyWindows, Mark};
use super::windows::{Event, Windows};
use crate::aggregate::Aggregate;

impl<A: Aggregate> Windows<A> {
    /// Puts an event into the session that it belongs to, which it may begin, lengthen, or make of
    /// several; returns whether it was not too late for that.
    pub(super) fn take_session(
        &self,
        gap: i64,
        state: &mut KeyWindows<A::State>,
        event: &Event<'_, A::Input>,
        fired: &mut Vec<Fired<A::Output>>,
    ) -> bool {
        let (at, settled) = (position(event.at), state.kept.settled);
        let slices = &mut state.kept.slices;
        let begin = slices.partition_point(|session| session.summary.last + gap <= at);
        let end = slices.partition_point(|session| session.summary.first < at + gap);
        let last = slices.range(begin..end).next_back();
        let last = last.map_or(at, |session| session.summary.last.max(at));
        if self.is_closed(last + gap, settled) {
            return false;
        }
        let mut joined: Option<Slice<A::State>> = None;
        let mut mark: Option<Mark> = None;
        for _ in begin..end {
            let Some(session) = state.kept.slices.remove(begin) else {
                break;
            };
            if let Some(other) = state.kept.take_mark(session.index) {
                mark.get_or_insert_default().merge(other);
            }
            match &mut joined {
                Some(joined) => joined.join(session),
                None => joined = Some(session),
            }
        }
        let mut session = joined.unwrap_or_else(|| Slice::new(at, at));
        let arrival = self.arrival(event, at, settled);
        session.add(&self.aggregate, &arrival, at, 0);
        session.index = session.summary.first;
        let window = session.index;
        state.kept.slices.insert(begin, session);
        if let Some(mark) = mark {
            *state.kept.mark(window) = mark;
        }
        if self.rules.fires_again() {
            let mut trigger = Trigger {
                at,
                origin: event.origin,
                slice: window,
                number: 0,
            };
            self.react(state, window, last + gap, &mut trigger, fired);
        }
        true
    }
}
