//! Evaluation of a stream of predictions against labels that come later, or never.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Stream;
use thalweg_engine::job::Order;
use thalweg_engine::key::Key;
use thalweg_engine::keyed::{Context, KeyedStep};
use thalweg_engine::ledger::Fate;
use thalweg_engine::record::{Data, Origin, Record};
use thalweg_engine::relation::Change;
use thalweg_engine::state::KeyedState;
use thalweg_engine::telemetry::Gauge;
use thalweg_engine::time::{EventTime, days};
use thalweg_engine::version::Version;

use crate::evaluate::{InvalidPair, Pair, Periods, QualityReport};

/// How predictions are evaluated.
#[derive(Clone, Copy, Debug)]
pub struct Evaluate {
    period: Duration,
    horizon: Duration,
}

impl Evaluate {
    /// One report per week of event time (Monday to Sunday, UTC) by the time of the prediction.
    pub fn weekly() -> Self {
        Self {
            period: days(7),
            horizon: days(7),
        }
    }

    /// One report per period of this length.
    pub fn every(period: Duration) -> Self {
        Self {
            period,
            horizon: days(7),
        }
    }

    /// How long after its prediction a label still counts; a period's report waits for it.
    #[must_use]
    pub fn horizon(mut self, horizon: Duration) -> Self {
        self.horizon = horizon;
        self
    }
}

/// A prediction to be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Predicted {
    score_bits: u32,
    baseline_bits: u64,
}

impl Predicted {
    /// The model's probability and, beside it, that of a baseline without a model.
    pub fn new(score: f32, baseline: f64) -> Self {
        Self {
            score_bits: score.to_bits(),
            baseline_bits: baseline.to_bits(),
        }
    }

    fn pair(self, label: bool) -> Result<Pair, InvalidPair> {
        let score = f64::from(f32::from_bits(self.score_bits));
        Pair::new(score, label, f64::from_bits(self.baseline_bits))
    }
}

/// Evaluates streams of predictions.
pub trait EvaluateStream<'s, K> {
    /// Joins predictions with labels by key as the labels come, and reports the quality per period.
    fn evaluate(
        self,
        id: &str,
        labels: Stream<'s, (K, bool)>,
        evaluate: Evaluate,
    ) -> Stream<'s, QualityReport>;
}

impl<'s, K: Key> EvaluateStream<'s, K> for Stream<'s, (K, Predicted)> {
    fn evaluate(
        self,
        id: &str,
        labels: Stream<'s, (K, bool)>,
        evaluate: Evaluate,
    ) -> Stream<'s, QualityReport> {
        let telemetry = self.telemetry();
        let gauge = |name: &str| telemetry.gauge(&format!("quality_{name}"));
        let gauges = Gauges {
            labels: gauge("labels"),
            coverage: gauge("coverage"),
            auc: gauge("auc"),
            log_loss: gauge("log_loss"),
            baseline_log_loss: gauge("baseline_log_loss"),
        };
        let changes = self
            .clone()
            .join_latest(&format!("{id}.join"), labels, evaluate.horizon)
            .map(&format!("{id}.changes"), Seen::Change);
        self.map(&format!("{id}.predictions"), |_| Seen::Prediction)
            .merge(&format!("{id}.both"), [changes])
            .key_by(|_| ())
            .step_in(
                Order::Arrival,
                id,
                "evaluate",
                EvaluateStep { evaluate, gauges },
            )
    }
}

#[derive(Clone, Serialize, Deserialize)]
enum Seen<K> {
    Prediction,
    Change(Change<K, Predicted, bool>),
}

struct Gauges {
    labels: Gauge,
    coverage: Gauge,
    auc: Gauge,
    log_loss: Gauge,
    baseline_log_loss: Gauge,
}

impl Gauges {
    fn set(&self, overall: &QualityReport) {
        self.labels.set(overall.labels as f64);
        self.coverage
            .set(overall.label_coverage.unwrap_or(f64::NAN));
        self.auc.set(overall.auc.unwrap_or(f64::NAN));
        self.log_loss.set(overall.log_loss.unwrap_or(f64::NAN));
        self.baseline_log_loss
            .set(overall.baseline_log_loss.unwrap_or(f64::NAN));
    }
}

/// Periods are laid out from a Monday: the epoch was a Thursday.
const MONDAY: Duration = days(4);

