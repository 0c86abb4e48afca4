//! Drift of a scored stream: counted where the rows are, judged in one place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Stream;
use thalweg_engine::key::{LocalKey, key_hash};
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Counter;
use thalweg_engine::time::EventTime;

use super::{Scored, ScoredStream};
use crate::drift::{
    Alert, AlertState, Alerting, DriftReport, Merger, Monitor, Watch, WatchPlan, WindowPartial,
};

/// What a watch gives: one report per window, and the alerts that follow from them.
pub struct DriftStreams<'s> {
    /// The statistics of every window.
    pub reports: Stream<'s, DriftReport>,
    /// Alerts as they begin to fire and as they are resolved.
    pub alerts: Stream<'s, Alert>,
}

/// The reports of a window with the alerts they have caused.
#[derive(Clone, Serialize, Deserialize)]
struct Judged {
    report: DriftReport,
    alerts: Vec<Alert>,
}

impl<'s, T: Data> ScoredStream<'s, T> {
    /// Watches the features and the score, which is called `score`, for drift against the model's
    /// reference, as far as the watch does not leave them out.
    pub fn drift(self, id: &str, watch: Watch) -> DriftStreams<'s> {
        let mut names: Vec<&str> = self.names().iter().map(String::as_str).collect();
        names.push("score");
        let watch = match self.model() {
            Some(model) => watch.model_version(&model.version),
            None => watch,
        };
        let plan = watch.plan(id, &names);
        let stream = self.into_stream();
        let fired = stream.telemetry().counter("alerts_fired");
        let plan = plan.map_err(|error| stream.error(error.to_string())).ok();
        let judged = stream
            .local_step(
                &format!("{id}.count"),
                "drift counts",
                Count {
                    plan: plan.clone(),
                    row: Vec::new(),
                },
            )
            .key_by(|_| ())
            .step(id, "drift", Judge { plan, fired });
        let alerts = judged
            .clone()
            .flat_map(&format!("{id}.alerts"), |judged| judged.alerts);
        let reports = judged.map(&format!("{id}.reports"), |judged| judged.report);
        DriftStreams { reports, alerts }
    }
}

/// Counts the rows of each worker into the histograms of their window.
struct Count {
    /// `None` when it could not be made: the flow will not run.
    plan: Option<Arc<WatchPlan>>,
    row: Vec<f64>,
}

/// What one worker has counted, or has taken over from another: parts that [`Judge`] adds up.
#[derive(Default, Serialize, Deserialize)]
struct Counted {
    monitor: Monitor,
    given: u64,
}

impl<T: Data> KeyedStep<Scored<T>> for Count {
    type Key = LocalKey;
    type State = Counted;
    type Out = WindowPartial;

    fn process(
        &mut self,
        _: &LocalKey,
        counted: &mut Counted,
        record: Record<Scored<T>>,
        context: &mut Context<'_, WindowPartial>,
    ) {
        if let Some(plan) = &self.plan {
            let Scored {
                features, score, ..
            } = &record.value;
            let value = |place: &usize| features.get(*place).copied().unwrap_or((*score).into());
            self.row.clear();
            self.row.extend(plan.places().iter().map(value));
            counted.monitor.add(plan, record.time, &self.row);
        }
        context.finish(record.origin, Fate::Processed);
    }

    fn advance(
        &mut self,
        state: &mut KeyedState<LocalKey, Counted>,
        context: &mut Context<'_, WindowPartial>,
    ) {
        let Some(plan) = &self.plan else { return };
        let watermark = context.watermark().time;
        let closing = state
            .iter()
            .filter(|(_, counted)| counted.monitor.has_closed(plan, watermark));
        let mut closing: Vec<_> = closing.map(|(key, _)| *key).collect();
        closing.sort_unstable();
        for key in closing {
            let counted = state.entry(&key);
            for partial in counted.monitor.take_closed(plan, watermark) {
                let time = partial.window_start();
                context.emit(made(
                    plan,
                    &mut counted.given,
                    time,
                    context.now_ns(),
                    partial,
                ));
            }
        }
    }

    fn accepts(&self, state: &KeyedState<LocalKey, Counted>) -> Result<(), String> {
        let Some(plan) = &self.plan else {
            return Ok(());
        };
        let mut all = state.iter();
        all.try_for_each(|(_, counted)| counted.monitor.check(plan))
            .map_err(|error| error.to_string())
    }
}

/// Adds up the counts of all workers and judges each complete window.
struct Judge {
    plan: Option<Arc<WatchPlan>>,
    fired: Counter,
}

/// The windows that are open, and the alerts that fire.
#[derive(Default, Serialize, Deserialize)]
struct Judging {
    merger: Merger,
    alerting: Alerting,
    given: u64,
}

impl KeyedStep<WindowPartial> for Judge {
    type Key = ();
    type State = Judging;
    type Out = Judged;

    fn process(
        &mut self,
        (): &(),
        judging: &mut Judging,
        record: Record<WindowPartial>,
        _: &mut Context<'_, Judged>,
    ) {
        if let Some(plan) = &self.plan {
            judging.merger.merge(plan, record.value);
        }
    }

