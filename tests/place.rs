//! Where a fraud job reads and writes: what tests of recovery share.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use thalweg::connectors::log::LogSource;
use thalweg::engine::source::{ReadBatch, ReadStatus, Source};

/// What the job writes to files, beside its topics.
const FILES: [&str; 2] = ["drift.jsonl", "quality.jsonl"];
const TOPICS: [&str; 2] = ["predictions", "alerts"];

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is UTF-8")
}

pub(crate) fn fraud(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments);
    command
}

pub(crate) fn assert_done(output: &Output) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
}

/// A stream in a log, and where its job writes.
pub(crate) struct Place {
    pub(crate) log: PathBuf,
    pub(crate) out: PathBuf,
    pub(crate) checkpoints: PathBuf,
}

impl Place {
    pub(crate) fn new(folder: &Path, name: &str, events: u64) -> Self {
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

    pub(crate) fn run(&self, more: &[&str]) -> Command {
        let arguments = ["run", "--until-end", "--quiet", "--log", text(&self.log)];
        let mut command = fraud(&[&arguments[..], &["--out", text(&self.out)], more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run_with_checkpoints(&self, workers: u64) -> Command {
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

    pub(crate) fn summary(&self) -> Value {
        let summary = fs::read(self.out.join("summary.json")).unwrap();
        serde_json::from_slice(&summary).unwrap()
    }

    /// The values of a topic, by partition, in their order.
    pub(crate) fn topic(&self, name: &str) -> Vec<Vec<Value>> {
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

    pub(crate) fn assert_same(&self, other: &Self, when: &str) {
        for topic in TOPICS {
            let (ours, theirs) = (self.topic(topic), other.topic(topic));
            let count = |all: &[Vec<Value>]| all.iter().map(Vec::len).sum::<usize>();
            assert_eq!(count(&ours), count(&theirs), "records of {topic}, {when}");
            for (ours, theirs) in ours.iter().zip(&theirs) {
                let first = ours
                    .iter()
                    .zip(theirs)
                    .find(|(ours, theirs)| ours != theirs);
                assert_eq!(first, None, "the first that differs of {topic}, {when}");
            }
        }
        for file in FILES {
            let read = |place: &Self| fs::read_to_string(place.out.join(file)).unwrap();
            assert!(read(self) == read(other), "{file} differs, {when}");
        }
    }
}

/// Numbers that look random (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// All files below a folder.
pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
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
