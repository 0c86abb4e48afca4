//! The merger: adds up the workers' partials and reports each window once, when it is complete.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::partial::WindowPartial;
use super::plan::{StateMismatch, WatchPlan};
use super::report::DriftReport;

/// Merges [`WindowPartial`]s of all workers into one [`DriftReport`] for each window.
///
/// Partials are integer counts, so neither their order nor the number of workers shows in a
/// report. A window without rows has no report. A window is closed once the watermark has reached
/// its end; a partial that comes for it after that is dropped and counted.
#[derive(Clone, Debug)]
pub struct Merger {
    plan: Arc<WatchPlan>,
    open: BTreeMap<EventTime, WindowPartial>,
    watermark: EventTime,
    late_partials: u64,
    late_rows: u64,
}

/// What a [`Merger`] must keep over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergerState {
    fingerprint: u64,
    open: Vec<WindowPartial>,
    watermark: EventTime,
    late_partials: u64,
    late_rows: u64,
}

impl Merger {
    /// A merger that has seen nothing.
    pub fn new(plan: Arc<WatchPlan>) -> Self {
        let watermark = EventTime::MIN;
        Self {
            plan,
            open: BTreeMap::new(),
            watermark,
            late_partials: 0,
            late_rows: 0,
        }
    }

    /// A merger that goes on from `state`.
    ///
    /// # Errors
    /// When the state was saved under another reference, other columns or other windows.
    pub fn restore(plan: Arc<WatchPlan>, state: MergerState) -> Result<Self, StateMismatch> {
        plan.check_fingerprint(state.fingerprint)?;
        let MergerState {
            open,
            watermark,
            late_partials,
            late_rows,
            ..
        } = state;
        let open = open
            .into_iter()
            .map(|window| (window.window_start(), window))
            .collect();
        Ok(Self {
            plan,
            open,
            watermark,
            late_partials,
            late_rows,
        })
    }

    /// What must be kept over a restart.
    pub fn state(&self) -> MergerState {
        MergerState {
            fingerprint: self.plan.fingerprint(),
            open: self.open.values().cloned().collect(),
            watermark: self.watermark,
            late_partials: self.late_partials,
            late_rows: self.late_rows,
        }
    }

    /// Adds the counts of a worker, or drops and counts them when their window is closed.
    ///
    /// # Panics
    /// When the partial is of another plan.
    pub fn merge(&mut self, partial: WindowPartial) {
        let start = partial.window_start();
        if self.plan.window_end(start) <= self.watermark {
            self.late_partials += 1;
            self.late_rows += partial.rows();
            return;
        }
        let window = self
            .open
            .entry(start)
            .or_insert_with(|| self.plan.empty_window(start));
        window.merge(&partial);
    }

    /// Reports the windows that end at or before `watermark`, in their order; a watermark behind
    /// an earlier one changes nothing.
    pub fn advance(&mut self, watermark: EventTime) -> Vec<DriftReport> {
        self.watermark = self.watermark.max(watermark);
        let mut reports = Vec::new();
        while let Some(window) = self.open.first_entry() {
            if self.plan.window_end(*window.key()) > self.watermark {
                break;
            }
            reports.push(DriftReport::new(&self.plan, &window.remove()));
        }
        reports
    }

    /// How many partials were dropped because their window was closed.
    pub fn late_partials(&self) -> u64 {
        self.late_partials
    }

