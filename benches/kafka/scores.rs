//! Payments of a topic through features and a model to another topic.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use thalweg::connectors::kafka::{Kafka, KafkaSink};
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::telemetry::Telemetry;

use super::bare::Topic;
use super::consume::payments;
use super::cpu::Measured;
use super::operator;
use super::payments::Payment;

/// What is said of a payment.
#[derive(Serialize)]
struct Score {
    card: u64,
    ts: i64,
    score: f32,
}

pub(crate) fn run(from: &Topic, to: &Topic) -> Measured {
    let telemetry = Arc::new(Telemetry::default());
    let (source, to, told) = (from.clone(), to.clone(), Arc::clone(&telemetry));
    let measured = Measured::of(from.records, move || {
        let build = move |flow: &mut Flow<'_>| score(payments(flow, &source), &to);
        thalweg_engine::run(JobOptions::default(), told, StopHandle::default(), build).unwrap();
    });
    let fates = telemetry.ledger().fates();
    assert_eq!(fates.processed, from.records as u64, "{fates:?}");
    measured
}

/// Scores payments and writes the scores to a topic.
pub(crate) fn score(payments: Stream<'_, Payment>, to: &Topic) -> BuildResult {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/fraud_features/model");
    let sink = KafkaSink::encoded(
        &Kafka::at(&*to.brokers),
        &*to.name,
        |record: &Record<Scored<Payment>>, bytes| {
            let Scored { event, score, .. } = &record.value;
            let (card, ts, score) = (event.card, event.ts, *score);
            serde_json::to_writer(bytes, &Score { card, ts, score })
                .map_err(|error| error.to_string())
        },
    );
    payments
        .key_by(|p| p.card)
        .features("card", operator::declare)
        .infer("model", &Onnx::load(model)?)
        .into_stream()
        .sink(
            "scores",
            sink.key(|scored| Some(scored.event.card.to_string())),
        );
    Ok(())
}
