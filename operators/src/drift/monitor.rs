//! The monitor: a worker's part of a drift step.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::partial::WindowPartial;
use super::plan::{StateMismatch, WatchPlan};

/// Counts a worker's rows into the histograms of the event-time windows that hold them.
///
/// Is state alone, to be kept over a restart as it is; every call is given the plan. Knows nothing
/// of lateness: a row of a window that was taken before opens it again, and the
/// [`Merger`](super::Merger) decides whether its partial still counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Monitor {
    /// The plan's, under which the windows were opened.
    fingerprint: u64,
    /// By window start.
    open: Vec<WindowPartial>,
    /// Index in `open` of the window that took the last row.
    #[serde(skip)]
    last: usize,
}

impl Monitor {
    /// Checks that a monitor can go on under `plan`.
    ///
    /// # Errors
    /// When it has counted under another reference, other columns or other windows.
    pub fn check(&self, plan: &WatchPlan) -> Result<(), StateMismatch> {
        if self.open.is_empty() {
            return Ok(());
        }
        plan.check_fingerprint(self.fingerprint)
    }

    /// Counts the row of event time `at`, its values in the order of the plan's subjects; a NaN
    /// is a null.
    ///
    /// # Panics
    /// When there are not as many values as subjects.
    pub fn add(&mut self, plan: &WatchPlan, at: EventTime, values: &[f64]) {
        let columns = plan.columns();
        assert_eq!(
            values.len(),
            columns.len(),
            "invariant: one value for each watched column"
        );
        let last = self.open.get(self.last);
        if !last.is_some_and(|window| holds(plan, window, at)) {
            self.last = self.find_or_open(plan, plan.window_start(at));
        }
        self.open[self.last].add(columns, values);
    }

    /// Whether there are windows that end at or before `watermark`.
    pub fn has_closed(&self, plan: &WatchPlan, watermark: EventTime) -> bool {
        let first = self.open.first();
        first.is_some_and(|window| plan.window_end(window.window_start()) <= watermark)
    }

    /// Takes the windows that end at or before `watermark` out, in the order of their start.
    pub fn take_closed(&mut self, plan: &WatchPlan, watermark: EventTime) -> Vec<WindowPartial> {
        let closed = self
            .open
            .partition_point(|window| plan.window_end(window.window_start()) <= watermark);
        self.last = 0;
        self.open.drain(..closed).collect()
    }

    /// The index of the window that starts at `start`.
    fn find_or_open(&mut self, plan: &WatchPlan, start: EventTime) -> usize {
        self.fingerprint = plan.fingerprint();
        match self
            .open
            .binary_search_by_key(&start, WindowPartial::window_start)
        {
            Ok(index) => index,
            Err(index) => {
                self.open.insert(index, plan.empty_window(start));
                index
            }
        }
    }
}

/// Whether `window` is the one that holds `at`.
fn holds(plan: &WatchPlan, window: &WindowPartial, at: EventTime) -> bool {
    let start = window.window_start();
    start <= at && at < plan.window_end(start)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use thalweg_engine::time::secs;

    use super::*;
    use crate::drift::{Column, Reference, Watch};

    fn plan(size: u64, offset: u64) -> Arc<WatchPlan> {
        let column = Column::from_values("x", &[0.0, 1.0]);
        let reference = Reference::from_columns(vec![column]).unwrap();
        let watch = Watch::against_reference(reference)
            .every(secs(size))
            .offset(secs(offset));
        watch.plan("watch", &["x"]).unwrap()
    }

    /// Adds a row at each of `seconds`, closes at `watermark`, and compares start and rows of the
    /// windows that come out.
    fn check(offset: u64, seconds: &[i64], watermark: i64, expected: &[(i64, u64)]) {
        let (plan, mut monitor) = (plan(10, offset), Monitor::default());
        for &second in seconds {
            monitor.add(&plan, EventTime::from_seconds(second), &[0.5]);
        }
        let watermark = EventTime::from_seconds(watermark);
        let has_closed = monitor.has_closed(&plan, watermark);
        let closed = monitor.take_closed(&plan, watermark);
        assert_eq!(has_closed, !closed.is_empty());
        let found: Vec<(i64, u64)> = closed
            .iter()
            .map(|partial| {
                (
                    partial.window_start().as_micros() / 1_000_000,
                    partial.rows(),
                )
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_in_any_order_find_their_window() {
        check(0, &[25, 3, 10, 9, 19, 0], 30, &[(0, 3), (10, 2), (20, 1)]);
        check(
            3,
            &[25, 3, 10, 9, 19, 0],
            33,
            &[(-7, 1), (3, 3), (13, 1), (23, 1)],
        );
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_its_end() {
        check(0, &[5, 15], 9, &[]);
        check(0, &[5, 15], 10, &[(0, 1)]);
        check(0, &[5, 15], 19, &[(0, 1)]);
    }

    #[test]
    fn a_window_that_was_taken_opens_again() {
        let (plan, mut monitor) = (plan(10, 0), Monitor::default());
        monitor.add(&plan, EventTime::from_seconds(5), &[0.5]);
        assert_eq!(
            monitor
                .take_closed(&plan, EventTime::from_seconds(10))
                .len(),
            1
        );
        monitor.add(&plan, EventTime::from_seconds(6), &[0.5]);
        assert_eq!(
            monitor.take_closed(&plan, EventTime::from_seconds(10))[0].rows(),
            1
        );
        assert!(monitor.take_closed(&plan, EventTime::MAX).is_empty());
    }

    #[test]
    fn the_ends_of_time_have_windows_too() {
        let (plan, mut monitor) = (plan(10, 0), Monitor::default());
        monitor.add(&plan, EventTime::MAX, &[0.5]);
        monitor.add(&plan, EventTime::MIN, &[0.5]);
        assert_eq!(monitor.take_closed(&plan, EventTime::MAX).len(), 2);
    }

    #[test]
    fn state_of_another_plan_is_refused() {
        let (plan, mut monitor) = (plan(10, 0), Monitor::default());
        monitor.add(&plan, EventTime::from_seconds(5), &[0.5]);
        let bytes = postcard::to_allocvec(&monitor).unwrap();
        let mut restored: Monitor = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(restored.check(&plan), Ok(()));
        let refused = restored.check(&self::plan(20, 0)).unwrap_err();
        assert!(refused.to_string().contains("`watch`"));
        assert_eq!(
            restored.take_closed(&plan, EventTime::MAX),
            monitor.take_closed(&plan, EventTime::MAX)
        );
        assert_eq!(
            restored.check(&self::plan(20, 0)),
            Ok(()),
            "nothing is open"
        );
    }
}