    /// How many rows those partials had.
    pub fn late_rows(&self) -> u64 {
        self.late_rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_engine::time::secs;

    use super::*;
    use crate::drift::{Column, Monitor, Reference, Watch};

    fn plan() -> Arc<WatchPlan> {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let squares: Vec<f64> = values.iter().map(|x| x * x).collect();
        let columns = vec![
            Column::from_values("x", &values),
            Column::from_values("y", &squares),
        ];
        let watch = Watch::against_reference(Reference::from_columns(columns).unwrap());
        watch
            .every(secs(10))
            .with_shares()
            .model_version("3")
            .plan("watch", &["x", "y"])
            .unwrap()
    }

    fn partial(plan: &Arc<WatchPlan>, second: i64, rows: u64) -> WindowPartial {
        let mut monitor = Monitor::new(Arc::clone(plan));
        (0..rows).for_each(|_| monitor.add(EventTime::from_seconds(second), &[1.0, 2.0]));
        monitor.take_closed(EventTime::MAX).remove(0)
    }

    /// Start in seconds and rows of each report.
    fn summary(reports: &[DriftReport]) -> Vec<(i64, u64)> {
        let row = |r: &DriftReport| (r.window_start.as_micros() / 1_000_000, r.samples);
        reports.iter().map(row).collect()
    }

    #[test]
    fn windows_are_reported_once_and_in_order() {
        let plan = plan();
        let mut merger = Merger::new(Arc::clone(&plan));
        for (second, rows) in [(25, 1), (3, 2), (12, 3), (4, 5)] {
            merger.merge(partial(&plan, second, rows));
        }
        assert!(merger.advance(EventTime::from_seconds(9)).is_empty());
        let reports = merger.advance(EventTime::from_seconds(20));
        assert_eq!(summary(&reports), [(0, 7), (10, 3)]);
        assert_eq!(reports[0].window_end, EventTime::from_seconds(10));
        assert_eq!(
            (&*reports[0].step, reports[0].model_version.as_deref()),
            ("watch", Some("3"))
        );
        assert!(merger.advance(EventTime::from_seconds(20)).is_empty());
        assert_eq!(summary(&merger.advance(EventTime::MAX)), [(20, 1)]);
    }

    #[test]
    fn a_partial_of_a_closed_window_is_dropped_and_counted() {
        let plan = plan();
        let mut merger = Merger::new(Arc::clone(&plan));
        merger.advance(EventTime::from_seconds(10));
        merger.advance(EventTime::from_seconds(5));
        merger.merge(partial(&plan, 3, 4));
        merger.merge(partial(&plan, 12, 1));
        assert_eq!((merger.late_partials(), merger.late_rows()), (1, 4));
        assert_eq!(summary(&merger.advance(EventTime::MAX)), [(10, 1)]);
    }

    #[test]
    fn a_restart_loses_nothing() {
        let plan = plan();
        let mut merger = Merger::new(Arc::clone(&plan));
        merger.advance(EventTime::from_seconds(10));
        merger.merge(partial(&plan, 3, 4));
        merger.merge(partial(&plan, 12, 2));
        let json = serde_json::to_string(&merger.state()).unwrap();
        let state = serde_json::from_str(&json).unwrap();
        let mut restored = Merger::restore(Arc::clone(&plan), state).unwrap();
        restored.merge(partial(&plan, 13, 1));
        restored.merge(partial(&plan, 5, 1));
        assert_eq!(restored.late_rows(), 5);
        assert_eq!(summary(&restored.advance(EventTime::MAX)), [(10, 3)]);
    }

    fn rows() -> impl Strategy<Value = Vec<(i64, f64, f64, usize)>> {
        let value = || prop_oneof![9 => -10.0..9000.0f64, 1 => Just(f64::NAN)];
        prop::collection::vec((-40i64..40, value(), value(), 0usize..5), 0..120)
    }

    proptest! {
        /// `rows` are spread over five workers, which hand over their partials in between.
        #[test]
        fn the_number_of_workers_cannot_be_seen(rows in rows(), hand_over in 1usize..50) {
            let plan = plan();
            let mut alone = Monitor::new(Arc::clone(&plan));
            let mut workers = vec![alone.clone(); 5];
            let mut merger = Merger::new(Arc::clone(&plan));
            for (index, &(second, x, y, worker)) in rows.iter().enumerate() {
                let at = EventTime::from_seconds(second);
                alone.add(at, &[x, y]);
                workers[worker].add(at, &[x, y]);
                if index % hand_over == 0 {
                    workers[worker]
                        .take_closed(EventTime::MAX)
                        .into_iter()
                        .for_each(|partial| merger.merge(partial));
                }
            }
            for worker in workers.iter_mut().rev() {
                let partials = worker.take_closed(EventTime::MAX);
                partials.into_iter().for_each(|partial| merger.merge(partial));
            }
            let mut alone_merger = Merger::new(plan);
            let partials = alone.take_closed(EventTime::MAX);
            partials.into_iter().for_each(|partial| alone_merger.merge(partial));
            let found = serde_json::to_string(&merger.advance(EventTime::MAX)).unwrap();
            let expected = serde_json::to_string(&alone_merger.advance(EventTime::MAX)).unwrap();
            prop_assert_eq!(found, expected);
        }
    }
}
