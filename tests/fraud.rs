//! The fraud job as a user runs it: the real binary, on streams that it generates into an embedded log.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use thalweg::connectors::codec::Encode;
use thalweg::connectors::log::{LogSink, LogSource};
use thalweg::engine::record::{Origin, Record};
use thalweg::engine::sink::{Refused, Sink};
use thalweg::engine::source::{ReadBatch, ReadStatus, Source};
use thalweg::engine::time::EventTime;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments);
    command
}

fn fraud(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary was built")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is UTF-8")
}

/// A log in the folder with so many payments.
fn generate(folder: &Path, events: u64, more: &[&str]) -> PathBuf {
    let log = folder.join("log");
    let events = events.to_string();
    let arguments = ["generate", "--log", text(&log), "--events", &events];
    let output = fraud(&[&arguments[..], more].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    log
}

/// Runs over a log to its end, and returns the summary.
fn run(log: &Path, out: &Path, more: &[&str]) -> Value {
    let arguments = ["run", "--log", text(log), "--until-end", "--out", text(out)];
    let output = fraud(&[&arguments[..], more].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    summary(out)
}

fn summary(out: &Path) -> Value {
    let summary = fs::read(out.join("summary.json")).expect("a summary is written");
    let summary = serde_json::from_slice(&summary).expect("the summary is JSON");
    assert_balance(&summary);
    summary
}

fn count(summary: &Value, field: &str) -> u64 {
    let count = summary[field].as_u64();
    count.unwrap_or_else(|| panic!("{field} of {summary}"))
}

fn number(summary: &Value, field: &str) -> f64 {
    let number = summary[field].as_f64();
    number.unwrap_or_else(|| panic!("{field} of {summary}"))
}

fn assert_balance(summary: &Value) {
    let ends = ["processed", "late", "dead_letters", "filtered", "held"];
    let sum: u64 = ends.iter().map(|end| count(summary, end)).sum();
    assert_eq!(sum, count(summary, "records_in"), "{summary}");
}

/// All records of a topic, with partition and offset.
fn topic(log: &Path, name: &str) -> Vec<(u32, u64, Value)> {
    let source = LogSource::<Value>::json(log, name).until_end();
    let mut all = Vec::new();
    for partition in source.partitions().unwrap() {
        let mut batch = ReadBatch::new();
        let mut reader = source.open(partition, 0).unwrap();
        while reader.read(&mut batch, 1_000).unwrap() != ReadStatus::End {}
        let records = batch.into_iter();
        all.extend(records.map(|(offset, value)| (partition, offset, value.unwrap())));
    }
    all
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn probabilities(predictions: impl IntoIterator<Item = Value>) -> HashMap<u64, f64> {
    let pair = |p: Value| Some((p["payment"].as_u64()?, p["probability"].as_f64()?));
    predictions.into_iter().map(|p| pair(p).unwrap()).collect()
}

#[test]
fn the_readme_s_commands_score_a_generated_stream_through_the_log() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 40_000, &["--seed", "3"]);
    let labels = topic(&log, "labels").len() as u64;
    let out = folder.path().join("out");
    let summary = run(&log, &out, &[]);
    assert_eq!(count(&summary, "records_in"), 40_000 + labels);
    for field in ["late", "dead_letters", "filtered", "held", "alerts"] {
        assert_eq!(count(&summary, field), 0, "{field}");
    }
    assert_eq!(count(&summary, "predictions"), 40_000);
    assert_eq!(count(&summary, "labels"), labels);
    assert!(number(&summary, "auc") > 0.95, "{summary}");
    let (loss, baseline) = (
        number(&summary, "log_loss"),
        number(&summary, "baseline_log_loss"),
    );
    assert!(loss < 0.5 * baseline, "{summary}");
    assert_eq!(summary["model"]["name"], "fraud");

    let predictions = topic(&log, "predictions");
    assert_eq!(predictions.len(), 40_000);
    let distinct = probabilities(predictions.into_iter().map(|(_, _, p)| p));
    assert_eq!(distinct.len(), 40_000, "each payment has one prediction");
    assert!(topic(&log, "alerts").is_empty());
}

#[test]
fn the_outputs_are_the_same_bytes_for_any_number_of_workers_and_any_batch() {
    let folder = TempDir::new().unwrap();
    let log = generate(
        folder.path(),
        30_000,
        &["--seed", "4", "--drift", "amounts,tactics"],
    );
    let one = folder.path().join("1");
    run(&log, &one, &["--sink", "file"]);
    for (workers, batch) in [("2", "256"), ("4", "37")] {
        let other = folder.path().join(workers);
        let more = ["--sink", "file", "--workers", workers, "--batch", batch];
        run(&log, &other, &more);
        for file in [
            "predictions.jsonl",
            "alerts.jsonl",
            "drift.jsonl",
            "quality.jsonl",
        ] {
            let (a, b) = (
                fs::read(one.join(file)).unwrap(),
                fs::read(other.join(file)).unwrap(),
            );
            assert!(a == b, "{file} differs with {workers} workers");
        }
    }
}

#[test]
fn predictions_are_those_of_the_training_script() {
    let folder = TempDir::new().unwrap();
    // The stream of pipelines/models/fraud/README.md.
    let log = generate(folder.path(), 400_000, &["--seed", "1001"]);
    let out = folder.path().join("out");
    run(&log, &out, &["--sink", "file", "--workers", "2"]);
    let served = probabilities(lines(&out.join("predictions.jsonl")));
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fraud");
    let expected = fs::read_to_string(model.join("parity.csv")).unwrap();
    let mut checked = 0;
    for line in expected.lines().skip(1) {
        let (payment, probability) = line.split_once(',').unwrap();
        let probability: f64 = probability.parse().unwrap();
        let got = served[&payment.parse().unwrap()];
        assert!(
            (got - probability).abs() <= 1e-5,
            "payment {payment}: {got} for {probability}"
        );
        checked += 1;
    }
    assert_eq!(checked, 2_000);
}

#[test]
fn a_seed_makes_one_stream_and_another_one_another() {
    let folder = TempDir::new().unwrap();
    let stream = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        let file = ["--sink", "file", "--out", text(&out)];
        generate(
            folder.path(),
            5_000,
            &[&file[..], &["--seed", seed]].concat(),
        );
        ["payments.jsonl", "labels.jsonl"].map(|file| fs::read(out.join(file)).unwrap())
    };
    let one = stream("1", "1");
    assert!(one == stream("2", "1"));
    assert!(one != stream("3", "2"));
    assert_eq!(one[0].iter().filter(|byte| **byte == b'\n').count(), 5_000);
}

