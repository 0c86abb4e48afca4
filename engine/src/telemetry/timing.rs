//! How long something takes that happens again and again, by name; and what waits, and why.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;

use super::{Latency, Telemetry, latency_histogram, lock};

/// How long something has taken, each time.
#[derive(Clone)]
pub struct Timing(Arc<Mutex<Histogram<u64>>>);

impl Timing {
    /// Adds one time, in nanoseconds.
    pub fn record_ns(&self, ns: u64) {
        lock(&self.0).saturating_record(ns.max(1));
    }

    /// Percentiles.
    pub fn latency(&self) -> Latency {
        Latency::of(&lock(&self.0))
    }

    /// How often it has been measured, and the sum in seconds.
    pub fn totals(&self) -> (u64, f64) {
        let times_ns = lock(&self.0);
        let count = times_ns.len();
        (count, times_ns.mean() * count as f64 / 1e9)
    }
}

/// Something that cannot go on for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What is waited with, such as `checkpoint`.
    pub what: String,
    /// Whose it is: a step, or a file.
    pub whose: String,
    /// Why, in words.
    pub reason: String,
}

impl Telemetry {
    /// The named timing, made at the first call.
    pub fn timing(&self, name: &str) -> Timing {
        let unused = || Timing(Arc::new(Mutex::new(latency_histogram())));
        let mut timings = lock(&self.timings);
        let timing = timings.entry(name.to_owned()).or_insert_with(unused);
        timing.clone()
    }

    /// All named timings, by name.
    pub fn timings(&self) -> Vec<(String, Timing)> {
        let timings = lock(&self.timings);
        let timings = timings.iter();
        timings
            .map(|(name, timing)| (name.clone(), timing.clone()))
            .collect()
    }

    /// Notes that something waits, and why; or, without a reason, that it goes on.
    pub(crate) fn set_waiting(&self, what: &str, whose: &str, reason: Option<String>) {
        let mut waiting = lock(&self.waiting);
        let key = (what.to_owned(), whose.to_owned());
        match reason {
            Some(reason) => waiting.insert(key, reason),
            None => waiting.remove(&key),
        };
    }

    /// All that cannot go on for now.
    pub fn waiting(&self) -> Vec<Waiting> {
        let waiting = lock(&self.waiting);
        let waiting = waiting.iter().map(|((what, whose), reason)| Waiting {
            what: what.clone(),
            whose: whose.clone(),
            reason: reason.clone(),
        });
        waiting.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_one_name_are_of_one_timing() {
        let telemetry = Telemetry::default();
        telemetry.timing("seal").record_ns(1_000_000_000);
        telemetry.timing("seal").record_ns(3_000_000_000);
        let (count, sum) = telemetry.timing("seal").totals();
        assert!(count == 2 && (sum - 4.0).abs() < 0.01, "{count}: {sum}");
        let p99_us = telemetry.timings()[0].1.latency().p99;
        assert!((p99_us / 1e6 - 3.0).abs() < 0.01, "{p99_us}");
    }

    #[test]
    fn what_waits_is_told_until_it_goes_on() {
        let telemetry = Telemetry::default();
        telemetry.set_waiting("checkpoint", "card", Some("no room".to_owned()));
        let waiting = telemetry.waiting();
        assert_eq!((waiting.len(), waiting[0].reason.as_str()), (1, "no room"));
        telemetry.set_waiting("checkpoint", "manifest", None);
        assert_eq!(telemetry.waiting(), waiting);
        telemetry.set_waiting("checkpoint", "card", None);
        assert_eq!(telemetry.waiting(), []);
    }
}
