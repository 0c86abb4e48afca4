//! From the death of a process with much state to the first epoch sealed after it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::prelude::*;
use thalweg_engine::Checkpointing;
use thalweg_engine::checkpoint::{Checkpoints, Manifest};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, Source, SourceError};
use thalweg_engine::telemetry::Telemetry;

use super::counting::Counting;
use super::job::{self, PIPELINE};
use super::payments::{Payment, Random};
use super::{operator, round};

const KEYS: u64 = 1_000_000;
/// Events of each key.
const LIVE: u64 = 24;
/// Once every key has its events, so many come each second.
const RATE: f64 = 10_000.0;
const CHILD: &str = "--recovery-child";

/// Fills a million keys, kills the process, and starts it again.
pub(crate) fn measure() -> Value {
    let folder = TempDir::new().unwrap();
    let mut first = start(folder.path());
    let filled = wait_for(folder.path(), |manifest| offset(manifest) > KEYS * LIVE);
    let state: u64 = filled.parts().map(|part| part.bytes).sum();
    let resident = resident_bytes(first.id());
    // SIGKILL: nothing is finished.
    first.kill().unwrap();
    let killed = Instant::now();
    first.wait().unwrap();
    let newest = newest(folder.path()).unwrap();
    let mut second = start(folder.path());
    let sealed = wait_for(folder.path(), |manifest| manifest.epoch > newest.epoch);
    let seconds = killed.elapsed().as_secs_f64();
    let resident_after = resident_bytes(second.id());
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(offset(&sealed) > offset(&newest), "it goes on");
    eprintln!(
        "  {:.2} GB of memory, {:.2} GB in the checkpoint: {seconds:.1} s from the kill to the next \
         epoch, {:.2} GB of memory then",
        resident as f64 / 1e9,
        state as f64 / 1e9,
        resident_after as f64 / 1e9,
    );
    json!({
        "recovery_seconds": round(seconds),
        "recovery_resident_bytes": resident,
        "recovery_checkpoint_bytes": state,
        "recovery_resident_bytes_after": resident_after,
    })
}

fn start(folder: &Path) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(own);
    command.arg(CHILD).arg(folder).stdin(Stdio::null());
    command.spawn().unwrap()
}

fn newest(folder: &Path) -> Option<Manifest> {
    let checkpoints = Checkpoints::open(&job::options(folder), PIPELINE).ok()?;
    checkpoints.newest().ok()?
}

/// Waits for a checkpoint.
fn wait_for(folder: &Path, is_it: impl Fn(&Manifest) -> bool) -> Manifest {
    let begun = Instant::now();
    loop {
        if let Some(manifest) = newest(folder).filter(&is_it) {
            return manifest;
        }
        let patience = Duration::from_secs(600);
        assert!(
            begun.elapsed() < patience,
            "no checkpoint within {patience:?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn offset(manifest: &Manifest) -> u64 {
    manifest
        .source("payments")
        .map_or(0, |source| source.partitions[0].offset)
}

/// Resident memory of a process, as Linux has it.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = rss.unwrap().trim().split(' ').next().unwrap();
    kib.parse::<u64>().unwrap() * 1_024
}

/// Runs the job where the arguments ask for it.
pub(crate) fn run_if_child(arguments: &[String]) -> bool {
    let Some(at) = arguments.iter().position(|argument| argument == CHILD) else {
        return false;
    };
    let options = job::options(Path::new(&arguments[at + 1]));
    let job = JobOptions {
        checkpoints: Some(Checkpointing::new(PIPELINE, options)),
        ..JobOptions::default()
    };
    let sink = Counting::default();
    let build = move |flow: &mut Flow<'_>| {
        flow.source("payments", Turns)
            .event_time(|p: &Payment| p.at(), secs(0))
            .key_by(|p| p.card)
            .features("card", operator::declare)
            .into_stream()
            .sink("rows", sink.clone());
        Ok(())
    };
    thalweg_engine::run(
        job,
        Arc::new(Telemetry::default()),
        StopHandle::default(),
        build,
    )
    .unwrap();
    true
}

/// Every key in its turn, flat out until each has its events, and then at a steady rate for ever.
#[derive(Clone)]
struct Turns;

impl Source<Payment> for Turns {
    fn describe(&self) -> String {
        "payments made as they are read".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok(vec![0])
    }

    fn open(&self, _: u32, offset: u64) -> Result<Box<dyn Reader<Payment>>, SourceError> {
        Ok(Box::new(TurnsReader {
            next: offset,
            steady: None,
        }))
    }
}

struct TurnsReader {
    next: u64,
    /// Where and when the steady part began.
    steady: Option<(u64, Instant)>,
}

impl Reader<Payment> for TurnsReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<Payment>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let mut end = self.next + limit as u64;
        if self.next >= KEYS * LIVE {
            let (first, begun) = *self.steady.get_or_insert((self.next, Instant::now()));
            std::thread::sleep(Duration::from_millis(1));
            end = end.min(first + (begun.elapsed().as_secs_f64() * RATE) as u64);
        }
        for offset in self.next..end {
            let mixed = Random(offset).next();
            let payment = Payment {
                card: offset % KEYS,
                merchant: (mixed >> 50) as u32,
                amount: (mixed >> 40) as f64 / 100.0,
                // A turn takes an hour, so that all of a key's events are live.
                ts: 1_700_000_000_000 + (offset * 3_600_000 / KEYS).cast_signed(),
            };
            batch.push((offset, Ok(payment)));
        }
        self.next = self.next.max(end);
        Ok(ReadStatus::More)
    }
}