#[test]
fn drift_is_told_of_when_it_comes_and_not_before() {
    let folder = TempDir::new().unwrap();
    let log = generate(
        folder.path(),
        60_000,
        &["--seed", "5", "--drift", "amounts"],
    );
    let out = folder.path().join("out");
    let summary = run(&log, &out, &["--workers", "2"]);
    let alerts = topic(&log, "alerts");
    assert_eq!(alerts.len() as u64, count(&summary, "alerts"));
    let half = 1_704_067_200_000_000_i64 + 5 * 86_400_000_000;
    for (_, _, alert) in &alerts {
        assert!(alert["window_end"].as_i64().unwrap() > half, "{alert}");
    }
    let of_prices = |alert: &Value| alert["subject"].as_str().unwrap().contains("mean");
    assert!(
        alerts.iter().any(|(_, _, alert)| of_prices(alert)),
        "{alerts:?}"
    );
}

/// Writes bytes as they are.
struct Bytes;

impl Encode<&'static [u8]> for Bytes {
    fn encode(&mut self, bytes: &&'static [u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn bad_records_in_the_log_go_to_the_dead_letters_with_place_and_reason() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 2_000, &[]);
    let good = topic(&log, "payments");
    let after = good
        .iter()
        .filter(|(partition, ..)| *partition == 1)
        .count() as u64;
    let bad: [(&[u8], &str); 5] = [
        (b"{\"payment\": 1, \"at\": 170406", "EOF while parsing"),
        (b"\xff\xfe", "not UTF-8"),
        (
            br#"{"payment":1,"at":1704067200000000,"card":1,"merchant":1,"amount":-5.0,"online":true,"abroad":false}"#,
            "amount -5 is not an amount of money",
        ),
        (
            br#"{"payment":1,"at":1704067200000000,"card":"x","merchant":1,"amount":5.0,"online":true,"abroad":false}"#,
            "field `card`: invalid type",
        ),
        (
            br#"{"payment":1,"at":32503680000000000,"card":1,"merchant":1,"amount":5.0,"online":true,"abroad":false}"#,
            "ahead of the clock",
        ),
    ];
    let records: Vec<_> = bad
        .iter()
        .flat_map(|(bytes, _)| std::iter::repeat_n(*bytes, 4))
        .map(|value| Record {
            time: EventTime::from_seconds(0),
            origin: Origin::default(),
            ingested_ns: 0,
            value,
        })
        .collect();
    // Without a key they go around: one of each kind to each of the four partitions.
    let sink = LogSink::encoded(&log, "payments", || Bytes);
    let mut writer = sink.open().unwrap();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.close().unwrap();

    let out = folder.path().join("out");
    let summary = run(&log, &out, &[]);
    assert_eq!(count(&summary, "dead_letters"), 20);
    assert_eq!(count(&summary, "predictions"), 2_000);
    let letters = lines(&out.join("dead_letters.jsonl"));
    assert_eq!(letters.len(), 20);
    for (offset, (bytes, reason)) in (after..).zip(bad) {
        let here = |letter: &&Value| letter["partition"] == 1 && letter["offset"] == offset;
        let letter = letters
            .iter()
            .find(here)
            .unwrap_or_else(|| panic!("no letter at {offset}"));
        assert_eq!(letter["step"], "payments");
        assert!(
            letter["reason"].as_str().unwrap().contains(reason),
            "{letter}"
        );
        assert!(
            !letter["raw"].as_str().unwrap().is_empty(),
            "{letter} of {bytes:?}"
        );
    }
}

