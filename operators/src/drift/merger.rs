//! The merger: adds up the workers' partials and reports each window once, when it is complete.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::partial::WindowPartial;
use super::plan::{StateMismatch, WatchPlan};
use super::report::DriftReport;

/// Merges [`WindowPartial`]s of all workers into one [`DriftReport`] for each window.
///
/// Is state alone, to be kept over a restart as it is; every call is given the plan. Partials are
/// integer counts, so neither their order nor the number of workers shows in a report. A window
/// without rows has no report. A window is closed once the watermark has reached its end; a partial
/// that comes for it after that is dropped and counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Merger {
    /// The plan's, under which the windows were opened.
    fingerprint: u64,
    /// By window start.
    open: BTreeMap<EventTime, WindowPartial>,
    watermark: EventTime,
    late_partials: u64,
    late_rows: u64,
}

impl Default for Merger {
    fn default() -> Self {
        Self {
            fingerprint: 0,
            open: BTreeMap::new(),
            watermark: EventTime::MIN,
            late_partials: 0,
            late_rows: 0,
        }
    }
}

impl Merger {
    /// Checks that a merger can go on under `plan`.
    ///
    /// # Errors
    /// When it has windows open under another reference, other columns or other windows.
    pub fn check(&self, plan: &WatchPlan) -> Result<(), StateMismatch> {
        if self.open.is_empty() {
            return Ok(());
        }
        plan.check_fingerprint(self.fingerprint)
    }

    /// Adds the counts of a worker, or drops and counts them when their window is closed.
    ///
    /// # Panics
    /// When the partial is of another plan.
    pub fn merge(&mut self, plan: &WatchPlan, partial: WindowPartial) {
        let start = partial.window_start();
        if plan.window_end(start) <= self.watermark {
            self.late_partials += 1;
            self.late_rows += partial.rows();
            return;
        }
        let window = self.open.entry(start).or_insert_with(|| {
            self.fingerprint = plan.fingerprint();
            plan.empty_window(start)
        });
        window.merge(&partial);
    }

    /// Reports the windows that end at or before `watermark`, in their order; a watermark behind
    /// an earlier one changes nothing.
    pub fn advance(&mut self, plan: &WatchPlan, watermark: EventTime) -> Vec<DriftReport> {
        self.watermark = self.watermark.max(watermark);
        let mut reports = Vec::new();
        while let Some(window) = self.open.first_entry() {
            if plan.window_end(*window.key()) > self.watermark {
                break;
            }
            reports.push(DriftReport::new(plan, &window.remove()));
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
    use std::sync::Arc;

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

    fn partial(plan: &WatchPlan, second: i64, rows: u64) -> WindowPartial {
        let mut monitor = Monitor::default();
        (0..rows).for_each(|_| monitor.add(plan, EventTime::from_seconds(second), &[1.0, 2.0]));
        monitor.take_closed(plan, EventTime::MAX).remove(0)
    }

    /// Start in seconds and rows of each report.
    fn summary(reports: &[DriftReport]) -> Vec<(i64, u64)> {
        let row = |r: &DriftReport| (r.window_start.as_micros() / 1_000_000, r.samples);
        reports.iter().map(row).collect()
    }

    #[test]
    fn windows_are_reported_once_and_in_order() {
        let plan = plan();
        let mut merger = Merger::default();
        for (second, rows) in [(25, 1), (3, 2), (12, 3), (4, 5)] {
            merger.merge(&plan, partial(&plan, second, rows));
        }
        assert!(merger.advance(&plan, EventTime::from_seconds(9)).is_empty());
        let reports = merger.advance(&plan, EventTime::from_seconds(20));
        assert_eq!(summary(&reports), [(0, 7), (10, 3)]);
        assert_eq!(reports[0].window_end, EventTime::from_seconds(10));
        assert_eq!(
            (&*reports[0].step, reports[0].model_version.as_deref()),
            ("watch", Some("3"))
        );
        assert!(
            merger
                .advance(&plan, EventTime::from_seconds(20))
                .is_empty()
        );
        assert_eq!(summary(&merger.advance(&plan, EventTime::MAX)), [(20, 1)]);
    }

    #[test]
    fn a_partial_of_a_closed_window_is_dropped_and_counted() {
        let plan = plan();
        let mut merger = Merger::default();
        merger.advance(&plan, EventTime::from_seconds(10));
        merger.advance(&plan, EventTime::from_seconds(5));
        merger.merge(&plan, partial(&plan, 3, 4));
        merger.merge(&plan, partial(&plan, 12, 1));
        assert_eq!((merger.late_partials(), merger.late_rows()), (1, 4));
        assert_eq!(summary(&merger.advance(&plan, EventTime::MAX)), [(10, 1)]);
    }

    #[test]
    fn a_restart_loses_nothing() {
        let plan = plan();
        let mut merger = Merger::default();
        merger.advance(&plan, EventTime::from_seconds(10));
        merger.merge(&plan, partial(&plan, 3, 4));
        merger.merge(&plan, partial(&plan, 12, 2));
        let bytes = postcard::to_allocvec(&merger).unwrap();
        let mut restored: Merger = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(restored.check(&plan), Ok(()));
        restored.merge(&plan, partial(&plan, 13, 1));
        restored.merge(&plan, partial(&plan, 5, 1));
        assert_eq!(restored.late_rows(), 5);
        assert_eq!(summary(&restored.advance(&plan, EventTime::MAX)), [(10, 3)]);
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
            let mut alone = Monitor::default();
            let mut workers = vec![alone.clone(); 5];
            let mut merger = Merger::default();
            for (index, &(second, x, y, worker)) in rows.iter().enumerate() {
                let at = EventTime::from_seconds(second);
                alone.add(&plan, at, &[x, y]);
                workers[worker].add(&plan, at, &[x, y]);
                if index % hand_over == 0 {
                    workers[worker]
                        .take_closed(&plan, EventTime::MAX)
                        .into_iter()
                        .for_each(|partial| merger.merge(&plan, partial));
                }
            }
            for worker in workers.iter_mut().rev() {
                let partials = worker.take_closed(&plan, EventTime::MAX);
                partials.into_iter().for_each(|partial| merger.merge(&plan, partial));
            }
            let mut alone_merger = Merger::default();
            let partials = alone.take_closed(&plan, EventTime::MAX);
            partials.into_iter().for_each(|partial| alone_merger.merge(&plan, partial));
            let found = serde_json::to_string(&merger.advance(&plan, EventTime::MAX)).unwrap();
            let expected = serde_json::to_string(&alone_merger.advance(&plan, EventTime::MAX)).unwrap();
            prop_assert_eq!(found, expected);
        }
    }
}
