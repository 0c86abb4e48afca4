//! A topic through the dataflow, where each record is decoded and counted.

use std::sync::Arc;

use thalweg::connectors::kafka::{Kafka, KafkaSource};
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::telemetry::Telemetry;

use super::bare::Topic;
use super::cpu::Measured;
use super::payments::Payment;

pub(crate) fn run(topic: &Topic) -> Measured {
    let telemetry = Arc::new(Telemetry::default());
    let (from, told) = (topic.clone(), Arc::clone(&telemetry));
    let measured = Measured::of(topic.records, move || {
        let build = move |flow: &mut Flow<'_>| {
            // A stream that nobody reads ends there, and its records are counted.
            drop(payments(flow, &from));
            Ok(())
        };
        thalweg_engine::run(JobOptions::default(), told, StopHandle::default(), build).unwrap();
    });
    let fates = telemetry.ledger().fates();
    assert_eq!(fates.processed, topic.records as u64, "{fates:?}");
    measured
}

/// The payments of a topic, to its end.
pub(crate) fn payments<'s>(flow: &Flow<'s>, topic: &Topic) -> Stream<'s, Payment> {
    let kafka = Kafka::at(&*topic.brokers);
    flow.source(
        "payments",
        KafkaSource::json(&kafka, &*topic.name).until_end(),
    )
    .event_time(|p: &Payment| p.at(), hours(48))
}
