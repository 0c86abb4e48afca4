//! An epoch a second beside none.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg_engine::checkpoint::{Checkpoints, Manifest};

use super::job::{self, PIPELINE, Report};
use super::payments;
use super::rounds::Rounds;
use super::{SEED, round};

const PAYMENTS: usize = 2_000_000;
const PARTITIONS: usize = 2;
/// Enough for a run to last several epochs.
const ROUNDS: usize = 8;
/// Runs of each side, in turn; the best of each counts.
const RUNS: usize = 3;
/// Seconds that latencies are measured for.
const SECONDS: f64 = 10.0;

fn payments() -> Rounds {
    Rounds::new(&payments::generate(PAYMENTS, SEED), PARTITIONS, ROUNDS)
}

/// The job flat out, with and without epochs, and what an epoch writes.
pub(crate) fn throughput() -> Value {
    let payments = payments();
    let (mut without, mut with) = (0.0_f64, 0.0_f64);
    let mut written = Vec::new();
    let mut mean_bytes = 0.0;
    for _ in 0..RUNS {
        without = without.max(job::run(&payments, None).events_per_second);
        let folder = TempDir::new().unwrap();
        let report = job::run(&payments, Some(folder.path()));
        with = with.max(report.events_per_second);
        mean_bytes = report.checkpoint_bytes as f64 / report.checkpoints as f64;
        written = epochs(&payments, folder.path());
    }
    eprintln!("  without epochs  {without:>10.0} events/s");
    eprintln!("  1 s epochs      {with:>10.0} events/s");
    for epoch in &written {
        eprintln!(
            "  epoch {:>3}: {:>8} keys changed, {:>6.2} MB in changes, {:>6.2} MB in bases, {:>5.1} bytes a key",
            epoch.number,
            epoch.keys,
            epoch.changes as f64 / 1e6,
            epoch.bases as f64 / 1e6,
            (epoch.changes + epoch.bases) as f64 / epoch.keys as f64,
        );
    }
    json!({
        "with_epochs_over_without": round(with / without),
        "events_per_second_without": without.round(),
        "events_per_second_with": with.round(),
        "bytes_per_epoch": mean_bytes.round(),
    })
}

/// What an epoch has written.
struct Written {
    number: u64,
    /// Different cards among its payments.
    keys: usize,
    changes: u64,
    bases: u64,
}

/// What the newest epochs have written.
fn epochs(payments: &Rounds, folder: &Path) -> Vec<Written> {
    let checkpoints = Checkpoints::open(&job::options(folder), PIPELINE).unwrap();
    let manifests = checkpoints.list().unwrap();
    let written = |pair: &[Manifest]| {
        let [before, after] = pair else {
            unreachable!("windows of two")
        };
        let (first, last) = (places(before), places(after));
        let keys: HashSet<u64> = (first.iter().zip(&last))
            .flat_map(|(first, last)| (first.1..last.1).map(|offset| (first.0, offset)))
            .map(|(partition, offset)| payments.payment(partition, offset).card)
            .collect();
        let own = after.parts().filter(|part| part.epoch == after.epoch);
        let (bases, changes): (Vec<_>, Vec<_>) = own.partition(|part| part.kind.is_base());
        Written {
            number: after.epoch.0,
            keys: keys.len(),
            changes: changes.iter().map(|part| part.bytes).sum(),
            bases: bases.iter().map(|part| part.bytes).sum(),
        }
    };
    manifests.windows(2).map(written).collect()
}

/// Partitions and how far they have been read.
fn places(manifest: &Manifest) -> Vec<(u32, u64)> {
    let partitions = &manifest.source("payments").unwrap().partitions;
    partitions
        .iter()
        .map(|place| (place.number, place.offset))
        .collect()
}

/// Lone events at half of the rate that the job can do without epochs.
pub(crate) fn latency() -> Value {
    let payments = payments();
    let rate = job::run(&payments, None).events_per_second / 2.0;
    let steady = payments.at(rate, SECONDS);
    let without = job::run(&steady, None);
    let folder = TempDir::new().unwrap();
    let with = job::run(&steady, Some(folder.path()));
    let figures = |report: &Report, name: &str| {
        let latency = report.latency;
        eprintln!(
            "  {name:<16}at {rate:.0} events/s: p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us",
            latency.p50, latency.p99, latency.p999
        );
        json!({ "p50": latency.p50.round(), "p99": latency.p99.round(), "p999": latency.p999.round() })
    };
    json!({
        "latency_us_without": figures(&without, "without epochs"),
        "latency_us_with": figures(&with, "1 s epochs"),
    })
}
