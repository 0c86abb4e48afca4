//! `chaos`: kills the processes of a job at random, and proves that nothing is lost or done twice.
//!
//! ```text
//! cargo test --release --test chaos -- --kills 25 --seed 1 --broker log
//! ```
//!
//! `--broker kafka` wants `--features thalweg/kafka`, and a broker as `tests/brokers/start` gets it.
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
mod random;
mod records;
#[cfg(feature = "kafka")]
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../brokers/running.rs"]
mod running;
mod storm;

use std::process::ExitCode;

use clap::Parser;

/// Kills the processes of a job at random, and proves that nothing is lost or done twice.
#[derive(Parser)]
#[command(name = "chaos")]
struct Args {
    /// How many processes are killed or stopped
    #[arg(long, default_value_t = 25)]
    kills: u32,
    /// What the random choices and the input follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What the job reads from and writes to
    #[arg(long, value_enum, default_value_t = broker::Kind::Log)]
    broker: broker::Kind,
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
    match storm::run(args.kills, args.seed, args.broker) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
