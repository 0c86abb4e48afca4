//! Alerting: turns the reports of a drift step into alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::Alert;
use super::lifecycle::{Lifecycle, Rule};
use super::plan::WatchPlan;
use super::report::{DriftReport, SubjectReport};
use super::statistics::Statistic;

/// Keeps the life cycle of every watched subject and statistic of one step.
#[derive(Clone, Debug)]
pub struct Alerting {
    plan: Arc<WatchPlan>,
    state: AlertingState,
}

/// What [`Alerting`] must keep over a restart.
///
/// Subjects and statistics are known by name: a restored state fits any plan, and an alert that
/// fired before a threshold was changed can still resolve after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertingState {
    /// Only those that are not quiet.
    lifecycles: BTreeMap<String, BTreeMap<Statistic, Lifecycle>>,
}

impl Alerting {
    /// Alerting that has seen nothing: everything is quiet.
    pub fn new(plan: Arc<WatchPlan>) -> Self {
        Self::restore(plan, AlertingState::default())
    }

    /// Alerting that goes on from `state`.
    pub fn restore(plan: Arc<WatchPlan>, state: AlertingState) -> Self {
        Self { plan, state }
    }

    /// What must be kept over a restart.
    pub fn state(&self) -> AlertingState {
        self.state.clone()
    }

    /// Takes the next report, in window order, and gives the alerts it sets off: by subject in the
    /// plan's order, and by statistic within a subject.
    pub fn observe(&mut self, report: &DriftReport) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for subject in &report.subjects {
            for (&statistic, rule) in &self.plan.rules {
                alerts.extend(self.state.observe(report, subject, statistic, rule));
            }
        }
        alerts
    }

    /// How many alerts have fired and are not resolved.
    pub fn firing(&self) -> usize {
        let lifecycles = self.state.lifecycles.values().flat_map(BTreeMap::values);
        lifecycles
            .filter(|lifecycle| matches!(lifecycle, Lifecycle::Firing { .. }))
            .count()
    }
}

impl AlertingState {
    fn observe(
        &mut self,
        report: &DriftReport,
        subject: &SubjectReport,
        statistic: Statistic,
        rule: &Rule,
    ) -> Option<Alert> {
        let value = subject.value(statistic)?;
        let samples = subject.samples(statistic);
        let mut lifecycle = self.get(&subject.subject, statistic);
        let state = lifecycle.observe(rule, value, samples);
        self.set(&subject.subject, statistic, lifecycle);
        Some(Alert {
            dedup_key: Alert::dedup_key(&report.step, &subject.subject, statistic),
            step: report.step.clone(),
            subject: subject.subject.clone(),
            statistic,
            value,
            threshold: rule.threshold,
            state: state?,
            window_start: report.window_start,
            window_end: report.window_end,
            samples,
            model_version: report.model_version.clone(),
        })
    }

    fn get(&self, subject: &str, statistic: Statistic) -> Lifecycle {
        let lifecycles = self.lifecycles.get(subject);
        lifecycles
            .and_then(|of| of.get(&statistic))
            .copied()
            .unwrap_or_default()
    }

