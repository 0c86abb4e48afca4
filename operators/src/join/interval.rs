//! The interval join: how it is asked for, and the events of a key that wait for partners.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Data;
use thalweg_engine::time::EventTime;
use thalweg_engine::version::Version;
use thalweg_engine::watermark::Watermark;

use super::{Ageing, LatePolicy, Stamp};

/// Which events of two streams are partners: event `b` of the other stream is a partner of event `a`
/// when `a.time - before <= b.time <= a.time + after`, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    pub(crate) before: Duration,
    pub(crate) after: Duration,
    pub(crate) late: LatePolicy,
    pub(crate) max_per_key: usize,
}

impl Interval {
    /// Partners happen at most `before` earlier and at most `after` later.
    pub fn around(before: Duration, after: Duration) -> Self {
        Self {
            before,
            after,
            late: LatePolicy::default(),
            max_per_key: 100_000,
        }
    }

    /// Partners happen at the same time or at most `span` later.
    pub fn after(span: Duration) -> Self {
        Self::around(Duration::ZERO, span)
    }

    /// Partners happen at the same time or at most `span` earlier.
    pub fn before(span: Duration) -> Self {
        Self::around(span, Duration::ZERO)
    }

    /// How many events of one key wait for partners, on each side, at most; 100,000 unless told.
    ///
    /// An event that finds its side full is not joined at all: it goes to the dead letters, which
    /// say so, and none of its pairs comes out. An event waits as long as an event of its own time
    /// or later can still be its partner.
    #[must_use]
    pub fn max_per_key(mut self, events: usize) -> Self {
        self.max_per_key = events;
        self
    }

    /// What becomes of events behind the watermark.
    #[must_use]
    pub fn late(mut self, policy: LatePolicy) -> Self {
        self.late = policy;
        self
    }
}

/// An event that waits for partners.
#[derive(Serialize, Deserialize)]
pub(crate) struct Waiting<V> {
    pub(crate) stamp: Stamp,
    /// Whether it has had one.
    pub(crate) met: bool,
    pub(crate) value: V,
}

/// The events of one key and stream that wait, by event time and origin.
#[derive(Serialize, Deserialize)]
pub(crate) struct Side<V>(VecDeque<Waiting<V>>);

/// The events of one key that wait.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pending<A, B> {
    version: Version<1>,
    left: Side<A>,
    right: Side<B>,
}

impl<A, B> Default for Pending<A, B> {
    fn default() -> Self {
        Self {
            version: Version,
            left: Side(VecDeque::new()),
            right: Side(VecDeque::new()),
        }
    }
}

/// What became of an event after it has met the partners that were there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<V> {
    /// It waits for more.
    Waits,
    /// It came so late that no more can come.
    Over {
        /// The event.
        value: V,
        /// Whether it has met a partner.
        met: bool,
    },
    /// Its side is full, and it has met nobody.
    Full(V),
}

impl<V> Side<V> {
    /// Where events begin whose last partner may come at `time` or later; `reach` is how much later
    /// than the event that is.
    fn open(&self, time: EventTime, reach: Duration) -> usize {
        self.0
            .partition_point(|waiting| waiting.stamp.time.saturating_add(reach) < time)
    }

    /// The partners of an event at `time`.
    fn partners(
        &mut self,
        time: EventTime,
        reach: Duration,
        other_reach: Duration,
    ) -> impl Iterator<Item = &mut Waiting<V>> {
        let (from, last) = (self.open(time, reach), time.saturating_add(other_reach));
        self.0
            .range_mut(from..)
            .take_while(move |waiting| waiting.stamp.time <= last)
    }

    fn insert(&mut self, waiting: Waiting<V>) {
        let place = self.0.partition_point(|other| other.stamp <= waiting.stamp);
        self.0.insert(place, waiting);
    }

    /// When the first event's last partner may come.
    fn deadline(&self, reach: Duration) -> Option<EventTime> {
        let first = self.0.front()?;
        Some(first.stamp.time.saturating_add(reach))
    }

    /// Takes out the events whose partners can no longer come.
    fn take_over(
        &mut self,
        reach: Duration,
        watermark: Watermark,
        mut over: impl FnMut(Waiting<V>),
    ) {
        while self
            .deadline(reach)
            .is_some_and(|time| watermark.has_passed(time))
            && let Some(waiting) = self.0.pop_front()
        {
            over(waiting);
        }
    }
}

