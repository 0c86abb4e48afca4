//! The figures of one process on their way to another, which adds them to its own.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::{StepKind, Telemetry, lock};
use crate::ledger::Fates;

/// All figures of a process at its end.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    fates: Fates,
    steps: Vec<StepFigures>,
    gauges: Vec<(String, f64)>,
    counters: Vec<(String, u64)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct StepFigures {
    id: String,
    kind: StepKind,
    records_in: u64,
    records_out: u64,
    /// Latencies in nanoseconds, and how often each occurred.
    latencies: Vec<(u64, u64)>,
}

impl Telemetry {
    /// What has been measured here.
    pub(crate) fn figures(&self) -> Figures {
        let steps = self.steps().into_iter().map(|step| StepFigures {
            id: step.id.clone(),
            kind: step.kind,
            records_in: step.records_in(),
            records_out: step.records_out(),
            latencies: lock(&step.latency_ns)
                .iter_recorded()
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
        });
        Figures {
            fates: self.ledger.fates(),
            steps: steps.collect(),
            gauges: self.gauges(),
            counters: self.counters(),
        }
    }

    /// Adds what another process has measured. A number that was set here stays.
    pub(crate) fn absorb(&self, figures: &Figures) {
        {
            let mut absorbed = lock(&self.absorbed);
            *absorbed = absorbed.plus(figures.fates);
        }
        for theirs in &figures.steps {
            let own = self.step(&theirs.id, theirs.kind);
            own.records_in
                .fetch_add(theirs.records_in, Ordering::Relaxed);
            own.records_out
                .fetch_add(theirs.records_out, Ordering::Relaxed);
            let mut latencies = lock(&own.latency_ns);
            for (latency_ns, count) in &theirs.latencies {
                latencies.saturating_record_n(*latency_ns, *count);
            }
        }
        for (name, value) in &figures.gauges {
            let own = self.gauge(name);
            if own.get().is_nan() {
                own.set(*value);
            }
        }
        for (name, count) in &figures.counters {
            self.counter(name).add(*count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::Fate;
    use crate::record::Origin;

    fn measured(records: u64, quality: Option<f64>) -> Telemetry {
        let telemetry = Telemetry::default();
        let step = telemetry.step("out", StepKind::Sink);
        step.records((0..records as usize).map(|n| (n as u64 + 1) * 1_000_000));
        telemetry.counter("alerts").add(records);
        quality.inspect(|quality| telemetry.gauge("auc").set(*quality));
        let mut pen = Arc::clone(telemetry.ledger()).pen();
        for offset in 0..records {
            let origin = Origin {
                offset,
                ..Origin::default()
            };
            pen.read(origin);
            pen.mark(origin, Fate::Processed);
        }
        telemetry
    }

    #[test]
    fn figures_add_up_over_their_way() {
        let own = measured(100, None);
        let theirs = measured(300, Some(0.75)).figures();
        let bytes = postcard::to_allocvec(&theirs).expect("figures can be written");
        let read = postcard::from_bytes(&bytes).expect("they can be read");
        assert_eq!(theirs, read);
        own.absorb(&read);
        assert_eq!(own.fates().records_in, 400);
        assert!(own.fates().balance());
        assert_eq!(own.step("out", StepKind::Sink).records_in(), 400);
        assert_eq!(own.counter("alerts").get(), 400);
        assert_eq!(own.gauge("auc").get(), 0.75);
        let p50 = own.sink_latency().p50;
        assert!((p50 - 100_000.0).abs() < 1_000.0, "{p50}");
        own.absorb(&measured(1, Some(0.5)).figures());
        assert_eq!(own.gauge("auc").get(), 0.75);
    }
}
