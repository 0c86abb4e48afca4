//! The monitor: a worker's part of a drift step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::partial::WindowPartial;
use super::plan::{StateMismatch, WatchPlan};

/// Counts a worker's rows into the histograms of the event-time windows that hold them.
///
/// Knows nothing of lateness: a row of a window that was taken before opens it again, and the
/// [`Merger`](super::Merger) decides whether its partial still counts.
#[derive(Clone, Debug)]
pub struct Monitor {
    plan: Arc<WatchPlan>,
    /// By window start.
    open: Vec<WindowPartial>,
    /// Index in `open` of the window that took the last row.
    last: usize,
}

/// What a [`Monitor`] must keep over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorState {
    fingerprint: u64,
    open: Vec<WindowPartial>,
}

impl Monitor {
    /// A monitor that has seen nothing.
    pub fn new(plan: Arc<WatchPlan>) -> Self {
        Self {
            plan,
            open: Vec::new(),
            last: 0,
        }
    }

    /// A monitor that goes on from `state`.
    ///
    /// # Errors
    /// When the state was saved under another reference, other columns or other windows.
    pub fn restore(plan: Arc<WatchPlan>, state: MonitorState) -> Result<Self, StateMismatch> {
        plan.check_fingerprint(state.fingerprint)?;
        Ok(Self {
            plan,
            open: state.open,
            last: 0,
        })
    }

    /// What must be kept over a restart.
    pub fn state(&self) -> MonitorState {
        MonitorState {
            fingerprint: self.plan.fingerprint(),
            open: self.open.clone(),
        }
    }

    /// Counts the row of event time `at`, its values in the order of the plan's subjects; a NaN
    /// is a null.
    ///
    /// # Panics
    /// When there are not as many values as subjects.
    pub fn add(&mut self, at: EventTime, values: &[f64]) {
        let columns = self.plan.columns();
        assert_eq!(
            values.len(),
            columns.len(),
            "invariant: one value for each watched column"
        );
        if !self
            .open
            .get(self.last)
            .is_some_and(|window| self.holds(window, at))
        {
            self.last = self.find_or_open(self.plan.window_start(at));
        }
        self.open[self.last].add(self.plan.columns(), values);
    }

    /// Takes the windows that end at or before `watermark` out, in the order of their start.
    pub fn take_closed(&mut self, watermark: EventTime) -> Vec<WindowPartial> {
        let plan = &self.plan;
        let closed = self
            .open
            .partition_point(|window| plan.window_end(window.window_start()) <= watermark);
        self.last = 0;
        self.open.drain(..closed).collect()
    }

    /// Whether `window` is the one that holds `at`.
    fn holds(&self, window: &WindowPartial, at: EventTime) -> bool {
        let start = window.window_start();
        start <= at && at < self.plan.window_end(start)
    }

    /// The index of the window that starts at `start`.
    fn find_or_open(&mut self, start: EventTime) -> usize {
        match self
            .open
            .binary_search_by_key(&start, WindowPartial::window_start)
        {
            Ok(index) => index,
            Err(index) => {
                self.open.insert(index, self.plan.empty_window(start));
                index
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut monitor = Monitor::new(plan(10, offset));
        for &second in seconds {
            monitor.add(EventTime::from_seconds(second), &[0.5]);
        }
        let closed = monitor.take_closed(EventTime::from_seconds(watermark));
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
        let mut monitor = Monitor::new(plan(10, 0));
        monitor.add(EventTime::from_seconds(5), &[0.5]);
        assert_eq!(monitor.take_closed(EventTime::from_seconds(10)).len(), 1);
        monitor.add(EventTime::from_seconds(6), &[0.5]);
        assert_eq!(
            monitor.take_closed(EventTime::from_seconds(10))[0].rows(),
            1
        );
        assert!(monitor.take_closed(EventTime::MAX).is_empty());
    }

    #[test]
    fn the_ends_of_time_have_windows_too() {
        let mut monitor = Monitor::new(plan(10, 0));
        monitor.add(EventTime::MAX, &[0.5]);
        monitor.add(EventTime::MIN, &[0.5]);
        assert_eq!(monitor.take_closed(EventTime::MAX).len(), 2);
    }

    #[test]
    fn state_of_another_plan_is_refused() {
        let mut monitor = Monitor::new(plan(10, 0));
        monitor.add(EventTime::from_seconds(5), &[0.5]);
        let json = serde_json::to_string(&monitor.state()).unwrap();
        let state: MonitorState = serde_json::from_str(&json).unwrap();
        let mut restored = Monitor::restore(plan(10, 0), state.clone()).unwrap();
        assert_eq!(
            restored.take_closed(EventTime::MAX),
            monitor.take_closed(EventTime::MAX)
        );
        let refused = Monitor::restore(plan(20, 0), state).unwrap_err();
        assert!(refused.to_string().contains("`watch`"));
    }
}
