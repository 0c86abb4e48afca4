//! What checkpoints and clusters cost.
//!
//! - The job fraud-features with an epoch a second beside the same job without: throughput, the latency
//!   of a lone event at half of it, and what an epoch writes.
//! - How long after its end an epoch of a second is sealed, and seen by the readers of a log.
//! - The time from killing a process with a gigabyte of state to the first epoch that is sealed after it.
//! - Two processes that exchange half of their records, with mutual TLS and without.
//!
//! `-- --only throughput`, `latency`, `visibility`, `recovery` or `tls` measures a part alone. Ends with one line of JSON
//! on standard output.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../../tests/cluster/certificates.rs"]
mod certificates;
mod cluster;
mod counting;
mod epochs;
mod job;
#[path = "../fraud_features/operator.rs"]
#[allow(dead_code, reason = "the declaration of the features is needed")]
mod operator;
#[path = "../fraud_features/payments.rs"]
mod payments;
mod recovery;
mod rounds;
mod visibility;

use serde_json::{Map, Value, json};

/// As the ready programs have it.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 42;

/// Measures a part, and gives its figures by name.
type Measure = fn() -> Value;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if cluster::run_if_child(&arguments) || recovery::run_if_child(&arguments) {
        return;
    }
    // `cargo test --benches` only wants to know that it builds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let only = arguments.iter().position(|argument| argument == "--only");
    let only = only.map(|at| arguments.get(at + 1).expect("--only names a part").as_str());
    let parts: [(&str, Measure); 5] = [
        ("throughput", epochs::throughput),
        ("latency", epochs::latency),
        ("visibility", visibility::measure),
        ("recovery", recovery::measure),
        ("tls", cluster::measure),
    ];
    let mut line = Map::from_iter([("bench".to_owned(), json!("checkpoints"))]);
    for (name, measure) in parts {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        eprintln!("{name}");
        let Value::Object(figures) = measure() else {
            unreachable!("every part gives an object");
        };
        line.extend(figures);
    }
    println!("{}", Value::Object(line));
}

fn round(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}
