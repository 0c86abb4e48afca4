//! The fraud job with checkpoints, killed at random times: what it has written in the end is what a
//! job writes that nobody kills.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg::connectors::log::LogSource;
use thalweg::engine::source::{ReadBatch, ReadStatus, Source};

/// What the job writes to files, beside its topics.
const FILES: [&str; 2] = ["drift.jsonl", "quality.jsonl"];
const TOPICS: [&str; 2] = ["predictions", "alerts"];

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is UTF-8")
}

fn fraud(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments);
    command
}

fn assert_done(output: &Output) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
}

/// A stream in a log, and where its job writes.
struct Place {
    log: PathBuf,
    out: PathBuf,
    checkpoints: PathBuf,
}

impl Place {
    fn new(folder: &Path, name: &str, events: u64) -> Self {
        let folder = folder.join(name);
        let log = folder.join("log");
        let events = events.to_string();
        let stream = ["--events", &events, "--seed", "11", "--drift", "amounts"];
        let arguments = ["generate", "--log", text(&log)];
        assert_done(&fraud(&[&arguments[..], &stream].concat()).output().unwrap());
        Self {
            log,
            out: folder.join("out"),
            checkpoints: folder.join("checkpoints"),
        }
    }

    fn run(&self, more: &[&str]) -> Command {
        let arguments = ["run", "--until-end", "--quiet", "--log", text(&self.log)];
        let mut command = fraud(&[&arguments[..], &["--out", text(&self.out)], more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn run_with_checkpoints(&self, workers: u64) -> Command {
        let workers = workers.to_string();
        self.run(&[
            "--checkpoint",
            text(&self.checkpoints),
            "--checkpoint-interval",
            "40ms",
            "--workers",
            &workers,
        ])
    }

    fn summary(&self) -> Value {
        let summary = fs::read(self.out.join("summary.json")).unwrap();
        serde_json::from_slice(&summary).unwrap()
    }

    /// The values of a topic, by partition, in their order.
    fn topic(&self, name: &str) -> Vec<Vec<Value>> {
        let source = LogSource::<Value>::json(&self.log, name).until_end();
        let partitions = source.partitions().unwrap().into_iter();
        let read = partitions.map(|partition| {
            let mut batch = ReadBatch::new();
            let mut reader = source.open(partition, 0).unwrap();
            while reader.read(&mut batch, 1_000).unwrap() != ReadStatus::End {}
            batch.into_iter().map(|(_, value)| value.unwrap()).collect()
        });
        read.collect()
    }

    fn assert_same(&self, other: &Self, when: &str) {
        for topic in TOPICS {
            let (ours, theirs) = (self.topic(topic), other.topic(topic));
            let count = |all: &[Vec<Value>]| all.iter().map(Vec::len).sum::<usize>();
            assert_eq!(count(&ours), count(&theirs), "records of {topic}, {when}");
            assert!(ours == theirs, "{topic} differs, {when}");
        }
        for file in FILES {
            let read = |place: &Self| fs::read_to_string(place.out.join(file)).unwrap();
            assert!(read(self) == read(other), "{file} differs, {when}");
        }
    }
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// Kills the job after a while; whether it had not come to its end by then.
fn kill_after(mut job: Child, time: Duration) -> bool {
    std::thread::sleep(time);
    let ended = job.try_wait().unwrap();
    if ended.is_some() {
        assert_done(&job.wait_with_output().unwrap());
        return false;
    }
    // SIGKILL: nothing is finished, nothing is written any more.
    job.kill().unwrap();
    job.wait().unwrap();
    true
}

/// How often the job is killed, unless the environment says otherwise.
const KILLS: u64 = 8;

#[test]
fn a_job_that_is_killed_at_random_writes_everything_once() {
    let kills = std::env::var("THALWEG_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let events = 150_000;
    let whole = Place::new(folder.path(), "whole", events);
    assert_done(&whole.run(&[]).output().unwrap());
    let place = Place::new(folder.path(), "killed", events);
    let (mut random, mut killed) = (Random(7), 0);
    for _ in 0..kills {
        let job = place.run_with_checkpoints(1 + random.below(3));
        let time = Duration::from_millis(300 + random.below(2_000));
        killed += u64::from(kill_after({ job }.spawn().unwrap(), time));
    }
    let output = place.run_with_checkpoints(2).output().unwrap();
    assert_done(&output);
    place.assert_same(&whole, &format!("after {killed} of {kills} kills"));
    let summary = place.summary();
    let epoch = summary["checkpoint"]["epoch"].as_u64();
    assert!(epoch.is_some_and(|epoch| epoch > 1), "{summary}");
    let ends = ["processed", "late", "dead_letters", "filtered", "held"];
    let sum: u64 = ends.iter().map(|end| summary[end].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), summary["records_in"].as_u64(), "{summary}");
}

#[test]
fn a_part_that_is_damaged_is_named_and_nothing_starts() {
    let folder = TempDir::new().unwrap();
    let place = Place::new(folder.path(), "one", 5_000);
    assert_done(&place.run_with_checkpoints(1).output().unwrap());
    let parts = walk(&place.checkpoints);
    let part = parts.iter().find(|path| text(path).contains("keys"));
    let part = part.unwrap_or_else(|| panic!("no part among {parts:?}"));
    let mut bytes = fs::read(part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(part, bytes).unwrap();
    let output = place.run_with_checkpoints(1).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    let name = part.file_name().unwrap().to_str().unwrap();
    assert!(complaint.contains(name), "{complaint}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}
