//! Distinct: the exact number of different ids in the window; zero when empty.
//!
//! Every window is a suffix of the key's log, so the number is that of the rows in the window that
//! are the last of their id in the log: one bit per row, and a number per window that changes by
//! one. Finding the last row of an id looks through the marked rows of a short log, and in a hash
//! index of a long one. An unbounded window keeps the set of ids it has seen.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::counts::Counts;
use super::kept::of_ids;
use super::tally::Tally;

/// Rows a log may have room for before its ids are indexed; few in tests, so that the property
/// tests go both ways.
pub(crate) const INDEX_ABOVE_ROWS: u32 = if cfg!(test) { 16 } else { 256 };

/// The number of different ids; leaves `ids` sorted and without duplicates.
pub(crate) fn distinct(ids: &mut Vec<u64>) -> usize {
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

/// The number of different ids, exact up to a limit and the limit beyond it; zero when there are
/// none.
///
/// An id takes 16 bytes; at most twice the limit are held. For more there is
/// [`ApproxDistinct`](super::ApproxDistinct).
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Distinct};
///
/// let (distinct, at) = (Distinct::up_to(3), EventTime::from_seconds(1));
/// let mut state = distinct.empty();
/// for id in [7, 8, 7] {
///     distinct.add(&mut state, at, &id);
/// }
/// assert_eq!(distinct.finish(&state, at), 2.0);
/// for id in 9..99 {
///     distinct.add(&mut state, at, &id);
/// }
/// assert_eq!(distinct.finish(&state, at), 3.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Distinct {
    limit: usize,
}

impl Distinct {
    /// Counts up to `limit` different ids; `limit` is the answer where there are more.
    pub fn up_to(limit: usize) -> Self {
        Self { limit }
    }
}

impl Aggregate for Distinct {
    of_ids!();

    type Output = f64;

    fn finish(&self, tally: &Tally, _end: EventTime) -> f64 {
        tally.within(self.limit).map_or(self.limit, Counts::len) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;
    use crate::features::testing::{check, reading, run};
    use thalweg_engine::time::{days, secs};

    #[test]
    fn counts_each_id_once_while_one_of_its_events_is_inside() {
        check(
            |f| {
                let id = |value: f64| (!value.is_nan()).then_some(value as u64);
                f.over(secs(10)).distinct("short", move |e| id(e.value));
                f.over(secs(20)).distinct("long", move |e| id(e.value));
                f.ever().distinct("ever", move |e| id(e.value));
            },
            &[
                reading(0, f64::NAN),
                reading(1, 7.0),
                reading(2, 8.0),
                reading(3, 7.0),
                reading(12, 9.0),
                reading(13, f64::NAN),
                reading(22, 8.0),
            ],
            &[
                &[0.0, 0.0, 0.0],
                &[1.0, 1.0, 1.0],
                &[2.0, 2.0, 2.0],
                &[2.0, 2.0, 2.0],
                &[2.0, 3.0, 3.0],
                &[1.0, 3.0, 3.0],
                &[1.0, 3.0, 3.0],
            ],
        );
    }

    #[test]
    fn ids_of_any_width_and_long_logs_are_exact() {
        let events: Vec<_> = (0..3_000)
            .map(|n| reading(n, (n * n % 97) as f64))
            .collect();
        let rows = run(
            |f| {
                let wide = |value: f64| {
                    if value > 90.0 {
                        u64::MAX - 5
                    } else {
                        value as u64
                    }
                };
                f.over(secs(40)).distinct("short", move |e| wide(e.value));
                f.over(days(1)).distinct("long", move |e| wide(e.value));
            },
            &events,
        );
        for (n, row) in rows.iter().enumerate() {
            for (length, got) in [40, 86_400].into_iter().zip(row) {
                let inside = &events[(n + 1).saturating_sub(length)..=n];
                let ids: std::collections::BTreeSet<u64> =
                    inside.iter().map(|e| (e.value as u64).min(91)).collect();
                assert_eq!(*got, ids.len() as f64, "event {n}, {length} s");
            }
        }
    }

    #[test]
    fn agrees_with_its_oracle() {
        for limit in [1, 4, 100] {
            let distinct = Distinct::up_to(limit);
            oracle::check(&distinct, oracle::ids(), exactly, |events, _| {
                oracle::tally(events).len().min(limit) as f64
            });
        }
    }
}