/// Pairs an event with the partners among `others`, then has it wait among its `own`. A reach is how
/// much later than an event its last partner may come.
fn take<V, W>(
    (own, reach): (&mut Side<V>, Duration),
    (others, other_reach): (&mut Side<W>, Duration),
    max: usize,
    watermark: Watermark,
    (stamp, value): (Stamp, V),
    mut pair: impl FnMut(&V, &Waiting<W>),
) -> Taken<V> {
    let over = watermark.has_passed(stamp.time.saturating_add(reach));
    // What has not been dropped yet does not count: the limit is a matter of event time, not of when
    // the watermark moves.
    if !over && own.0.len() >= max && own.0.len() - own.open(stamp.time, reach) >= max {
        return Taken::Full(value);
    }
    let mut met = false;
    for other in others.partners(stamp.time, other_reach, reach) {
        pair(&value, other);
        other.met = true;
        met = true;
    }
    if over {
        return Taken::Over { value, met };
    }
    own.insert(Waiting { stamp, met, value });
    Taken::Waits
}

impl<A: Data, B: Data> Pending<A, B> {
    /// Takes in an event of the left stream.
    pub(crate) fn take_left(
        &mut self,
        rule: &Interval,
        watermark: Watermark,
        event: (Stamp, A),
        pair: impl FnMut(&A, &Waiting<B>),
    ) -> Taken<A> {
        let (left, right) = (&mut self.left, &mut self.right);
        let (own, others) = ((left, rule.after), (right, rule.before));
        take(own, others, rule.max_per_key, watermark, event, pair)
    }

    /// Takes in an event of the right stream.
    pub(crate) fn take_right(
        &mut self,
        rule: &Interval,
        watermark: Watermark,
        event: (Stamp, B),
        pair: impl FnMut(&B, &Waiting<A>),
    ) -> Taken<B> {
        let (left, right) = (&mut self.left, &mut self.right);
        let (own, others) = ((right, rule.before), (left, rule.after));
        take(own, others, rule.max_per_key, watermark, event, pair)
    }

    /// Takes out the events whose partners can no longer come.
    pub(crate) fn take_over(
        &mut self,
        rule: &Interval,
        watermark: Watermark,
        left: impl FnMut(Waiting<A>),
        right: impl FnMut(Waiting<B>),
    ) {
        self.left.take_over(rule.after, watermark, left);
        self.right.take_over(rule.before, watermark, right);
    }

    /// The origins of the events that wait and have met nobody.
    pub(crate) fn alone(&self) -> impl Iterator<Item = Stamp> {
        let left = self
            .left
            .0
            .iter()
            .map(|waiting| (waiting.met, waiting.stamp));
        let right = self
            .right
            .0
            .iter()
            .map(|waiting| (waiting.met, waiting.stamp));
        left.chain(right)
            .filter_map(|(met, stamp)| (!met).then_some(stamp))
    }
}

#[cfg(test)]
impl<A, B> Pending<A, B> {
    pub(crate) fn len(&self) -> usize {
        self.left.0.len() + self.right.0.len()
    }
}

impl<A: Data, B: Data> Ageing for Pending<A, B> {
    type Rule = Interval;

    fn deadline(&self, rule: &Interval) -> Option<EventTime> {
        let sides = [
            self.left.deadline(rule.after),
            self.right.deadline(rule.before),
        ];
        let first = sides.into_iter().flatten().min();
        Some(first.unwrap_or(EventTime::MIN))
    }

