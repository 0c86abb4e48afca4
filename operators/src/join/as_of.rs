//! The as-of join: how it is asked for, and the rows of a key.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Data;
use thalweg_engine::time::EventTime;
use thalweg_engine::version::Version;
use thalweg_engine::watermark::Watermark;

use super::{Ageing, LatePolicy, Stamp, Table};

/// How events are joined with the rows that were the latest at their own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsOf {
    pub(crate) age_max: Duration,
    pub(crate) late: LatePolicy,
    pub(crate) limit: Option<(usize, FullTable)>,
}

/// What an as-of join does when a key has more rows than it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullTable {
    /// The oldest row goes, counted under `<step id>_dropped_rows`: an event from before the rows
    /// that are left meets none, and no event that is not late meets one that it should not.
    DropOldest,
    /// The row that is one too many is a dead letter, counted under `<step id>_refused_rows`: an
    /// event may meet an older one in its place.
    Refuse,
}

impl AsOf {
    /// A row that is older than `age_max` at the time of the event is not met.
    pub fn within(age_max: Duration) -> Self {
        Self {
            age_max,
            late: LatePolicy::default(),
            limit: None,
        }
    }

    /// A row is met however old it is. The latest row of every key is kept for ever.
    pub fn any_age() -> Self {
        Self::within(Duration::MAX)
    }

    /// How many rows of one key are held at most, and what becomes of more; as many as come unless
    /// told, and one at least. Rows that no event still to come can meet make room first, so in
    /// event-time order a limit of two never shows.
    #[must_use]
    pub fn max_rows_per_key(mut self, rows: usize, policy: FullTable) -> Self {
        self.limit = Some((rows.max(1), policy));
        self
    }

    /// What becomes of events and rows behind the watermark.
    #[must_use]
    pub fn late(mut self, policy: LatePolicy) -> Self {
        self.late = policy;
        self
    }
}

impl From<Duration> for AsOf {
    fn from(age_max: Duration) -> Self {
        Self::within(age_max)
    }
}

/// The rows of one key that an event may still ask for, oldest first, one an instant: of several
/// rows of one instant the one with the greatest origin stands.
#[derive(Serialize, Deserialize)]
pub(crate) struct Rows<R> {
    version: Version<1>,
    rows: VecDeque<(Stamp, R)>,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self {
            version: Version,
            rows: VecDeque::new(),
        }
    }
}

impl<R> Rows<R> {
    /// Where rows later than `time` begin.
    fn after(&self, time: EventTime) -> usize {
        self.rows.partition_point(|(stamp, _)| stamp.time <= time)
    }
}

#[cfg(test)]
impl<R> Rows<R> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

impl<R: Data> Ageing for Rows<R> {
    type Rule = Duration;

