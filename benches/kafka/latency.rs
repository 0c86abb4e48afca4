//! How long it takes from producing a payment to consuming its score.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Deserialize;
use thalweg::connectors::kafka::rdkafka::message::Message;
use thalweg::connectors::kafka::rdkafka::producer::{BaseProducer, Producer};
use thalweg::connectors::kafka::rdkafka::topic_partition_list::Offset;
use thalweg::connectors::kafka::{Kafka, KafkaSource};
use thalweg::prelude::*;
use thalweg_engine::job::{JobOptions, StopHandle};

use super::bare::{Topic, send, text};
use super::payments::{Payment, generate};
use super::{PARTITIONS, SEED, scores};

const PER_SECOND: usize = 10_000;
/// Payments of the first seconds are not counted.
const WARM_UP: usize = 2 * PER_SECOND;
const PAYMENTS: usize = WARM_UP + 10 * PER_SECOND;
/// Payments that are sent together, once a millisecond.
const TOGETHER: usize = PER_SECOND / 1_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is looked at of a score: payments have different times.
#[derive(Deserialize)]
struct Seen {
    ts: i64,
}

/// Percentiles, in microseconds.
pub(crate) fn measure(brokers: &str) -> serde_json::Value {
    let from = Topic::empty(brokers, "live-payments", PARTITIONS);
    let to = Topic::empty(brokers, "live-scores", PARTITIONS);
    let consumer = to.consumer(Offset::Beginning);
    eprintln!(
        "  scoring {PER_SECOND} payments a second for {} seconds",
        PAYMENTS / PER_SECOND
    );
    let stop = StopHandle::default();
    let job = {
        let (from, to, stop) = (from.clone(), to.clone(), stop.clone());
        std::thread::spawn(move || run(&from, &to, stop))
    };
    let begun = Instant::now();
    let sent = Arc::new(Mutex::new(Vec::with_capacity(PAYMENTS)));
    let producer = {
        let sent = Arc::clone(&sent);
        std::thread::spawn(move || produce(&from, begun, &sent))
    };
    let mut latencies_us = Vec::with_capacity(PAYMENTS);
    for _ in 0..PAYMENTS {
        let message = consumer.poll(PATIENCE).expect("a score for each payment");
        let now = begun.elapsed();
        let message = message.unwrap();
        let seen: Seen = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let number = usize::try_from(seen.ts).unwrap();
        let sent = sent.lock().unwrap()[number];
        if number >= WARM_UP {
            latencies_us.push((now - sent).as_micros() as u64);
        }
    }
    producer.join().unwrap();
    stop.stop();
    job.join().unwrap();
    latencies_us.sort_unstable();
    let at = |share: f64| latencies_us[((latencies_us.len() - 1) as f64 * share) as usize];
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    eprintln!("  produce to score, 10,000/s: p50 {p50} us, p99 {p99} us, p99.9 {p999} us");
    serde_json::json!({ "p50": p50, "p99": p99, "p999": p999 })
}

/// Sends payments, whose times are their numbers, and notes when.
fn produce(topic: &Topic, begun: Instant, sent: &Mutex<Vec<Duration>>) {
    let mut config = topic.config();
    config.set("linger.ms", "1");
    let producer: BaseProducer = config.create().unwrap();
    let payments = generate(PAYMENTS, SEED);
    let start = begun.elapsed();
    for (n, payment) in payments.into_iter().enumerate() {
        if n.is_multiple_of(TOGETHER) {
            let due = start + Duration::from_secs_f64(n as f64 / PER_SECOND as f64);
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
            producer.poll(Duration::ZERO);
        }
        let payment = Payment {
            ts: n as i64,
            ..payment
        };
        let text = text(&payment);
        sent.lock().unwrap().push(begun.elapsed());
        send(&producer, topic, &payment, text.as_bytes());
    }
    producer.flush(PATIENCE).unwrap();
}

fn run(from: &Topic, to: &Topic, stop: StopHandle) {
    let (from, to) = (from.clone(), to.clone());
    let build = move |flow: &mut Flow<'_>| {
        let source = KafkaSource::json(&Kafka::at(&*from.brokers), &*from.name);
        let payments = flow
            .source("payments", source)
            .event_time(|p: &Payment| p.at(), hours(48));
        scores::score(payments, &to)
    };
    thalweg_engine::run(JobOptions::default(), Arc::default(), stop, build).unwrap();
}
