//! `chaos`: kills the processes of a job at random, and proves that nothing is lost or done twice.
//!
//! ```text
//! cargo test --release --test chaos -- --kills 25 --seed 1 --broker log
//! ```
//!
//! `--broker kafka` wants `--features thalweg/kafka`, and a broker as `tests/brokers/start` gets it;
//! `--broker pulsar` likewise. Without `--broker` there are a few kills for each kind that is built in.
//!
//! While events are written to the job's input all the time, its processes are killed and stopped at
//! random moments, in clusters and alone, and started again with other numbers of processes and
//! workers. At the end the output is read back and compared with what the input must have become: see
//! `ledger.rs`. The last line is one of JSON, and the exit code is 1 when anything is not as it must be;
//! then the folder with everything stays.
//!
//! The program is both: with a pipeline's command as its first word it is the job.

#![allow(
    clippy::unwrap_used,
    reason = "what the tests share fails by panicking"
)]

mod broker;
mod cluster;
mod feeder;
mod job;
#[cfg(feature = "kafka")]
mod kafka;
mod ledger;
mod notes;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../cluster/process.rs"]
mod process;
mod proxy;
#[cfg(feature = "pulsar")]
mod pulsar;
#[cfg(feature = "pulsar")]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../brokers/pulsar_admin.rs"]
mod pulsar_admin;
mod random;
mod records;
#[cfg(any(feature = "kafka", feature = "pulsar"))]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../brokers/running.rs"]
mod running;
mod storm;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Kills the processes of a job at random, and proves that nothing is lost or done twice.
#[derive(Parser)]
#[command(name = "chaos")]
struct Args {
    /// How many processes are killed or stopped [default: 25 with the log, 4 with another broker]
    #[arg(long)]
    kills: Option<u32>,
    /// What the random choices and the input follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the job reads from and writes to; it is killed and started again, too [default: one after the
    /// other]
    #[arg(long, value_enum)]
    broker: Option<broker::Kind>,
    /// As for other tests, the names of those to run
    #[arg(hide = true)]
    names: Vec<String>,
}

/// The words that make this program the job.
const JOB_COMMANDS: [&str; 4] = ["run", "check", "checkpoint", "graph"];

fn main() -> ExitCode {
    let first = std::env::args().nth(1);
    if first.is_some_and(|word| JOB_COMMANDS.contains(&word.as_str())) {
        return job::main();
    }
    let args = Args::parse();
    if !args.names.is_empty() && !args.names.iter().any(|name| "chaos".contains(name)) {
        return ExitCode::SUCCESS;
    }
    let kinds = match &args.broker {
        Some(kind) => std::slice::from_ref(kind),
        None => broker::Kind::value_variants(),
    };
    let mut storms = kinds.iter().map(|kind| {
        let kills = args.kills.unwrap_or(kind.kills());
        storm::run(kills, args.seed, *kind)
    });
    match storms.all(|is_clean| is_clean) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
