//! Last value and time since: what the latest earlier event that counts had, and when it was.
//!
//! A trail holds the latest entry among the key's fixed lanes. While late events are allowed, the
//! entries that such an event may still have before it are kept too; an event so late that its own
//! predecessor is no longer held finds nothing (missing).

use std::collections::VecDeque;

use crate::window::lanes;

/// Entries of a trail that are older than its latest, by time.
pub(crate) type Older = VecDeque<(i64, f64)>;

/// Where a trail lies among a key's lanes: time, then value (NaN while there is no entry).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrailCell {
    /// The first lane.
    pub(crate) at: usize,
}

impl TrailCell {
    /// Lanes that the cell takes.
    pub(crate) const LANES: usize = 4;

    /// Marks the trail as having no entry.
    pub(crate) fn clear(&self, block: &mut [u32]) {
        lanes::set_f64(block, self.at + 2, f64::NAN);
    }

    /// The latest entry at or before `at`.
    pub(crate) fn before(
        &self,
        block: &[u32],
        older: Option<&Older>,
        at: i64,
    ) -> Option<(i64, f64)> {
        let latest = self.latest(block)?;
        if latest.0 <= at {
            return Some(latest);
        }
        let older = older?;
        let after = older.partition_point(|entry| entry.0 <= at);
        after.checked_sub(1).map(|found| older[found])
    }

    /// Adds an entry. Returns an entry to keep among the older ones: the former latest, or the new
    /// one when it is late.
    pub(crate) fn push(&self, block: &mut [u32], at: i64, value: f64) -> Option<(i64, f64)> {
        let former = self.latest(block);
        if former.is_some_and(|latest| at < latest.0) {
            return Some((at, value));
        }
        lanes::set_u64(block, self.at, at.cast_unsigned());
        lanes::set_f64(block, self.at + 2, value);
        former
    }

    /// Keeps an entry among the older ones and lets those go that no event after `edge` can have
    /// as its latest.
    pub(crate) fn keep(
        &self,
        block: &[u32],
        older: &mut Older,
        entry: Option<(i64, f64)>,
        edge: Option<i64>,
    ) {
        if let Some(entry) = entry {
            let place = older.partition_point(|kept| kept.0 <= entry.0);
            older.insert(place, entry);
        }
        let (Some(edge), Some(latest)) = (edge, self.latest(block)) else {
            return;
        };
        while !older.is_empty() && older.get(1).map_or(latest.0, |next| next.0) <= edge {
            older.pop_front();
        }
    }

    fn latest(&self, block: &[u32]) -> Option<(i64, f64)> {
        let value = lanes::get_f64(block, self.at + 2);
        (!value.is_nan()).then(|| (lanes::get_u64(block, self.at).cast_signed(), value))
    }
}

#[cfg(test)]
mod tests {
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn last_is_the_latest_present_value_before_the_event() {
        check(
            |f| f.last("last", |e| e.value),
            &[
                reading(0, 1.0),
                reading(1, f64::NAN),
                reading(1, 2.0),
                reading(1, 3.0),
            ],
            &[&[f64::NAN], &[1.0], &[1.0], &[2.0]],
        );
    }

    #[test]
    fn since_last_is_in_seconds() {
        check(
            |f| f.since_last("since", |e| e.value > 1.0),
            &[
                reading(0, 2.0),
                reading(3, 0.0),
                reading(4, 5.0),
                reading(4, 0.0),
            ],
            &[&[f64::NAN], &[3.0], &[4.0], &[0.0]],
        );
    }

    #[test]
    fn a_late_event_sees_what_was_before_it_and_hides_nothing_newer() {
        check(
            |f| {
                f.lateness(secs(10));
                f.last("last", |e| e.value);
            },
            &[
                reading(0, 1.0),
                reading(20, 2.0),
                reading(12, 3.0),
                reading(11, 4.0),
                reading(15, 5.0),
                reading(20, 6.0),
                reading(60, 7.0),
                reading(50, f64::NAN),
                reading(19, f64::NAN),
            ],
            &[
                &[f64::NAN],
                &[1.0],
                &[1.0],
                &[1.0],
                &[3.0],
                &[2.0],
                &[6.0],
                &[6.0],
                &[f64::NAN],
            ],
        );
    }
}