/// A process that does not outlive the test, however that ends.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary was built"))
    }

    fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} does not happen");
}

#[test]
fn a_generator_that_is_killed_leaves_a_log_that_can_be_read_and_written() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let arguments = ["generate", "--log", text(&log), "--events", "100000000"];
    let mut generating = Running::start(&arguments);
    let segment = log.join("payments/0/00000000000000000000.log");
    wait_until("the first megabyte", || {
        fs::metadata(&segment).is_ok_and(|segment| segment.len() > 1_000_000)
    });
    generating.signal("-9");
    generating.0.wait().unwrap();

    let there = topic(&log, "payments").len() as u64;
    let summary = run(&log, &folder.path().join("out"), &[]);
    assert_eq!(count(&summary, "predictions"), there);
    assert_eq!(count(&summary, "dead_letters"), 0);
    LogSink::<Value>::json(&log, "payments").open().unwrap();
}

#[test]
fn a_run_follows_the_topics_until_it_is_interrupted() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 3_000, &[]);
    let out = folder.path().join("out");
    let arguments = [
        "run",
        "--log",
        text(&log),
        "--out",
        text(&out),
        "--order",
        "arrival",
    ];
    let mut running = Running::start(&arguments);
    let predictions = || {
        let is_there = LogSource::<Value>::json(&log, "predictions")
            .check()
            .is_ok();
        if is_there {
            topic(&log, "predictions")
        } else {
            Vec::new()
        }
    };
    wait_until("the prediction of what was there", || {
        predictions().len() == 3_000
    });

    let mut later = topic(&log, "payments").pop().unwrap().2;
    later["payment"] = 1_000_000.into();
    later["at"] = (later["at"].as_i64().unwrap() + 3_600_000_000).into();
    let record = Record {
        time: EventTime::from_seconds(0),
        origin: Origin::default(),
        ingested_ns: 0,
        value: later,
    };
    let sink = LogSink::<Value>::json(&log, "payments");
    let mut writer = sink.open().unwrap();
    writer.write(&[record], &mut Refused::default()).unwrap();
    writer.close().unwrap();
    wait_until("the prediction of what came later", || {
        predictions()
            .iter()
            .any(|(_, _, p)| p["payment"] == 1_000_000)
    });
    running.signal("-INT");
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let summary = summary(&out);
    assert_eq!(count(&summary, "predictions"), 3_001);
    assert_eq!(summary["stopped"], true);
}

/// The command is refused, with this exit code and one line for each expected thing.
fn check_refused(arguments: &[&str], code: i32, expected: &[&str]) {
    let output = fraud(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    for part in expected {
        let said = complaint
            .lines()
            .any(|l| l.starts_with("error: ") && l.contains(part));
        assert!(said, "no error says {part:?}: {complaint}");
    }
}

#[test]
fn what_makes_a_run_impossible_is_said_before_it_starts() {
    let folder = TempDir::new().unwrap();
    let (log, out) = (folder.path().join("log"), folder.path().join("out"));
    let start = [
        "run",
        "--log",
        text(&log),
        "--out",
        text(&out),
        "--until-end",
    ];
    check_refused(
        &start,
        2,
        &[
            "no topic `payments`",
            "no topic `labels`",
            "write to the topic first",
        ],
    );
    check_refused(
        &[&start[..], &["--source", "fax"]].concat(),
        2,
        &["`fax`", "give `log`"],
    );

    generate(folder.path(), 100, &[]);
    let again = ["generate", "--log", text(&log)];
    check_refused(
        &again,
        1,
        &["there are payments already", "name a new folder"],
    );
    check_refused(&["generate", "--drift", "wind"], 2, &["wind"]);
    check_refused(&["generate", "--events", "0"], 2, &["0"]);

    let sink = LogSink::<Value>::json(&log, "predictions");
    let _writer = sink.open().unwrap();
    check_refused(&start, 2, &["another writer has it open"]);

    let topic = log.join("labels/topic.json");
    fs::write(topic, "{").unwrap();
    check_refused(&start, 2, &["does not describe a topic"]);
}

#[test]
fn settings_say_where_topics_are() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 500, &[]);
    let (file, out) = (folder.path().join("prod.toml"), folder.path().join("out"));
    let settings = format!(
        "[source]\nkind = \"log\"\nfolder = {log:?}\nuntil-end = true\n[sink]\nkind = \"file\"\n"
    );
    fs::write(&file, settings).unwrap();
    let output = fraud(&["run", "--settings", text(&file), "--out", text(&out)]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(count(&summary(&out), "predictions"), 500);
    assert_eq!(lines(&out.join("predictions.jsonl")).len(), 500);
}
