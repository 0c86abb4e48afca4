//! Alerting: turns the reports of a drift step into alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::alert::{Alert, AlertState};
use super::lifecycle::{Lifecycle, Rule};
use super::plan::WatchPlan;
use super::report::{DriftReport, SubjectReport};
use super::statistics::Statistic;

/// Keeps the life cycle of every watched subject and statistic of one step.
///
/// Is state alone, to be kept over a restart as it is; every call is given the plan. Subjects and
/// statistics are known by name, so it fits any plan: an alert that fired before a threshold was
/// changed can still resolve after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerting {
    /// Only those that are not quiet.
    lifecycles: BTreeMap<String, BTreeMap<Statistic, Lifecycle>>,
}

impl Alerting {
    /// Takes the next report, in window order, and gives the alerts it sets off: by subject in the
    /// plan's order, and by statistic within a subject.
    pub fn observe(&mut self, plan: &WatchPlan, report: &DriftReport) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (subject, rules) in report.subjects.iter().zip(&plan.rules) {
            for (&statistic, rule) in rules {
                alerts.extend(self.observe_one(report, subject, statistic, rule));
            }
        }
        alerts
    }

    /// How many alerts have fired and are not resolved.
    pub fn firing(&self) -> usize {
        let lifecycles = self.lifecycles.values().flat_map(BTreeMap::values);
        lifecycles
            .filter(|lifecycle| matches!(lifecycle, Lifecycle::Firing { .. }))
            .count()
    }

    fn observe_one(
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
        let state = state?;
        Some(Alert {
            message: message(subject, statistic, state, value, rule),
            dedup_key: Alert::dedup_key(&report.step, &subject.subject, statistic),
            step: report.step.clone(),
            subject: subject.subject.clone(),
            statistic,
            value,
            threshold: rule.threshold,
            state,
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

/// The alert in a sentence; where values have moved to, too, where the statistic is about that.
fn message(
    subject: &SubjectReport,
    statistic: Statistic,
    state: AlertState,
    value: f64,
    rule: &Rule,
) -> String {
    let Rule {
        threshold,
        resolve_below,
        ..
    } = rule;
    let name = &subject.subject;
    match state {
        AlertState::Firing => {
            let to = match subject.shift {
                _ if matches!(statistic, Statistic::NullRate | Statistic::OutOfRangeRate) => "",
                Some(shift) if shift > 0.0 => ", towards higher values",
                Some(shift) if shift < 0.0 => ", towards lower values",
                _ => "",
            };
            format!("{name} has drifted{to}: {statistic} {value:.3} is above {threshold}")
        }
        AlertState::Resolved => {
            format!("{name} is back: {statistic} {value:.3} is below {resolve_below:.3}")
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::{EventTime, days};

    use super::*;
    use crate::drift::{Column, Merger, Monitor, Reference, Watch, statistics};

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
        let (mut monitor, mut merger) = (Monitor::default(), Merger::default());
        let mut alerting = Alerting::default();
        let mut found = Vec::new();
        let mut at = EventTime::from_seconds(0);
        for (number, &Day(rows, from, nulls)) in all_days.iter().enumerate() {
            for row in 0..rows {
                let step = 1000.0 * f64::from(row) / f64::from(rows);
                let delay = from + step * (1.0 - from / 1000.0);
                monitor.add(&plan, at, &[delay, if nulls { f64::NAN } else { step }]);
            }
            at = at.saturating_add(days(1));
            monitor
                .take_closed(&plan, at)
                .into_iter()
                .for_each(|partial| merger.merge(&plan, partial));
            let reports = merger.advance(&plan, at);
            for alert in reports.iter().flat_map(|r| alerting.observe(&plan, r)) {
                let Alert {
                    subject,
                    statistic,
                    state,
                    ..
                } = alert;
                found.push(format!("{number} {subject} {statistic} {state}"));
            }
            let bytes = postcard::to_allocvec(&alerting).unwrap();
            alerting = postcard::from_bytes(&bytes).unwrap();
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
    fn a_subject_can_have_a_threshold_of_its_own() {
        let watch = watch().psi(0.2).above_for("delay", Statistic::Psi, 10.0);
        check(&watch, &[SHIFTED], &[]);
        let watch = watch.above_for("score", Statistic::NullRate, 0.5);
        check(&watch, &[NULLS], &["0 score null_rate firing"]);
    }

    /// The alerts of one day of `rows`.
    fn alerts(watch: Watch, rows: impl Iterator<Item = [f64; 2]>) -> Vec<Alert> {
        let plan = watch.plan("watch", &["delay", "score"]).unwrap();
        let (mut monitor, mut merger) = (Monitor::default(), Merger::default());
        rows.for_each(|row| monitor.add(&plan, EventTime::from_seconds(5), &row));
        monitor
            .take_closed(&plan, EventTime::MAX)
            .into_iter()
            .for_each(|p| merger.merge(&plan, p));
        let mut alerting = Alerting::default();
        let alerts = alerting.observe(&plan, &merger.advance(&plan, EventTime::MAX)[0]);
        assert_eq!(alerting.firing(), alerts.len());
        alerts
    }

    #[test]
    fn alerts_tell_their_window_and_samples() {
        let rows = (0..150).map(|_| [f64::MAX, 500.0]);
        let alerts = alerts(watch().model_version("7"), rows);
        assert_eq!(alerts.len(), 2);
        let alert = &alerts[0];
        assert_eq!((&*alert.dedup_key, alert.samples), ("watch/delay/psi", 150));
        assert_eq!(alert.window_start, EventTime::from_seconds(0));
        assert_eq!(alert.window_end, EventTime::from_seconds(86_400));
        assert_eq!(alert.model_version.as_deref(), Some("7"));
        assert!(alert.value > alert.threshold);
    }

    #[test]
    fn alerts_say_which_way_the_values_went() {
        let low_and_high = (0..200).map(|row| [f64::from(row), f64::from(900 + row % 100)]);
        let messages: Vec<String> = alerts(watch(), low_and_high)
            .into_iter()
            .map(|alert| alert.message)
            .collect();
        let expected = [
            "delay has drifted, towards lower values: psi 6.808 is above 0.2",
            "score has drifted, towards higher values: psi 8.283 is above 0.2",
        ];
        assert_eq!(messages, expected);
        let nulls = (0..200).map(|row| [f64::NAN, f64::from(row * 5)]);
        let rule = watch().above(Statistic::NullRate, 0.5);
        assert_eq!(
            alerts(rule, nulls)[0].message,
            "delay has drifted: null_rate 1.000 is above 0.5"
        );
    }

    /// What [`Watch`] says of chance: 35 columns that have not drifted, 200 samples a window.
    #[test]
    fn chance_alone_hardly_ever_fires() {
        let mut random = 7_u64;
        let mut fired = 0;
        let uniform: Vec<f64> = (0..100_000).map(f64::from).collect();
        let column = Column::from_values("x", &uniform);
        for _ in 0..35 * 1_000 {
            let mut counts = vec![0; column.counts().len()];
            for _ in 0..200 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                counts[column.bin(((random >> 33) % 100_000) as f64)] += 1;
            }
            let psi = statistics::psi(column.counts(), &counts, statistics::PSI_EPSILON);
            fired += u32::from(psi.unwrap() > 0.2);
        }
        assert!(fired <= 5, "{fired} of 35,000");
    }
}
