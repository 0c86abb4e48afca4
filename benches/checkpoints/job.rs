//! The job fraud-features: sixteen exact features per payment and card.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use thalweg::prelude::*;
use thalweg_engine::Checkpointing;
use thalweg_engine::checkpoint::{CheckpointOptions, Location};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::telemetry::{Latency, Telemetry};

use super::counting::Counting;
use super::operator;
use super::payments::Payment;
use super::rounds::Rounds;

pub(crate) const PIPELINE: &str = "bench";

/// What a run came to.
pub(crate) struct Report {
    pub(crate) events_per_second: f64,
    pub(crate) latency: Latency,
    pub(crate) checkpoints: u64,
    pub(crate) checkpoint_bytes: u64,
}

/// How checkpoints are taken into a folder: an epoch a second.
pub(crate) fn options(folder: &Path) -> CheckpointOptions {
    CheckpointOptions::new(Location::folder(folder))
}

/// Runs the job to its end on one worker, with checkpoints in a folder where there is one.
pub(crate) fn run(payments: &Rounds, folder: Option<&Path>) -> Report {
    let telemetry = Arc::new(Telemetry::default());
    let job = JobOptions {
        checkpoints: folder.map(|folder| Checkpointing::new(PIPELINE, options(folder))),
        ..JobOptions::default()
    };
    let sink = Counting::default();
    let (source, counting, begun) = (payments.clone(), sink.clone(), Instant::now());
    let build = move |flow: &mut Flow<'_>| {
        declare(flow, source.clone(), counting.clone());
        Ok(())
    };
    thalweg_engine::run(job, Arc::clone(&telemetry), StopHandle::default(), build).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(sink.count(), payments.len() as u64);
    Report {
        events_per_second: payments.len() as f64 / seconds,
        latency: telemetry.sink_latency(),
        checkpoints: telemetry.counter("checkpoints").get(),
        checkpoint_bytes: telemetry.counter("checkpoint_bytes").get(),
    }
}

/// Payments to feature rows.
pub(crate) fn declare(flow: &mut Flow<'_>, source: impl Source<Payment>, sink: Counting) {
    flow.source("payments", source)
        .event_time(|p: &Payment| p.at(), secs(0))
        .key_by(|p| p.card)
        .features("card", operator::declare)
        .into_stream()
        .sink("rows", sink);
}
