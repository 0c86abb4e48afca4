//! What windows give by definition, recomputed from the raw events at every step.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::Timing;
use super::super::testing::Op;
use super::{Case, Kind, ZONE};

/// A firing by definition, with the values in their order; unless one of them came so late that its
/// place is not defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) bounds: (i64, i64),
    pub(super) timing: Timing,
    pub(super) pane: u32,
    pub(super) values: Vec<i64>,
    pub(super) ordered: bool,
    pub(super) time: i64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: usize,
    at: i64,
    value: i64,
    /// Came further behind the watermark than the lateness.
    behind: bool,
    /// Its session has been closed.
    gone: bool,
}

/// A window: start and end; of a count window, the numbers of events.
type Id = (i64, i64);

/// The definition, for one key.
struct Definition<'a> {
    case: &'a Case,
    settled: i64,
    events: Vec<Known>,
    /// The events that windows have given; of a session, under the number of each event.
    given: BTreeSet<(Id, usize)>,
    panes: BTreeMap<Id, u32>,
    early: BTreeMap<Id, i64>,
    expected: Vec<Expected>,
    late: Vec<u64>,
}

const SESSION: Id = (0, 0);

impl Definition<'_> {
    fn is_count(&self) -> bool {
        matches!(self.case.kind, Kind::Count { .. })
    }

    /// The windows that an event is in, by definition, the first first.
    fn windows_of(&self, event: &Known) -> Vec<Id> {
        let at = event.at;
        match self.case.kind {
            Kind::Hopping {
                length,
                slide,
                offset,
            } => {
                let near = (at - offset - length) / slide - 2..(at - offset + length) / slide + 2;
                let windows = near.map(|n| (offset + n * slide, offset + n * slide + length));
                windows
                    .filter(|(start, end)| *start <= at && at < *end)
                    .collect()
            }
            Kind::Daily => {
                let zone = TimeZone::get(ZONE).unwrap();
                let local = Timestamp::from_microsecond(at).unwrap().to_zoned(zone);
                let start = local.start_of_day().unwrap();
                let end = start.tomorrow().unwrap().start_of_day().unwrap();
                let micros = |at: jiff::Zoned| at.timestamp().as_microsecond();
                vec![(micros(start), micros(end))]
            }
            Kind::Session { .. } => {
                let session = self
                    .sessions()
                    .into_iter()
                    .find(|s| s.contains(&event.number));
                vec![self.session_bounds(&session.unwrap())]
            }
            Kind::Count { events, slide } => {
                let number = event.number as i64;
                let (events, slide) = (events as i64, slide as i64);
                let ends = (number / slide + 1..).map(|n| n * slide);
                let ends = ends.take_while(|end| end - events <= number);
                ends.map(|end| (end - events, end)).collect()
            }
            Kind::Global => vec![(i64::MIN, i64::MAX)],
        }
    }

    /// The numbers of the events of each open session.
    fn sessions(&self) -> Vec<Vec<usize>> {
        let Kind::Session { gap } = self.case.kind else {
            return Vec::new();
        };
        let mut open: Vec<&Known> = self.events.iter().filter(|e| !e.gone).collect();
        open.sort_by_key(|e| e.at);
        let mut sessions: Vec<Vec<usize>> = Vec::new();
        let mut last = None;
        for event in open {
            match (last, sessions.last_mut()) {
                (Some(last), Some(session)) if event.at - last < gap => session.push(event.number),
                _ => sessions.push(vec![event.number]),
            }
            last = Some(event.at);
        }
        sessions
    }

    fn session_bounds(&self, session: &[usize]) -> Id {
        let Kind::Session { gap } = self.case.kind else {
            panic!("not a session");
        };
        let times = session.iter().map(|number| self.event(*number).at);
        (times.clone().min().unwrap(), times.max().unwrap() + gap)
    }

    fn event(&self, number: usize) -> &Known {
        self.events.iter().find(|e| e.number == number).unwrap()
    }

    fn all_windows(&self) -> BTreeSet<Id> {
        let open = self.events.iter().filter(|e| !e.gone);
        open.flat_map(|e| self.windows_of(e)).collect()
    }

    fn content(&self, window: Id) -> Vec<Known> {
        let open = self.events.iter().filter(|e| !e.gone);
        open.filter(|e| self.windows_of(e).contains(&window))
            .copied()
            .collect()
    }

    fn given_key(&self, window: Id) -> Id {
        match self.case.kind {
            Kind::Session { .. } => SESSION,
            _ => window,
        }
    }

    fn fresh(&self, window: Id) -> Vec<Known> {
        let key = self.given_key(window);
        let mut fresh = self.content(window);
        fresh.retain(|e| !self.given.contains(&(key, e.number)));
        fresh
    }

    /// What belongs to a window before it fires: of a session, the sum of what belonged to the
    /// sessions that it is made of, which stands under their bounds of then.
    fn fire(&mut self, window: Id, timing: Timing, time: Option<i64>) {
        let fresh = self.fresh(window);
        let mut content = if self.case.discarding {
            fresh
        } else {
            self.content(window)
        };
        if content.is_empty() {
            return;
        }
        let by_slice = |at: i64| match self.case.kind {
            Kind::Hopping {
                length,
                slide,
                offset,
            } if !self.case.discarding => (at - offset).div_euclid(gcd(length, slide)),
            _ => 0,
        };
        if !self.is_count() {
            content.sort_by_key(|e| (by_slice(e.at), e.at, e.number));
        }
        let whole = self.content(window);
        let times = whole.iter().map(|e| e.at);
        let bounds = match self.case.kind {
            Kind::Count { .. } => (times.clone().min().unwrap(), times.max().unwrap() + 1),
            _ => window,
        };
        let pane = self.panes_of(window);
        self.expected.push(Expected {
            bounds,
            timing,
            pane,
            values: content.iter().map(|e| e.value).collect(),
            ordered: self.is_count() || content.iter().all(|e| !e.behind),
            time: time.unwrap_or(bounds.1 - 1),
        });
        let key = self.given_key(window);
        for event in self.content(window) {
            self.given.insert((key, event.number));
            if key == SESSION {
                let number = event.number as i64;
                self.panes.insert((number, number), pane + 1);
                self.early.remove(&(number, number));
            }
        }
        self.panes.insert(window, pane + 1);
        self.early.remove(&window);
    }

    /// Sessions have what their events have, as a session's bounds change.
    fn panes_of(&self, window: Id) -> u32 {
        let pane = |id: &Id| self.panes.get(id).copied().unwrap_or(0);
        match self.case.kind {
            Kind::Session { .. } => {
                let numbers = self.content(window).into_iter().map(|e| e.number as i64);
                numbers.map(|n| pane(&(n, n))).max().unwrap_or(0)
            }
            _ => pane(&window),
        }
    }

    fn early_of(&self, window: Id) -> Option<i64> {
        let early = |id: &Id| self.early.get(id).copied();
        match self.case.kind {
            Kind::Session { .. } => {
                let numbers = self.content(window).into_iter().map(|e| e.number as i64);
                numbers.filter_map(|n| early(&(n, n))).min()
            }
            _ => early(&window),
        }
    }

    fn settle(&mut self, to: i64) {
        if self.is_count() || to <= self.settled {
            return;
        }
        // A firing changes neither windows nor events, so all that is due is known beforehand, but
        // for early firings that an earlier firing makes needless.
        loop {
            let windows = self.all_windows();
            let ends = windows.iter().map(|w| (w.1, 0, *w));
            let ends = ends.filter(|(end, ..)| *end > self.settled && *end <= to);
            let early = windows
                .iter()
                .filter_map(|w| Some((self.early_of(*w)?, 1, *w)));
            let next = ends.chain(early.filter(|(at, ..)| *at <= to)).min();
            match next {
                Some((end, 0, window)) => {
                    self.settled = end;
                    self.fire(window, Timing::OnTime, None);
                }
                Some((at, _, window)) => self.fire(window, Timing::Early, Some(at - 1)),
                None => break,
            }
        }
        self.settled = to;
        for session in self.sessions() {
            if self.session_bounds(&session).1 + self.case.lateness <= to {
                for event in &mut self.events {
                    event.gone |= session.contains(&event.number);
                }
            }
        }
    }

    fn closed(&self, window: Id) -> bool {
        !self.is_count() && window.1.saturating_add(self.case.lateness) <= self.settled
    }

    fn take(&mut self, number: usize, at: i64, value: i64, settled: i64) {
        self.settle(settled);
        let event = Known {
            number,
            at,
            value,
            behind: at < self.settled.saturating_sub(self.case.lateness),
            gone: false,
        };
        self.events.push(event);
        let windows = self.windows_of(&event);
        if windows.iter().all(|w| self.closed(*w)) {
            self.events.pop();
            self.late.push(number as u64);
            return;
        }
        if let Kind::Count { slide, .. } = self.case.kind
            && (number as u64 + 1).is_multiple_of(slide)
        {
            self.fire(windows[0], Timing::OnTime, None);
        }
        let count = number as i64 + 1;
        for window in windows {
            if self.closed(window) || (self.is_count() && window.1 <= count) {
                continue;
            }
            if !self.is_count() && window.1 <= self.settled {
                self.fire(window, Timing::Late, None);
                continue;
            }
            if let Some(period) = self.case.early_period
                && !self.is_count()
            {
                let next = (at.div_euclid(period) + 1) * period;
                let id = match self.case.kind {
                    Kind::Session { .. } => (number as i64, number as i64),
                    _ => window,
                };
                if next < window.1 {
                    let early = self.early.entry(id).or_insert(i64::MAX);
                    *early = next.min(*early);
                }
            }
            let fresh = self.fresh(window).len() as u64;
            if self.case.early_events.is_some_and(|events| fresh >= events) {
                self.fire(window, Timing::Early, Some(at));
            }
        }
    }

    fn wake(&mut self) {
        let open = |window: &Id| window.1 > self.settled;
        for window in self
            .all_windows()
            .into_iter()
            .filter(open)
            .collect::<Vec<_>>()
        {
            let latest = self.content(window).iter().map(|e| e.at).max();
            if !self.is_count() && !self.fresh(window).is_empty() {
                let time = latest.unwrap().max(self.settled).min(window.1 - 1);
                self.fire(window, Timing::Early, Some(time));
            }
        }
    }

    fn end(&mut self) {
        self.settle(i64::MAX);
        if let Kind::Count { slide, .. } = self.case.kind
            && let Some(last) = self.events.last().copied()
            && !(last.number as u64 + 1).is_multiple_of(slide)
        {
            let window = self.windows_of(&last)[0];
            self.fire(window, Timing::OnTime, Some(i64::MAX - 1));
        }
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What windows give by definition, and the numbers of the events that come too late.
pub(super) fn expected(case: &Case) -> (Vec<Expected>, Vec<u64>) {
    let mut definition = Definition {
        case,
        settled: i64::MIN,
        events: Vec::new(),
        given: BTreeSet::new(),
        panes: BTreeMap::new(),
        early: BTreeMap::new(),
        expected: Vec::new(),
        late: Vec::new(),
    };
    let (mut watermark, mut number) = (i64::MIN, 0);
    for op in &case.ops {
        match *op {
            Op::Event(at, value) => {
                definition.take(number, at.as_micros(), value, watermark);
                number += 1;
            }
            Op::Watermark(to) => {
                watermark = to.as_micros();
                definition.settle(watermark);
            }
            Op::Wake => definition.wake(),
        }
    }
    definition.end();
    (definition.expected, definition.late)
}
