//! How long after the end of an epoch its records can be seen.

use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::prelude::*;
use thalweg_engine::Checkpointing;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::telemetry::Telemetry;

use super::job::{self, PIPELINE};
use super::payments::{self, Payment};
use super::rounds::Rounds;
use super::{SEED, operator, round};

const PAYMENTS: usize = 1_000_000;
const PARTITIONS: usize = 2;
const RATE: f64 = 100_000.0;
const SECONDS: f64 = 20.0;

/// The job at a steady rate, into a topic of the log, exactly once.
pub(crate) fn measure() -> Value {
    let payments = payments::generate(PAYMENTS, SEED);
    let steady = Rounds::new(&payments, PARTITIONS, 1).at(RATE, SECONDS);
    let (checkpoints, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = JobOptions {
        checkpoints: Some(Checkpointing::new(
            PIPELINE,
            job::options(checkpoints.path()),
        )),
        ..JobOptions::default()
    };
    let telemetry = Arc::new(Telemetry::default());
    let path = log.path().to_owned();
    let build = move |flow: &mut Flow<'_>| {
        let rows = flow
            .source("payments", steady.clone())
            .event_time(|p: &Payment| p.at(), secs(0))
            .key_by(|p| p.card)
            .features("card", operator::declare)
            .into_stream();
        let sums = rows.map("sum", |row| row.features.iter().sum::<f64>());
        sums.sink("sums", LogSink::json(&path, "sums"));
        Ok(())
    };
    thalweg_engine::run(
        options,
        Arc::clone(&telemetry),
        StopHandle::default(),
        build,
    )
    .unwrap();
    let figures = |name: &str| {
        let (epochs, latency) = {
            let timing = telemetry.timing(name);
            (timing.totals().0, timing.latency())
        };
        let seconds = |us: f64| round(us / 1e6);
        eprintln!(
            "  {name:<14} {epochs} epochs at {RATE} events/s: p50 {:.0} ms, p99 {:.0} ms",
            latency.p50 / 1e3,
            latency.p99 / 1e3
        );
        json!({ "p50": seconds(latency.p50), "p99": seconds(latency.p99) })
    };
    json!({
        "seconds_to_seal": figures("epoch_sealed"),
        "seconds_to_visible": figures("epoch_visible"),
    })
}
