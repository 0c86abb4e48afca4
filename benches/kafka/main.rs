//! Kafka as a source and a sink, over a real broker that `tests/brokers` starts.
//!
//! - Consume, decode and count, beside a bare loop of the same client over the same topic, which
//!   looks at no record.
//! - Payments from a topic through the sixteen features of `fraud_features` and its model to another
//!   topic: events for each second of processor time, the same in Python with confluent-kafka and
//!   onnxruntime (`peer.py`), and the time from producing a payment to consuming its score at 10,000
//!   payments a second.
//!
//! Processor time is that of the process that is measured; the broker's is not in it. Ends with one
//! line of JSON on standard output. `-- --only consume|scores|latency` measures one part alone, `-- --hold`
//! goes on with it for a profiler to look.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod bare;
mod consume;
mod cpu;
mod latency;
#[path = "../fraud_features/operator.rs"]
#[allow(dead_code, reason = "the declaration of the features is needed")]
mod operator;
#[path = "../fraud_features/payments.rs"]
mod payments;
mod peer;
#[path = "../../tests/brokers/running.rs"]
#[allow(dead_code, reason = "tests do more with a broker")]
mod running;
mod scores;

use serde_json::{Value, json};

use bare::Topic;
use cpu::Measured;

/// As the ready programs have it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 2_000_000;
/// The Python peer reads so many of them.
const PEER_RECORDS: usize = 200_000;
const RECORD_BYTES: usize = 100;
const PARTITIONS: i32 = 4;
const SEED: u64 = 42;
/// Runs of each side, in turn; the best of each counts.
const RUNS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let is_given = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    // `cargo test --benches` only wants to know that it builds.
    if !is_given("--bench") {
        return;
    }
    let Some(broker) = running::shared("kafka") else {
        return;
    };
    let brokers = broker.address("THALWEG_TEST_KAFKA").to_owned();
    eprintln!("  filling a topic with {RECORDS} payments");
    let payments = payments::generate(RECORDS, SEED);
    let topic = Topic::fill(&brokers, "payments", PARTITIONS, &payments);
    let is_wanted = |part: &str| !is_given("--only") || is_given(part);
    loop {
        let mut line =
            json!({ "bench": "kafka", "records": RECORDS, "record_bytes": RECORD_BYTES });
        if is_wanted("consume") {
            add(&mut line, consumed(&topic));
        }
        if is_wanted("scores") {
            add(&mut line, scored(&brokers, &topic));
        }
        if is_wanted("latency") {
            let latency = latency::measure(&brokers);
            add(
                &mut line,
                json!({ "latency_us_at_10000_per_second": latency }),
            );
        }
        println!("{line}");
        if !is_given("--hold") {
            return;
        }
    }
}

/// Consume, decode and count, beside the bare loop.
fn consumed(topic: &Topic) -> Value {
    let (mut bare, mut ours) = (Measured::default(), Measured::default());
    for run in 1..=RUNS {
        eprintln!("  consuming them, {run} of {RUNS}");
        bare = bare.or_better(bare::run(topic));
        ours = ours.or_better(consume::run(topic));
    }
    bare.print("bare loop");
    ours.print("consume, decode, count");
    json!({
        "consume_over_bare": round(ours.per_second() / bare.per_second()),
        "consume_over_bare_per_core": round(ours.per_core() / bare.per_core()),
        "bare_events_per_second": bare.per_second().round(),
        "bare_events_per_core_second": bare.per_core().round(),
        "consume_events_per_second": ours.per_second().round(),
        "consume_events_per_core_second": ours.per_core().round(),
    })
}

/// Features and model from topic to topic, and the same in Python.
fn scored(brokers: &str, topic: &Topic) -> Value {
    let scores = Topic::empty(brokers, "scores", PARTITIONS);
    let ours = (1..=RUNS).fold(Measured::default(), |best, run| {
        eprintln!("  scoring them, {run} of {RUNS}");
        best.or_better(scores::run(topic, &scores))
    });
    ours.print("features and model");
    let mut line = json!({
        "score_events_per_second": ours.per_second().round(),
        "score_events_per_core_second": ours.per_core().round(),
    });
    eprintln!("  scoring {PEER_RECORDS} of them in Python");
    match peer::run(topic, &scores, PEER_RECORDS) {
        Ok(peer) => {
            peer.print("the same in Python");
            let ratio = ours.per_core() / peer.per_core();
            let peer = json!({
                "python_events_per_second": peer.per_second().round(),
                "python_events_per_core_second": peer.per_core().round(),
                "score_over_python_per_core": round(ratio),
            });
            add(&mut line, peer);
        }
        Err(reason) => eprintln!("  the same in Python is skipped: {reason}"),
    }
    line
}

fn add(line: &mut Value, more: Value) {
    let (Value::Object(line), Value::Object(more)) = (line, more) else {
        unreachable!("both are objects");
    };
    line.extend(more);
}

fn round(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}
