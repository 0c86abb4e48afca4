//! Drift of a scored stream: counted where the rows are, judged in one place.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Stream;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Counter;
use thalweg_engine::watermark::Watermark;

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
    /// Watches the features and the score for drift against the model's reference.
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
                Count::new(plan.as_ref()),
            )
            .key_by(|_| ())
            .step(id, "drift", Judge::new(plan.as_ref(), fired));
        let alerts = judged
            .clone()
            .flat_map(&format!("{id}.alerts"), |judged| judged.alerts);
        let reports = judged.map(&format!("{id}.reports"), |judged| judged.report);
        DriftStreams { reports, alerts }
    }
}

/// Counts the rows of this worker into the histograms of their window.
struct Count {
    monitor: Option<Monitor>,
    row: Vec<f64>,
    sequence: u64,
}

impl Count {
    fn new(plan: Option<&Arc<WatchPlan>>) -> Self {
        Self {
            monitor: plan.cloned().map(Monitor::new),
            row: Vec::new(),
            sequence: 0,
        }
    }
}

impl<T: Data> KeyedStep<Scored<T>> for Count {
    type Key = ();
    type State = ();
    type Out = WindowPartial;

    fn process(
        &mut self,
        (): &(),
        (): &mut (),
        record: Record<Scored<T>>,
        context: &mut Context<'_, WindowPartial>,
    ) {
        self.row.clear();
        self.row.extend_from_slice(&record.value.features);
        self.row.push(f64::from(record.value.score));
        if let Some(monitor) = &mut self.monitor {
            monitor.add(record.time, &self.row);
        }
        context.finish(record.origin, Fate::Processed);
    }

    fn advance(&mut self, _: &mut KeyedState<(), ()>, context: &mut Context<'_, WindowPartial>) {
        let Watermark { time, .. } = context.watermark();
        let closed = self
            .monitor
            .as_mut()
            .map(|monitor| monitor.take_closed(time));
        for value in closed.unwrap_or_default() {
            let origin = Origin::derived(self.sequence);
            self.sequence += 1;
            let time = value.window_start();
            let ingested_ns = context.now_ns();
            context.emit(Record {
                time,
                origin,
                ingested_ns,
                value,
            });
        }
    }
}

/// Adds up the counts of all workers and judges each complete window.
struct Judge {
    judging: Option<(Merger, Alerting)>,
    fired: Counter,
    sequence: u64,
}

impl Judge {
    fn new(plan: Option<&Arc<WatchPlan>>, fired: Counter) -> Self {
        let both = |plan| {
            (
                Merger::new(Arc::clone(plan)),
                Alerting::new(Arc::clone(plan)),
            )
        };
        Self {
            judging: plan.map(both),
            fired,
            sequence: 0,
        }
    }
}

impl KeyedStep<WindowPartial> for Judge {
    type Key = ();
    type State = ();
    type Out = Judged;

    fn process(
        &mut self,
        (): &(),
        (): &mut (),
        record: Record<WindowPartial>,
        _: &mut Context<'_, Judged>,
    ) {
        if let Some((merger, _)) = &mut self.judging {
            merger.merge(record.value);
        }
    }

    fn advance(&mut self, _: &mut KeyedState<(), ()>, context: &mut Context<'_, Judged>) {
        let Some((merger, alerting)) = &mut self.judging else {
            return;
        };
        for report in merger.advance(context.watermark().time) {
            let alerts = alerting.observe(&report);
            let fired = alerts
                .iter()
                .filter(|alert| alert.state == AlertState::Firing)
                .count();
            self.fired.add(fired as u64);
            let origin = Origin::derived(self.sequence);
            self.sequence += 1;
            let (time, ingested_ns) = (report.window_end, context.now_ns());
            context.emit(Record {
                time,
                origin,
                ingested_ns,
                value: Judged { report, alerts },
            });
        }
    }
}
