//! What a running job tells about itself: counters and latencies per step, named figures, fates.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::ledger::{Fates, Ledger};
use crate::time::EventTime;

mod figures;
mod status;
mod timing;

pub(crate) use figures::Figures;
pub use status::{Health, Status};
pub use timing::{Timing, Waiting};

/// The latency histogram's range: one nanosecond to one day, three significant digits.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 86_400_000_000_000, 3).expect("invariant: the bounds are valid")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a step does in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Reads records from outside.
    Source,
    /// Transforms records one by one.
    Transform,
    /// Takes records out.
    Filter,
    /// Unites streams.
    Merge,
    /// Keeps state per key.
    Keyed,
    /// Scores records with a model.
    Infer,
    /// Writes records to the outside.
    Sink,
}

impl StepKind {
    /// The kind in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Filter => "filter",
            Self::Merge => "merge",
            Self::Keyed => "keyed",
            Self::Infer => "infer",
            Self::Sink => "sink",
        }
    }
}

/// The figures of one step, summed over the workers of this process.
pub struct StepMetrics {
    /// The step's id.
    pub id: String,
    /// What the step does.
    pub kind: StepKind,
    records_in: AtomicU64,
    records_out: AtomicU64,
    latency_ns: Mutex<Histogram<u64>>,
}

impl StepMetrics {
    /// Counts a packet taken in and given on, and how long after its ingestion that was.
    pub(crate) fn packet(&self, taken: usize, given: usize, latency_ns: Option<u64>) {
        self.records_in.fetch_add(taken as u64, Ordering::Relaxed);
        self.records_out.fetch_add(given as u64, Ordering::Relaxed);
        if let Some(latency_ns) = latency_ns {
            lock(&self.latency_ns).saturating_record(latency_ns.max(1));
        }
    }

    /// Counts records, each with its latency; those of neighbours, which are often the same, at once.
    pub(crate) fn records(&self, latencies_ns: impl Iterator<Item = u64>) {
        let mut histogram = lock(&self.latency_ns);
        let mut latencies_ns = latencies_ns.peekable();
        let mut records = 0;
        while let Some(latency_ns) = latencies_ns.next() {
            let mut alike = 1;
            while latencies_ns.next_if_eq(&latency_ns).is_some() {
                alike += 1;
            }
            histogram.saturating_record_n(latency_ns.max(1), alike);
            records += alike;
        }
        self.records_in.fetch_add(records, Ordering::Relaxed);
    }

    /// Records taken in.
    pub fn records_in(&self) -> u64 {
        self.records_in.load(Ordering::Relaxed)
    }

    /// Records given on.
    pub fn records_out(&self) -> u64 {
        self.records_out.load(Ordering::Relaxed)
    }

    /// Percentiles of the time from a record's ingestion to this step.
    pub fn latency(&self) -> Latency {
        Latency::of(&lock(&self.latency_ns))
    }

    /// How many latencies have been measured, and their sum in seconds.
    pub fn latency_totals(&self) -> (u64, f64) {
        let latency_ns = lock(&self.latency_ns);
        let count = latency_ns.len();
        (count, latency_ns.mean() * count as f64 / 1e9)
    }
}

/// Percentiles of a latency in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: micros(0.5),
            p99: micros(0.99),
            p999: micros(0.999),
        }
    }
}

/// A number that is set from time to time; `NaN` until it has been.
#[derive(Clone)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The number as last set.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A count that only grows.
#[derive(Clone)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to the count.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All figures of a job; shared by its workers and whoever watches.
#[derive(Default)]
pub struct Telemetry {
    steps: Mutex<Vec<Arc<StepMetrics>>>,
    gauges: Mutex<BTreeMap<String, Gauge>>,
    counters: Mutex<BTreeMap<String, Counter>>,
    timings: Mutex<BTreeMap<String, Timing>>,
    infos: Mutex<BTreeMap<String, String>>,
    /// Reasons, by what waits and whose it is.
    waiting: Mutex<BTreeMap<(String, String), String>>,
    watermarks: Mutex<BTreeMap<(u16, u32), EventTime>>,
    source_names: Mutex<BTreeMap<u16, String>>,
    partition_names: Mutex<BTreeMap<(u16, u32), String>>,
    ledger: Arc<Ledger>,
    /// What became of the records that other processes have read, once the cluster has ended.
    absorbed: Mutex<Fates>,
    /// Asks the running job how it is.
    ask: Mutex<Option<Box<dyn Fn() -> Status + Send + Sync>>>,
}

impl Telemetry {
    /// The figures of a step, made at the first call.
    pub fn step(&self, id: &str, kind: StepKind) -> Arc<StepMetrics> {
        let mut steps = lock(&self.steps);
        if let Some(step) = steps.iter().find(|step| step.id == id) {
            return Arc::clone(step);
        }
        let step = Arc::new(StepMetrics {
            id: id.to_owned(),
            kind,
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            latency_ns: Mutex::new(latency_histogram()),
        });
        steps.push(Arc::clone(&step));
        step
    }