/// How many closed periods lie between two looks at the quality of all of them: a look adds up the
/// sums of all periods.
const PERIODS_BETWEEN_LOOKS: usize = 8;

struct EvaluateStep {
    evaluate: Evaluate,
    gauges: Gauges,
}

/// All periods so far.
#[derive(Default, Serialize, Deserialize)]
struct Evaluated {
    format: Version<1>,
    /// `None` before the first prediction.
    periods: Option<Periods>,
    closed: usize,
    given: u64,
}

impl Evaluated {
    fn periods(&mut self, evaluate: &Evaluate) -> &mut Periods {
        self.periods
            .get_or_insert_with(|| Periods::new(evaluate.period, MONDAY))
    }
}

/// Takes a pair in; one whose score is no probability counts as a prediction without a label.
fn insert(periods: &mut Periods, at: EventTime, predicted: Predicted, label: bool) {
    if let Ok(pair) = predicted.pair(label) {
        periods.insert(at, pair);
    }
}

impl<K: Key> KeyedStep<Seen<K>> for EvaluateStep
where
    Seen<K>: Data,
{
    type Key = ();
    type State = Evaluated;
    type Out = QualityReport;

    fn process(
        &mut self,
        (): &(),
        evaluated: &mut Evaluated,
        record: Record<Seen<K>>,
        context: &mut Context<'_, QualityReport>,
    ) {
        let (at, periods) = (record.time, evaluated.periods(&self.evaluate));
        match record.value {
            Seen::Prediction => {
                periods.predicted(at);
                context.finish(record.origin, Fate::Processed);
            }
            Seen::Change(Change::Added { left, right, .. }) => insert(periods, at, left, right),
            Seen::Change(Change::Revised { left, old, new, .. }) => {
                if let Ok(pair) = left.pair(old) {
                    periods.remove(at, pair);
                }
                insert(periods, at, left, new);
            }
        }
    }

    fn advance(
        &mut self,
        state: &mut KeyedState<(), Evaluated>,
        context: &mut Context<'_, QualityReport>,
    ) {
        // Before the first prediction, and on the workers that the one key is not with, there is
        // nothing to tell.
        if state.get(&()).is_none() {
            return;
        }
        let watermark = context.watermark();
        let evaluated = state.entry(&());
        let periods = evaluated.periods(&self.evaluate);
        let reports = periods.close(watermark.time, self.evaluate.horizon);
        let before = evaluated.closed / PERIODS_BETWEEN_LOOKS;
        evaluated.closed += reports.len();
        if watermark.is_end() {
            self.gauges.set(evaluated.periods(&self.evaluate).overall());
        } else if evaluated.closed / PERIODS_BETWEEN_LOOKS != before {
            self.gauges.set(&evaluated.periods(&self.evaluate).so_far());
        }
        for report in reports {
            let origin = Origin::derived(evaluated.given);
            evaluated.given += 1;
            let time: EventTime = report.period_end;
            let ingested_ns = context.now_ns();
            context.emit(Record {
                time,
                origin,
                ingested_ns,
                value: report,
            });
        }
    }

    fn accepts(&self, state: &KeyedState<(), Evaluated>) -> Result<(), String> {
        let periods = state.get(&()).and_then(|e| e.periods.as_ref());
        let other = periods.filter(|periods| periods.size() != self.evaluate.period);
        other.map_or(Ok(()), |periods| {
            Err(format!(
                "its periods are of {:?}, not {:?}: restore with the length they were saved \
                 under, or drop the step's state",
                periods.size(),
                self.evaluate.period
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::testing::check_format;
    use thalweg_engine::time::secs;

    use super::*;

    #[test]
    fn the_format_is_that_of_version_1() {
        let at = EventTime::from_seconds(12);
        let mut periods = Periods::new(secs(10), MONDAY);
        periods.predicted(at);
        insert(&mut periods, at, Predicted::new(0.5, 0.25), true);
        let evaluated = Evaluated {
            periods: Some(periods),
            closed: 3,
            given: 2,
            ..Evaluated::default()
        };
        let read = check_format(
            &evaluated,
            "01010a00808c15000180dac4090101000000000000e03f01000000000000d03f0000ffffffffffffffffff0100\
             0302",
        );
        assert_eq!((read.closed, read.given), (3, 2));
    }
}