    fn deadline(&self, age_max: &Duration) -> Option<EventTime> {
        let Some((oldest, _)) = self.rows.front() else {
            return Some(EventTime::MIN);
        };
        let too_old = oldest.time.saturating_add(*age_max);
        let replaced = self
            .rows
            .get(1)
            .map_or(EventTime::MAX, |(next, _)| next.time);
        Some(too_old.min(replaced)).filter(|time| *time < EventTime::MAX)
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl<R: Data> Table for Rows<R> {
    type Row = R;
    type Value = R;

    fn wants(&self, stamp: Stamp, age_max: Duration, watermark: Watermark) -> bool {
        let next = self.rows.get(self.after(stamp.time));
        let replaced = next.is_some_and(|(next, _)| watermark.has_passed(next.time));
        !replaced && !watermark.has_passed(stamp.time.saturating_add(age_max))
    }

    fn insert(&mut self, stamp: Stamp, row: R) {
        let after = self.after(stamp.time);
        let before = after.checked_sub(1).map(|index| &mut self.rows[index]);
        match before.filter(|(latest, _)| latest.time == stamp.time) {
            Some(latest) if latest.0 <= stamp => *latest = (stamp, row),
            Some(_) => {}
            None => self.rows.insert(after, (stamp, row)),
        }
    }

    fn excess(&self, stamp: Stamp, most: usize) -> bool {
        let before = self.after(stamp.time).checked_sub(1);
        let replaces = before.is_some_and(|index| self.rows[index].0.time == stamp.time);
        self.rows.len() >= most && !replaces
    }

    fn drop_oldest(&mut self) {
        self.rows.pop_front();
    }

    fn find(&self, time: EventTime, age_max: Duration) -> Option<&R> {
        let latest = self.after(time).checked_sub(1)?;
        let (stamp, row) = &self.rows[latest];
        (time <= stamp.time.saturating_add(age_max)).then_some(row)
    }

    fn trim(&mut self, age_max: Duration, watermark: Watermark) {
        while self
            .deadline(&age_max)
            .is_some_and(|time| watermark.has_passed(time))
            && self.rows.pop_front().is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::testing::check_format;
    use thalweg_engine::time::secs;

    use super::super::testing::{at, stamp};
    use super::*;

    fn rows(stamps: &[(i64, u64)]) -> Rows<u64> {
        let mut rows = Rows::default();
        for (second, offset) in stamps {
            rows.insert(stamp(*second, *offset), *offset);
        }
        rows
    }

    fn seconds(rows: &Rows<u64>) -> Vec<i64> {
        let second = |(stamp, _): &(Stamp, u64)| stamp.time.as_micros() / 1_000_000;
        rows.rows.iter().map(second).collect()
    }

    #[test]
    fn of_one_instant_the_row_that_was_read_last_stands_whichever_comes_first() {
        for order in [[(5, 1), (5, 2)], [(5, 2), (5, 1)]] {
            let rows = rows(&order);
            assert_eq!(rows.find(at(5), secs(0)), Some(&2));
            assert_eq!(rows.rows.len(), 1);
        }
    }

    #[test]
    fn rows_that_no_event_to_come_can_meet_are_dropped() {
        let check = |watermark: i64, left: &[i64]| {
            let mut rows = rows(&[(1, 0), (4, 1), (9, 2)]);
            rows.trim(secs(10), Watermark::active(at(watermark)));
            assert_eq!(seconds(&rows), left, "at {watermark}");
        };
        check(4, &[1, 4, 9]);
        check(5, &[4, 9]);
        check(10, &[9]);
        check(19, &[9]);
        check(20, &[]);
    }

    #[test]
    fn ages_hold_at_the_limits_of_time() {
        let mut rows = Rows::default();
        let end = |time| Stamp {
            time,
            ..stamp(0, 0)
        };
        rows.insert(end(EventTime::MIN), 'a');
        rows.insert(end(EventTime::MAX), 'z');
        assert_eq!(rows.find(EventTime::MIN, secs(1)), Some(&'a'));
        assert_eq!(rows.find(at(0), secs(1)), None);
        assert_eq!(rows.find(at(0), Duration::MAX), Some(&'a'));
        assert_eq!(rows.find(EventTime::MAX, secs(1)), Some(&'z'));
        rows.trim(secs(1), Watermark::active(at(0)));
        assert_eq!(rows.rows.len(), 1);
        assert_eq!(rows.deadline(&secs(1)), None);
    }

    #[test]
    fn a_late_row_is_wanted_as_long_as_an_event_to_come_can_meet_it() {
        let check = |second, expected| {
            let rows = rows(&[(5, 0), (12, 1)]);
            let wanted = rows.wants(stamp(second, 2), secs(10), Watermark::active(at(8)));
            assert_eq!(wanted, expected, "at {second}");
        };
        check(-3, false);
        check(4, false);
        check(5, true);
        check(6, true);
    }

    #[test]
    fn version_1_is_read_and_written() {
        check_format(
            &rows(&[(1, 7), (4, 1)]),
            "010280897a000007000780a4e8030000010001",
        );
    }
}
