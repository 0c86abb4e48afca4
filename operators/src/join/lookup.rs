//! The lookup in an upsert table: how it is asked for, and the row of a key.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::record::Data;
use thalweg_engine::time::EventTime;
use thalweg_engine::version::Version;
use thalweg_engine::watermark::Watermark;

use super::{Ageing, LatePolicy, Stamp, Table};

/// How events look up the row of their key in an upsert table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub(crate) ttl: Duration,
    pub(crate) late: LatePolicy,
}

impl Lookup {
    /// A row stands until it is replaced or deleted: the table keeps a row for every key it has ever
    /// seen and that was not deleted.
    pub fn forever() -> Self {
        Self::ttl(Duration::MAX)
    }

    /// A row that is not replaced stands for `ttl` of event time; then it is dropped, and an event
    /// later than that does not meet it.
    pub fn ttl(ttl: Duration) -> Self {
        Self {
            ttl,
            late: LatePolicy::default(),
        }
    }

    /// What becomes of events and rows behind the watermark.
    #[must_use]
    pub fn late(mut self, policy: LatePolicy) -> Self {
        self.late = policy;
        self
    }
}

/// The row of one key that stands: the one with the latest event time and, of one instant, the
/// greatest origin. A deletion stands as a row without a value, until the watermark has passed it:
/// an older row that is on its way must not bring back what was deleted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Latest<R> {
    version: Version<1>,
    row: Option<(Stamp, Option<R>)>,
}

impl<R> Default for Latest<R> {
    fn default() -> Self {
        Self {
            version: Version,
            row: None,
        }
    }
}

impl<R: Data> Ageing for Latest<R> {
    type Rule = Duration;

    fn deadline(&self, ttl: &Duration) -> Option<EventTime> {
        let time = match &self.row {
            None => EventTime::MIN,
            Some((stamp, None)) => stamp.time,
            Some((stamp, Some(_))) => stamp.time.saturating_add(*ttl),
        };
        Some(time).filter(|time| *time < EventTime::MAX)
    }

    fn is_empty(&self) -> bool {
        self.row.is_none()
    }
}

impl<R: Data> Table for Latest<R> {
    type Row = Option<R>;
    type Value = R;

    fn wants(&self, stamp: Stamp, ttl: Duration, watermark: Watermark) -> bool {
        let stands = self.row.as_ref().map(|(stamp, _)| *stamp);
        stands <= Some(stamp) && !watermark.has_passed(stamp.time.saturating_add(ttl))
    }

    fn insert(&mut self, stamp: Stamp, row: Option<R>) {
        let stands = self.row.as_ref().map(|(stamp, _)| *stamp);
        if stands <= Some(stamp) {
            self.row = Some((stamp, row));
        }
    }

    fn find(&self, time: EventTime, ttl: Duration) -> Option<&R> {
        let (stamp, row) = self.row.as_ref()?;
        row.as_ref()
            .filter(|_| time <= stamp.time.saturating_add(ttl))
    }

    fn trim(&mut self, ttl: Duration, watermark: Watermark) {
        let over = self.deadline(&ttl);
        if over.is_some_and(|time| watermark.has_passed(time)) {
            self.row = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::testing::check_format;
    use thalweg_engine::time::secs;

    use super::super::testing::{at, stamp};
    use super::*;

    fn latest(rows: &[(i64, u64, Option<char>)]) -> Latest<char> {
        let mut latest = Latest::default();
        for (second, offset, row) in rows {
            latest.insert(stamp(*second, *offset), *row);
        }
        latest
    }

    #[test]
    fn the_latest_row_stands_whichever_comes_first() {
        let check = |rows: &[(i64, u64, Option<char>)], expected: Option<char>| {
            let backward: Vec<_> = rows.iter().rev().copied().collect();
            for rows in [rows, &backward] {
                let found = latest(rows).find(at(9), Duration::MAX).copied();
                assert_eq!(found, expected, "{rows:?}");
            }
        };
        check(&[(1, 0, Some('a')), (2, 1, Some('b'))], Some('b'));
        check(&[(2, 1, Some('a')), (2, 2, Some('b'))], Some('b'));
        check(&[(1, 0, Some('a')), (2, 1, None)], None);
        check(&[(1, 0, None), (2, 1, Some('b'))], Some('b'));
    }

    #[test]
    fn a_deletion_goes_when_the_watermark_has_passed_it_and_a_row_when_its_time_is_over() {
        let check = |row, watermark: i64, left| {
            let mut latest = latest(&[(5, 0, row)]);
            latest.trim(secs(10), Watermark::active(at(watermark)));
            assert_eq!(!latest.is_empty(), left, "{row:?} at {watermark}");
        };
        check(None, 5, true);
        check(None, 6, false);
        check(Some('a'), 15, true);
        check(Some('a'), 16, false);
        assert_eq!(latest(&[(5, 0, Some('a'))]).find(at(16), secs(10)), None);
    }

    #[test]
    fn a_late_row_is_wanted_unless_a_later_one_stands_or_its_time_is_over() {
        let check = |second, expected| {
            let latest = latest(&[(5, 0, Some('a'))]);
            let wanted = latest.wants(stamp(second, 1), secs(10), Watermark::active(at(17)));
            assert_eq!(wanted, expected, "at {second}");
        };
        check(4, false);
        check(6, false);
        check(7, true);
    }

    #[test]
    fn version_1_is_read_and_written() {
        check_format(&latest(&[(4, 1, Some('a'))]), "010180a4e80300000100010161");
        check_format(&latest(&[(4, 1, None)]), "010180a4e8030000010000");
    }
}