    fn is_empty(&self) -> bool {
        self.left.0.is_empty() && self.right.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::testing::check_format;
    use thalweg_engine::time::secs;

    use super::super::testing::{at, stamp};
    use super::*;

    type Letters = Pending<char, char>;

    /// Takes in an event of the left stream and gives the partners it meets.
    fn left(
        pending: &mut Letters,
        rule: &Interval,
        watermark: Watermark,
        stamp: Stamp,
    ) -> (Vec<char>, Taken<char>) {
        let mut met = Vec::new();
        let pair = |_: &char, other: &Waiting<char>| met.push(other.value);
        let taken = pending.take_left(rule, watermark, (stamp, 'l'), pair);
        (met, taken)
    }

    fn right(pending: &mut Letters, rule: &Interval, stamp: Stamp, value: char) -> usize {
        let mut met = 0;
        let pair = |_: &char, _: &Waiting<char>| met += 1;
        let taken = pending.take_right(rule, Watermark::START, (stamp, value), pair);
        assert_eq!(taken, Taken::Waits);
        met
    }

    #[test]
    fn both_ends_of_the_interval_are_included() {
        let rule = Interval::around(secs(2), secs(3));
        let mut pending = Letters::default();
        for (offset, second) in (0..).zip([7, 8, 10, 13, 14]) {
            let name = char::from_digit(second, 36).unwrap();
            right(&mut pending, &rule, stamp(second.into(), offset), name);
        }
        let (met, taken) = left(&mut pending, &rule, Watermark::START, stamp(10, 9));
        assert_eq!((met, taken), (vec!['8', 'a', 'd'], Taken::Waits));
        assert_eq!(right(&mut pending, &rule, stamp(8, 10), 'x'), 1);
        assert_eq!(right(&mut pending, &rule, stamp(13, 11), 'x'), 1);
        assert_eq!(right(&mut pending, &rule, stamp(7, 12), 'x'), 0);
        assert_eq!(right(&mut pending, &rule, stamp(14, 13), 'x'), 0);
    }

    #[test]
    fn an_event_goes_when_the_watermark_has_passed_its_last_partner() {
        let rule = Interval::around(secs(2), secs(3));
        let check = |watermark: i64, expected: (usize, usize), next| {
            let mut pending = Letters::default();
            left(&mut pending, &rule, Watermark::START, stamp(10, 0));
            right(&mut pending, &rule, stamp(10, 1), 'r');
            let (mut lefts, mut rights) = (0, 0);
            let watermark = Watermark::active(at(watermark));
            pending.take_over(&rule, watermark, |_| lefts += 1, |_| rights += 1);
            assert_eq!((lefts, rights), expected, "{watermark:?}");
            assert_eq!(pending.deadline(&rule), Some(next), "{watermark:?}");
        };
        check(12, (0, 0), at(12));
        check(13, (0, 1), at(13));
        check(14, (1, 1), EventTime::MIN);
    }

    #[test]
    fn spans_hold_at_the_limits_of_time() {
        let rule = Interval::around(Duration::MAX, secs(3));
        let mut pending = Letters::default();
        let limit = |time, offset| Stamp {
            time,
            ..stamp(0, offset)
        };
        right(&mut pending, &rule, limit(EventTime::MIN, 0), 'a');
        right(&mut pending, &rule, limit(EventTime::MAX, 1), 'z');
        for (time, expected) in [
            (EventTime::MIN, vec!['a']),
            (at(0), vec!['a']),
            (EventTime::MAX, vec!['a', 'z']),
        ] {
            let (met, _) = left(&mut pending, &rule, Watermark::START, limit(time, 2));
            assert_eq!(met, expected, "{time}");
        }
        let (mut lefts, mut rights) = (0, 0);
        let almost = Watermark::active(EventTime::from_micros(i64::MAX - 1));
        pending.take_over(&rule, almost, |_| lefts += 1, |_| rights += 1);
        assert_eq!((lefts, rights), (2, 0));
        pending.take_over(&rule, Watermark::END, |_| lefts += 1, |_| rights += 1);
        assert_eq!((lefts, rights), (3, 2));
        assert!(pending.is_empty());
    }

    #[test]
    fn an_event_that_comes_too_late_to_wait_meets_who_is_left() {
        let rule = Interval::around(secs(20), secs(1));
        let mut pending = Letters::default();
        right(&mut pending, &rule, stamp(10, 0), 'r');
        let mut late = |second| {
            let watermark = Watermark::active(at(20));
            left(&mut pending, &rule, watermark, stamp(second, 1))
        };
        let over = |met| Taken::Over { value: 'l', met };
        assert_eq!(late(12), (vec!['r'], over(true)));
        assert_eq!(late(8), (vec![], over(false)));
        assert_eq!(late(19), (vec!['r'], Taken::Waits));
    }

    #[test]
    fn a_full_side_refuses_until_time_makes_room() {
        let rule = Interval::after(secs(5)).max_per_key(2);
        let mut pending = Letters::default();
        let mut next = |second| {
            let stamp = stamp(second, second.unsigned_abs());
            left(&mut pending, &rule, Watermark::START, stamp).1
        };
        assert_eq!(next(0), Taken::Waits);
        assert_eq!(next(1), Taken::Waits);
        assert_eq!(next(5), Taken::Full('l'));
        assert_eq!(
            next(6),
            Taken::Waits,
            "the event at 0 waits no more, dropped or not"
        );
        assert_eq!(next(6), Taken::Full('l'));
    }

    #[test]
    fn version_1_is_read_and_written() {
        let rule = Interval::around(secs(2), secs(3));
        let mut pending = Letters::default();
        left(&mut pending, &rule, Watermark::START, stamp(10, 3));
        right(&mut pending, &rule, stamp(11, 4), 'a');
        right(&mut pending, &rule, stamp(30, 5), 'b');
        check_format(
            &pending,
            "010180dac4090000030001016c0280e3be0a00000400010161808ece1c00000500000162",
        );
    }
}