    fn advance(&mut self, state: &mut KeyedState<(), Judging>, context: &mut Context<'_, Judged>) {
        // Where nothing has been counted, and on the workers that the one key is not with, there is
        // nothing to judge.
        let Some(plan) = self.plan.as_ref().filter(|_| !state.is_empty()) else {
            return;
        };
        let judging = state.entry(&());
        for report in judging.merger.advance(plan, context.watermark().time) {
            let alerts = judging.alerting.observe(plan, &report);
            let fired = alerts
                .iter()
                .filter(|alert| alert.state == AlertState::Firing)
                .count();
            self.fired.add(fired as u64);
            let (time, now_ns) = (report.window_end, context.now_ns());
            let judged = Judged { report, alerts };
            context.emit(made(plan, &mut judging.given, time, now_ns, judged));
        }
    }

    fn accepts(&self, state: &KeyedState<(), Judging>) -> Result<(), String> {
        let Some((plan, judging)) = self.plan.as_ref().zip(state.get(&())) else {
            return Ok(());
        };
        let checked = judging.merger.check(plan);
        checked.map_err(|error| error.to_string())
    }
}

/// The next record of a step that has given `given`. Its place among the derived records of its
/// event time follows from the step's id, so that what several watches give keeps one order.
fn made<V>(
    plan: &WatchPlan,
    given: &mut u64,
    time: EventTime,
    ingested_ns: u64,
    value: V,
) -> Record<V> {
    let origin = Origin {
        partition: key_hash(&plan.step()) as u32,
        ..Origin::derived(*given)
    };
    *given += 1;
    Record {
        time,
        origin,
        ingested_ns,
        value,
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::job::Order;
    use thalweg_engine::telemetry::Telemetry;
    use thalweg_engine::testing::StepRun;
    use thalweg_engine::time::secs;
    use thalweg_engine::watermark::Watermark;

    use super::*;
    use crate::drift::{Column, Reference};

    fn plan(seconds: u64) -> Arc<WatchPlan> {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        let columns = vec![Column::from_values("x", &values)];
        let watch = Watch::against_reference(Reference::from_columns(columns).unwrap());
        watch.every(secs(seconds)).plan("watch", &["x"]).unwrap()
    }

    fn count(state: &mut KeyedState<LocalKey, Counted>, key: LocalKey, rows: i64) {
        for row in 0..rows {
            let at = EventTime::from_seconds(row % 15);
            let counted = state.entry(&key);
            counted.monitor.add(&plan(10), at, &[row as f64]);
        }
    }

    #[test]
    fn one_worker_goes_on_from_what_three_have_counted() {
        let mut counted = KeyedState::default();
        for worker in 0..3 {
            let mut own = KeyedState::default();
            count(&mut own, LocalKey::of(worker, 3), 20 + worker as i64);
            for bytes in own.take_changed().unwrap().values() {
                counted.restore("watch.count", bytes).unwrap();
            }
        }
        count(&mut counted, LocalKey::of(0, 1), 7);
        let merged = |state: &mut KeyedState<LocalKey, Counted>| {
            let mut merger = Merger::default();
            let keys: Vec<_> = state.iter().map(|(key, _)| *key).collect();
            for key in keys {
                let monitor = &mut state.entry(&key).monitor;
                let closed = monitor.take_closed(&plan(10), EventTime::MAX);
                closed
                    .into_iter()
                    .for_each(|partial| merger.merge(&plan(10), partial));
            }
            merger.advance(&plan(10), EventTime::MAX)
        };
        let mut alone = KeyedState::default();
        for rows in [20, 21, 22, 7] {
            count(&mut alone, LocalKey::of(0, 1), rows);
        }
        let reports = merged(&mut counted);
        assert_eq!(reports.iter().map(|report| report.samples).sum::<u64>(), 70);
        assert_eq!(reports, merged(&mut alone));
    }

    #[test]
    fn a_worker_without_counts_keeps_nothing() {
        let judge = Judge {
            plan: Some(plan(10)),
            fired: Telemetry::default().counter("alerts_fired"),
        };
        let mut run = StepRun::new(Order::EventTime, judge, |_: &WindowPartial| ());
        let given = run.feed(Vec::new(), Watermark::active(EventTime::from_seconds(100)));
        assert!(given.values().is_empty() && run.state().is_empty());
    }

    #[test]
    fn counts_of_another_watch_are_refused() {
        let mut counted = KeyedState::default();
        count(&mut counted, LocalKey::default(), 3);
        let step = |seconds| Count {
            plan: Some(plan(seconds)),
            row: Vec::new(),
        };
        let accepts = |step: Count| KeyedStep::<Scored<u8>>::accepts(&step, &counted);
        assert_eq!(accepts(step(10)), Ok(()));
        assert!(accepts(step(20)).unwrap_err().contains("`watch`"));

        let mut judging = KeyedState::<(), Judging>::default();
        let mut monitor = Monitor::default();
        monitor.add(&plan(10), EventTime::from_seconds(1), &[1.0]);
        let partial = monitor.take_closed(&plan(10), EventTime::MAX).remove(0);
        judging.entry(&()).merger.merge(&plan(10), partial);
        let judge = |seconds| Judge {
            plan: Some(plan(seconds)),
            fired: Telemetry::default().counter("alerts_fired"),
        };
        assert_eq!(judge(10).accepts(&judging), Ok(()));
        assert!(judge(20).accepts(&judging).unwrap_err().contains("`watch`"));
    }
}
