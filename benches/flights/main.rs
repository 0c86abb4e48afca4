//! `flights` flat out beside a hand-written loop that does the same work on one thread, and the
//! latency of lone events through the same features and model.
//!
//! The loop reads the same files, computes the same features with ring buffers and running sums,
//! calls the same tract plans in batches of 64 and writes the same predictions: the limit of what
//! one thread can do without a dataflow. It knows nothing of watermarks, workers, drift, labels or
//! back-pressure. That both say the same of every flight is checked before anything is compared.
//!
//! Ends with one line of JSON on standard output.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

#[path = "../../pipelines/src/bin/flights/events.rs"]
#[expect(dead_code, reason = "the loop needs a part of it")]
mod events;
#[path = "../../pipelines/src/bin/flights/features.rs"]
mod features;
mod hand_loop;
mod latency;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Runs of each side, in turn; the best of each counts.
const RUNS: usize = 5;

/// Where the data and the model of `flights` are.
fn pipelines(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    eprintln!("flights flat out, {RUNS} runs of each side in turn");
    let (mut by_loop, mut by_one, mut by_two) = (0.0_f64, 0.0_f64, 0.0_f64);
    let records = hand_loop::run(&out.path().join("loop.jsonl")).records;
    for _ in 0..RUNS {
        let report = hand_loop::run(&out.path().join("loop.jsonl"));
        by_loop = by_loop.max(records as f64 / report.seconds);
        by_one = by_one.max(dataflow(&out.path().join("1"), 1));
        by_two = by_two.max(dataflow(&out.path().join("2"), 2));
    }
    let apart = greatest_difference(
        &out.path().join("loop.jsonl"),
        &out.path().join("1/predictions.jsonl"),
    );
    assert!(
        apart < 1e-4,
        "loop and dataflow predict differently, by up to {apart}"
    );
    eprintln!("  hand-written loop    {by_loop:>10.0} events/s");
    eprintln!("  dataflow, 1 worker   {by_one:>10.0} events/s");
    eprintln!("  dataflow, 2 workers  {by_two:>10.0} events/s");
    eprintln!("latency of a lone event through features and model, arrival order");
    let slow = latency::measure(1_000);
    let fast = latency::measure(50_000);
    let line = serde_json::json!({
        "bench": "flights",
        "dataflow_over_loop": round(by_one / by_loop),
        "two_workers_over_loop": round(by_two / by_loop),
        "loop_events_per_second": by_loop.round(),
        "dataflow_events_per_second": by_one.round(),
        "two_workers_events_per_second": by_two.round(),
        "latency_us_at_1000_per_second": slow,
        "latency_us_at_50000_per_second": fast,
    });
    println!("{line}");
}

fn round(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}

/// Runs the real program and returns its events per second.
fn dataflow(out: &Path, workers: usize) -> f64 {
    let status = Command::new(env!("CARGO_BIN_EXE_flights"))
        .args(["run", "--quiet", "--workers", &workers.to_string(), "--out"])
        .arg(out)
        .status()
        .unwrap();
    assert!(status.success());
    let summary = std::fs::read(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    summary["events_per_second"].as_f64().unwrap()
}

/// How far the two files of predictions are apart, over all flights.
fn greatest_difference(one: &Path, other: &Path) -> f64 {
    let [one, other] = [one, other].map(probabilities);
    assert_eq!(one.len(), other.len());
    let apart = one.iter().map(|(flight, p)| (p - other[flight]).abs());
    apart.fold(0.0, f64::max)
}

fn probabilities(file: &Path) -> HashMap<u64, f64> {
    let text = std::fs::read_to_string(file).unwrap();
    let line = |line| {
        let prediction: Value = serde_json::from_str(line).unwrap();
        let probability = prediction["probability"].as_f64().unwrap();
        (prediction["flight"].as_u64().unwrap(), probability)
    };
    text.lines().map(line).collect()
}