    fn set(&mut self, subject: &str, statistic: Statistic, lifecycle: Lifecycle) {
        if lifecycle != Lifecycle::Quiet {
            let of_subject = self.lifecycles.entry(subject.to_owned()).or_default();
            of_subject.insert(statistic, lifecycle);
        } else if let Some(of_subject) = self.lifecycles.get_mut(subject) {
            of_subject.remove(&statistic);
            if of_subject.is_empty() {
                self.lifecycles.remove(subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::{EventTime, days};

    use super::*;
    use crate::drift::{Column, Merger, Monitor, Reference, Watch};

    fn watch() -> Watch {
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let column = |name| Column::from_values(name, &values);
        let columns = vec![column("delay"), column("score")];
        Watch::against_reference(Reference::from_columns(columns).unwrap()).minimum_samples(100)
    }

    /// The rows of a day: how many, their delays from where on, and whether scores are null.
    struct Day(u32, f64, bool);

    const USUAL: Day = Day(500, 0.0, false);
    const SHIFTED: Day = Day(500, 500.0, false);
    const SHIFTED_FEW: Day = Day(99, 500.0, false);
    const NULLS: Day = Day(500, 0.0, true);

    /// Runs `days` through the whole step, with a restart after each, and compares
    /// `day subject statistic state` of the alerts.
    fn check(watch: &Watch, all_days: &[Day], expected: &[&str]) {
        let plan = watch.plan("watch", &["delay", "score"]).unwrap();
        let mut monitor = Monitor::new(Arc::clone(&plan));
        let mut merger = Merger::new(Arc::clone(&plan));
        let mut alerting = Alerting::new(Arc::clone(&plan));
        let mut found = Vec::new();
        let mut at = EventTime::from_seconds(0);
        for (number, &Day(rows, from, nulls)) in all_days.iter().enumerate() {
            for row in 0..rows {
                let step = 1000.0 * f64::from(row) / f64::from(rows);
                let delay = from + step * (1.0 - from / 1000.0);
                monitor.add(at, &[delay, if nulls { f64::NAN } else { step }]);
            }
            at = at.saturating_add(days(1));
            monitor
                .take_closed(at)
                .into_iter()
                .for_each(|partial| merger.merge(partial));
            for alert in merger.advance(at).iter().flat_map(|r| alerting.observe(r)) {
                let Alert {
                    subject,
                    statistic,
                    state,
                    ..
                } = alert;
                found.push(format!("{number} {subject} {statistic} {state}"));
            }
            let json = serde_json::to_string(&alerting.state()).unwrap();
            alerting = Alerting::restore(Arc::clone(&plan), serde_json::from_str(&json).unwrap());
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_shift_fires_once_and_resolves_once() {
        check(
            &watch(),
            &[USUAL, SHIFTED, SHIFTED, USUAL, USUAL, SHIFTED],
            &[
                "1 delay psi firing",
                "3 delay psi resolved",
                "5 delay psi firing",
            ],
        );
    }

    #[test]
    fn a_shift_must_last_for_the_windows_asked_for() {
        check(
            &watch().for_windows(2).resolve_after(2),
            &[
                SHIFTED, USUAL, SHIFTED, SHIFTED, USUAL, SHIFTED, USUAL, USUAL,
            ],
            &["3 delay psi firing", "7 delay psi resolved"],
        );
    }

    #[test]
    fn a_day_with_few_rows_neither_fires_nor_resolves() {
        check(&watch(), &[SHIFTED_FEW, USUAL], &[]);
        let few = Day(99, 0.0, false);
        check(&watch(), &[SHIFTED, few, SHIFTED], &["0 delay psi firing"]);
    }

    #[test]
    fn nulls_fire_their_own_rate_alone() {
        check(&watch(), &[NULLS], &[]);
        check(
            &watch().psi(0.2).above(Statistic::NullRate, 0.1),
            &[NULLS, USUAL],
            &["0 score null_rate firing", "1 score null_rate resolved"],
        );
    }

    #[test]
    fn several_statistics_of_a_subject_live_apart() {
        check(
            &watch().above(Statistic::Psi, 0.2).above(Statistic::Ks, 0.4),
            &[SHIFTED, Day(500, 300.0, false), USUAL],
            &[
                "0 delay psi firing",
                "0 delay ks firing",
                "1 delay ks resolved",
                "2 delay psi resolved",
            ],
        );
    }

    #[test]
    fn alerts_tell_their_window_and_samples() {
        let plan = watch()
            .model_version("7")
            .plan("watch", &["delay", "score"])
            .unwrap();
        let mut monitor = Monitor::new(Arc::clone(&plan));
        let mut merger = Merger::new(Arc::clone(&plan));
        (0..150).for_each(|_| monitor.add(EventTime::from_seconds(5), &[f64::MAX, 500.0]));
        monitor
            .take_closed(EventTime::MAX)
            .into_iter()
            .for_each(|p| merger.merge(p));
        let mut alerting = Alerting::new(plan);
        let alerts = alerting.observe(&merger.advance(EventTime::MAX)[0]);
        assert_eq!((alerts.len(), alerting.firing()), (2, 2));
        let alert = &alerts[0];
        assert_eq!((&*alert.dedup_key, alert.samples), ("watch/delay/psi", 150));
        assert_eq!(alert.window_start, EventTime::from_seconds(0));
        assert_eq!(alert.window_end, EventTime::from_seconds(86_400));
        assert_eq!(alert.model_version.as_deref(), Some("7"));
        assert!(alert.value > alert.threshold);
    }
}
