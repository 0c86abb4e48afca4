//! The job fraud-features: sixteen exact features per payment and card.
//!
//! Per card over 1 minute, 1 hour and 24 hours: count, sum, mean, standard deviation and maximum of
//! the amount; and the number of different merchants over 24 hours. Measured are the operator alone
//! beside a straightforward loop, both on one thread; the whole dataflow on one worker and on two; from
//! JSON to scores; and the latency of that.
//!
//! `-- --write FILE COUNT` writes so many payments as CSV instead, for the same job elsewhere;
//! `-- --latency RATE` measures only the latency, at so many payments a second.
//! Ends with one line of JSON on standard output.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod csv_file;
mod dataflow;
mod hand_loop;
mod latency;
mod operator;
mod payments;
mod replay;

use std::time::Instant;

use hand_loop::HandLoop;
use operator::Operator;
use payments::Payment;
use replay::Replay;

/// As the ready programs do.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FEATURES: usize = 16;
const PAYMENTS: usize = 2_000_000;
const SEED: u64 = 42;
/// Payments handed over at once, as the engine does.
const BATCH: usize = 256;
/// Runs of each side, in turn; the best of each counts.
const RUNS: usize = 5;

type Row = [f64; FEATURES];

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if csv_file::write_if_asked(SEED) {
        return;
    }
    let payments = payments::generate(PAYMENTS, SEED);
    let lines = Replay::new(&payments, 1, |p| serde_json::to_string(p).unwrap());
    if let Some(rate) = argument("--latency") {
        let rate = rate.parse().expect("RATE is a number of payments a second");
        return print_latency(&latency::measure(&lines, rate));
    }
    agree(&payments[..200_000]);
    let replay = Replay::new(&payments, 2, |payment| *payment);
    let mut best = Rates::default();
    for _ in 0..RUNS {
        best.hand_loop = best.hand_loop.max(hand_loop_rate(&payments));
        best.operator = best.operator.max(operator_rate(&payments));
        let one = dataflow::features(&replay, 1);
        best.one_worker = best.one_worker.max(one.wall);
        let two = dataflow::features(&replay, 2);
        best.two_workers = best.two_workers.max(two.wall);
        let scores = dataflow::scores(&lines);
        best.json_mlp = best.json_mlp.max(scores.wall);
        best.json_mlp_per_core = best.json_mlp_per_core.max(scores.per_core);
    }
    best.print();
    let lone = latency::measure(&lines, best.json_mlp / 2.0);
    print_latency(&lone);
    let line = serde_json::json!({
        "bench": "fraud_features",
        "operator_over_loop": round(best.operator / best.hand_loop),
        "dataflow_over_operator": round(best.one_worker / best.operator),
        "two_workers_over_one": round(best.two_workers / best.one_worker),
        "json_mlp_events_per_second": best.json_mlp_per_core.round(),
        "json_mlp_wall_events_per_second": best.json_mlp.round(),
        "lone_event_p50_us": lone.p50.round(),
        "lone_event_p99_us": lone.p99.round(),
        "loop_events_per_second": best.hand_loop.round(),
        "operator_events_per_second": best.operator.round(),
        "dataflow_events_per_second": best.one_worker.round(),
    });
    println!("{line}");
}

/// What follows this word on the command line.
fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn print_latency(lone: &latency::Latency) {
    let latency::Latency { p50, p99 } = lone;
    eprintln!("  lone event, from when it is due: p50 {p50:.0} us, p99 {p99:.0} us");
}

/// The best of all runs, in events a second.
#[derive(Default)]
struct Rates {
    hand_loop: f64,
    operator: f64,
    one_worker: f64,
    two_workers: f64,
    json_mlp: f64,
    /// For each second of processor time.
    json_mlp_per_core: f64,
}

impl Rates {
    fn print(&self) {
        for (what, rate) in [
            ("hand-written loop", self.hand_loop),
            ("operator alone", self.operator),
            ("dataflow, 1 worker", self.one_worker),
            ("dataflow, 2 workers", self.two_workers),
            ("JSON to scores", self.json_mlp),
            ("JSON to scores, per core", self.json_mlp_per_core),
        ] {
            eprintln!("  {what:<26}{rate:>10.0} events/s");
        }
    }
}

fn round(ratio: f64) -> f64 {
    (ratio * 1_000.0).round() / 1_000.0
}

/// Both must say the same before they are compared.
fn agree(payments: &[Payment]) {
    let (mut hand_loop, mut operator) = (HandLoop::default(), Operator::new());
    let mut rows = Vec::new();
    let mut expected = [0.0; FEATURES];
    operator.update(payments, &mut rows);
    assert_eq!(rows.len(), payments.len() * FEATURES);
    for (payment, row) in payments.iter().zip(rows.chunks(FEATURES)) {
        hand_loop.update(payment, &mut expected);
        for (got, expected) in row.iter().zip(&expected) {
            let apart = (got - expected).abs();
            let same = apart <= 1e-4 * expected.abs().max(1.0);
            assert!(
                same || (got.is_nan() && expected.is_nan()),
                "{row:?} {expected:?}"
            );
        }
    }
}

fn hand_loop_rate(payments: &[Payment]) -> f64 {
    let (mut hand_loop, mut row, mut sum) = (HandLoop::default(), [0.0; FEATURES], 0.0);
    let begun = Instant::now();
    for payment in payments {
        hand_loop.update(payment, &mut row);
        sum += row[0];
    }
    std::hint::black_box(sum);
    payments.len() as f64 / begun.elapsed().as_secs_f64()
}

fn operator_rate(payments: &[Payment]) -> f64 {
    let (mut operator, mut rows, mut sum) = (Operator::new(), Vec::new(), 0.0);
    let begun = Instant::now();
    for payments in payments.chunks(BATCH) {
        rows.clear();
        operator.update(payments, &mut rows);
        sum += rows[0];
    }
    std::hint::black_box(sum);
    payments.len() as f64 / begun.elapsed().as_secs_f64()
}
