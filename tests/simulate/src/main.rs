//! Runs jobs with checkpoints through simulated faults: kills, zombies, a store and a broker that lose,
//! delay and repeat what is asked of them. Each seed is one history, and gives the same one again.
//!
//! ```text
//! cargo run --release -p thalweg-simulate -- --seeds 2000
//! cargo run --release -p thalweg-simulate -- --planted
//! cargo run --release -p thalweg-simulate -- --seeds 1 --from 77 --trace
//! ```

mod broker;
mod input;
mod oracle;
mod output;
mod pipeline;
mod place;
mod random;
mod row;
mod scenario;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use serde_json::json;
use thalweg_engine::simulation::Defect;

use scenario::{Interruption, Outcome, POINTS, simulate};

/// Every so many seeds, one is run twice, and must give the same history.
const TWICE_EVERY: u64 = 25;
/// How often each point is come by before a run is killed there.
const TIMES: [u64; 3] = [1, 2, 4];
/// Seeds of which one must come by a point: not each of them does before its job has ended.
const SEEDS_FOR_POINT: u64 = 20;

const DEFECTS: [Defect; 16] = [
    Defect::PublishBeforeSeal,
    Defect::SkipFence,
    Defect::SkipFsync,
    Defect::EarlyOutboxDeletion,
    Defect::ProgressOutsideTransaction,
    Defect::ReusedProducerName,
    Defect::RetryIgnored,
    Defect::NewPartitionFromEnd,
    Defect::OffByOneOffset,
    Defect::StaleSlotNotFenced,
    Defect::ChecksumIgnored,
    Defect::WatermarkGoesBack,
    Defect::ChangedBeforeTaken,
    Defect::EpochsMerged,
    Defect::LettersCountUnsealed,
    Defect::RestoredOvertaken,
];

/// Simulates jobs that are interrupted, and checks what they publish.
#[derive(Parser)]
struct Args {
    /// How many seeds; with --planted, how many each defect may take.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Plants defects, one at a time, and tells how many seeds it takes to see each.
    #[arg(long)]
    planted: bool,
    /// Prints what happens, of seeds that fail and of a single one.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let is_good = if args.planted {
        plant(&args)
    } else {
        check(&args)
    };
    match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Runs the seeds, and kills a job at every point.
fn check(args: &Args) -> bool {
    let mut failures = match args.seeds {
        1 => 0,
        _ => check_points(args.from),
    };
    let failed = Mutex::new(Vec::new());
    in_parallel(args.from..args.from + args.seeds, |seed| {
        let keeps_trace = args.trace || args.seeds == 1;
        let outcome = simulate(seed, None, None, keeps_trace);
        let mut failure = outcome.failure.clone();
        if seed % TWICE_EVERY == 0 && simulate(seed, None, None, false).trace != outcome.trace {
            failure.get_or_insert_with(|| "it gives two histories".to_owned());
        }
        if args.trace && (failure.is_some() || args.seeds == 1) {
            print_trace(&outcome);
        }
        if let Some(failure) = failure {
            println!("seed {seed}: {failure}");
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.push(seed);
        }
        true
    });
    failures += failed.into_inner().map_or(0, |failed| failed.len());
    println!("{}", json!({ "seeds": args.seeds, "failures": failures }));
    failures == 0
}

fn print_trace(outcome: &Outcome) {
    for line in &outcome.lines {
        println!("{line}");
    }
    println!(
        "{} turns, {} interruptions, history {:016x}",
        outcome.turns, outcome.interrupted, outcome.trace
    );
}

/// Kills a job at each point; how many do not recover.
fn check_points(seed: u64) -> usize {
    let mut failures = 0;
    for point in POINTS {
        for times in TIMES {
            let plan = [Interruption::KillAt { point, times }];
            let mut is_reached = times > 1;
            for seed in seed..seed + SEEDS_FOR_POINT {
                let outcome = simulate(seed, None, Some(&plan), false);
                if let Some(failure) = outcome.failure {
                    println!("killed {point} ({times}), seed {seed}: {failure}");
                    failures += 1;
                }
                is_reached |= outcome.interrupted > 0;
                if is_reached {
                    break;
                }
            }
            if !is_reached {
                println!("killed {point}: no seed comes there");
                failures += 1;
            }
        }
    }
    println!(
        "killed at {} points, {} times each: {failures} failures",
        POINTS.len(),
        TIMES.len()
    );
    failures
}

/// Looks how many seeds it takes to see each defect.
fn plant(args: &Args) -> bool {
    let mut seeds_to_catch = BTreeMap::new();
    for defect in DEFECTS {
        let first = AtomicU64::new(u64::MAX);
        let reason = Mutex::new((u64::MAX, String::new()));
        in_parallel(args.from..args.from + args.seeds, |seed| {
            if seed > first.load(Ordering::SeqCst) {
                return false;
            }
            if let Some(failure) = simulate(seed, Some(defect), None, false).failure {
                first.fetch_min(seed, Ordering::SeqCst);
                let mut reason = reason.lock().unwrap_or_else(PoisonError::into_inner);
                if seed < reason.0 {
                    *reason = (seed, failure);
                }
            }
            true
        });
        let (seed, failure) = reason.into_inner().unwrap_or_else(PoisonError::into_inner);
        if seed == u64::MAX {
            println!("{defect:?}: not seen in {} seeds", args.seeds);
        } else {
            println!("{defect:?}: seed {seed}: {failure}");
            seeds_to_catch.insert(format!("{defect:?}"), seed - args.from + 1);
        }
    }
    let (planted, caught) = (DEFECTS.len(), seeds_to_catch.len());
    println!(
        "{}",
        json!({ "planted": planted, "caught": caught, "seeds_to_catch": seeds_to_catch })
    );
    caught == planted
}

/// Does something with each seed, in order as far as that goes, until it says that it is enough.
fn in_parallel(seeds: std::ops::Range<u64>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || !work(seed) {
                        return;
                    }
                }
            });
        }
    });
}
