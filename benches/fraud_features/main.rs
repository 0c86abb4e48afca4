//! The job fraud-features: sixteen exact features per payment and card.
//!
//! Per card over 1 minute, 1 hour and 24 hours: count, sum, mean, standard deviation and maximum of
//! the amount; and the number of different merchants over 24 hours. Measured are the operator alone
//! beside a straightforward loop, both on one thread.
//!
//! Ends with one line of JSON on standard output.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod dataflow;
mod hand_loop;
mod operator;
mod payments;

use std::time::Instant;

use dataflow::Replay;
use hand_loop::HandLoop;
use operator::Operator;
use payments::Payment;

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
    let payments = payments::generate(PAYMENTS, SEED);
    agree(&payments[..200_000]);
    let replay = Replay::new(&payments, 2);
    let (mut by_loop, mut by_operator) = (0.0_f64, 0.0_f64);
    let (mut by_one, mut by_two) = (0.0_f64, 0.0_f64);
    for _ in 0..RUNS {
        by_loop = by_loop.max(hand_loop_rate(&payments));
        by_operator = by_operator.max(operator_rate(&payments));
        by_one = by_one.max(dataflow::run(&replay, 1).0);
        by_two = by_two.max(dataflow::run(&replay, 2).0);
    }
    eprintln!("  hand-written loop  {by_loop:>10.0} events/s");
    eprintln!("  operator alone     {by_operator:>10.0} events/s");
    eprintln!("  dataflow, 1 worker {by_one:>10.0} events/s");
    eprintln!("  dataflow, 2 workers{by_two:>10.0} events/s");
    let line = serde_json::json!({
        "bench": "fraud_features",
        "operator_over_loop": round(by_operator / by_loop),
        "dataflow_over_operator": round(by_one / by_operator),
        "two_workers_over_one": round(by_two / by_one),
        "loop_events_per_second": by_loop.round(),
        "operator_events_per_second": by_operator.round(),
        "dataflow_events_per_second": by_one.round(),
    });
    println!("{line}");
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