    /// All steps, in the order in which the flow declares them.
    pub fn steps(&self) -> Vec<Arc<StepMetrics>> {
        lock(&self.steps).clone()
    }

    /// The named number, made at the first call.
    pub fn gauge(&self, name: &str) -> Gauge {
        let unset = || Gauge(Arc::new(AtomicU64::new(f64::NAN.to_bits())));
        lock(&self.gauges)
            .entry(name.to_owned())
            .or_insert_with(unset)
            .clone()
    }

    /// The named count, made at the first call.
    pub fn counter(&self, name: &str) -> Counter {
        let zero = || Counter(Arc::new(AtomicU64::new(0)));
        lock(&self.counters)
            .entry(name.to_owned())
            .or_insert_with(zero)
            .clone()
    }

    /// All named numbers that have been set, by name.
    pub fn gauges(&self) -> Vec<(String, f64)> {
        let gauges = lock(&self.gauges);
        let gauges = gauges
            .iter()
            .map(|(name, gauge)| (name.clone(), gauge.get()));
        gauges.filter(|(_, value)| !value.is_nan()).collect()
    }

    /// All named counts, by name.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let counters = lock(&self.counters);
        counters
            .iter()
            .map(|(name, count)| (name.clone(), count.get()))
            .collect()
    }

    /// Notes a fact in words, such as a model's version.
    pub fn set_info(&self, name: &str, value: &str) {
        lock(&self.infos).insert(name.to_owned(), value.to_owned());
    }

    /// A fact noted earlier.
    pub fn info(&self, name: &str) -> Option<String> {
        lock(&self.infos).get(name).cloned()
    }

    /// Records read by all sources so far.
    pub fn records_in(&self) -> u64 {
        let steps = lock(&self.steps);
        steps
            .iter()
            .filter(|s| s.kind == StepKind::Source)
            .map(|s| s.records_in())
            .sum()
    }

    /// Percentiles over the records of all sinks that keep them from ingestion.
    pub fn sink_latency(&self) -> Latency {
        let mut all = latency_histogram();
        for step in lock(&self.steps)
            .iter()
            .filter(|step| step.kind == StepKind::Sink)
        {
            all.add(&*lock(&step.latency_ns))
                .expect("invariant: equal bounds");
        }
        Latency::of(&all)
    }

    /// The greatest event time that every source partition has reached.
    pub fn event_time(&self) -> Option<EventTime> {
        let watermarks = lock(&self.watermarks);
        let open = watermarks
            .values()
            .filter(|time| **time != EventTime::MAX)
            .min();
        open.copied().filter(|time| *time != EventTime::MIN)
    }

    pub(crate) fn set_watermark(&self, source: u16, partition: u32, time: EventTime) {
        lock(&self.watermarks).insert((source, partition), time);
    }

    pub(crate) fn set_source_name(&self, source: u16, id: &str) {
        lock(&self.source_names).insert(source, id.to_owned());
    }

    /// The step id of the source that has this number.
    pub(crate) fn source_name(&self, source: u16) -> Option<String> {
        lock(&self.source_names).get(&source).cloned()
    }

    pub(crate) fn set_partition_name(&self, source: u16, partition: u32, name: String) {
        lock(&self.partition_names).insert((source, partition), name);
    }

    /// What a partition of a source is called where it comes from, once it has been opened.
    pub fn partition_name(&self, source: u16, partition: u32) -> Option<String> {
        lock(&self.partition_names)
            .get(&(source, partition))
            .cloned()
    }

    /// What became of all records read so far; at the end of a cluster, in process 0, of those of
    /// all processes.
    pub fn fates(&self) -> Fates {
        self.ledger.fates().plus(*lock(&self.absorbed))
    }

    /// The ledger of what became of every record.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_in_microseconds() {
        let telemetry = Telemetry::default();
        let step = telemetry.step("out", StepKind::Sink);
        let latencies = [1_000_000, 1_000_000, 2_000_000, 3_000_000, 3_000_000];
        step.records(latencies.into_iter());
        step.records([].into_iter());
        assert_eq!((step.records_in(), step.latency_totals().0), (5, 5));
        let latency = telemetry.sink_latency();
        assert!((latency.p50 - 2_000.0).abs() < 4.0, "{latency:?}");
    }

    #[test]
    fn figures_of_one_name_are_one() {
        let telemetry = Telemetry::default();
        telemetry.counter("alerts").add(2);
        telemetry.counter("alerts").add(1);
        assert_eq!(telemetry.counter("alerts").get(), 3);
        assert!(telemetry.gauge("auc").get().is_nan());
    }
}
