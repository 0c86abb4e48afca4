//! The fraud job with its topics in a real Kafka, by settings alone.
//!
//! Where no broker can be had, the test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/running.rs"]
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use thalweg::connectors::kafka::{Kafka, KafkaSource};
use thalweg::connectors::log::LogSource;
use thalweg::engine::source::{Found, ReadBatch, ReadStatus, Source};

const EVENTS: usize = 3_000;

fn fraud(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments).output().unwrap()
}

fn succeed(arguments: &[&str]) {
    let output = fraud(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
}

/// All values of a topic, each once for every time it is there.
fn contents(source: &dyn Source<Value>) -> Vec<Value> {
    let mut all = Vec::new();
    for partition in source.partitions().unwrap() {
        let offset = source.start_offset(partition, Found::AtStart).unwrap();
        let mut reader = source.open(partition, offset).unwrap();
        let mut batch = ReadBatch::new();
        while reader.read(&mut batch, 1_000).unwrap() != ReadStatus::End {}
        all.extend(batch.into_iter().map(|(_, value)| value.unwrap()));
    }
    all
}

/// The probability of each payment, and how many predictions there are.
fn probabilities(predictions: Vec<Value>) -> (BTreeMap<u64, f64>, usize) {
    let count = predictions.len();
    let pair = |p: Value| {
        let (payment, probability) = (p["payment"].as_u64(), p["probability"].as_f64());
        (payment.unwrap(), probability.unwrap())
    };
    (predictions.into_iter().map(pair).collect(), count)
}

fn summary(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap()
}

#[test]
fn payments_in_kafka_are_scored_as_those_in_the_log_are() {
    let Some(broker) = running::own("kafka") else {
        return;
    };
    let brokers = broker.address("THALWEG_TEST_KAFKA");
    for topic in ["payments", "labels", "predictions", "alerts"] {
        let arguments = ["--create", "--topic", topic, "--partitions", "4"];
        broker.tool("org.apache.kafka.tools.TopicCommand", &arguments, "");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, in_log, in_kafka) = (text("log"), text("in_log"), text("in_kafka"));
    let events = EVENTS.to_string();
    let generate = ["generate", "--events", &events, "--seed", "5"];
    let kafka = ["--kafka", brokers];

    succeed(&[&generate[..], &["--log", &log]].concat());
    succeed(&["run", "--log", &log, "--until-end", "--out", &in_log]);
    succeed(&[&generate[..], &kafka, &["--sink", "kafka"]].concat());
    let run = ["run", "--source", "kafka", "--sink", "kafka", "--until-end"];
    succeed(&[&run[..], &kafka, &["--workers", "2", "--out", &in_kafka]].concat());

    let cluster = Kafka::at(brokers);
    let topic = |name: &str| contents(&KafkaSource::json(&cluster, name).until_end());
    let payments = topic("payments").len();
    let (scored, count) = probabilities(topic("predictions"));
    let source = LogSource::json(&log, "predictions").until_end();
    let (expected, _) = probabilities(contents(&source));
    assert_eq!((payments, count, scored.len()), (EVENTS, EVENTS, EVENTS));
    assert_eq!(scored, expected);

    let (told, expected) = (summary(Path::new(&in_kafka)), summary(Path::new(&in_log)));
    for field in [
        "records_in",
        "processed",
        "predictions",
        "labels",
        "auc",
        "alerts",
    ] {
        assert_eq!(told[field], expected[field], "{field}");
    }
    let source = LogSource::json(&log, "alerts").until_end();
    let expected = contents(&source).len();
    assert_eq!(topic("alerts").len(), expected);
    assert!(expected > 0);
}

/// How often the job is killed, unless the environment says otherwise.
const KILLS: u64 = 6;
/// Payments of the job that is killed.
const MANY: usize = 150_000;

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

/// Runs the job and kills it after a while; whether it had not come to its end by then.
fn kill_after(arguments: &[&str], time: Duration) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments).stdout(Stdio::null());
    let mut job = command.stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(time);
    if job.try_wait().unwrap().is_some() {
        let output = job.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{complaint}");
        return false;
    }
    job.kill().unwrap();
    job.wait().unwrap();
    true
}

#[test]
fn a_job_that_is_killed_publishes_everything_once() {
    let Some(broker) = running::own("kafka") else {
        return;
    };
    let kills = std::env::var("THALWEG_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let brokers = broker.address("THALWEG_TEST_KAFKA");
    for topic in ["payments", "labels", "predictions", "alerts"] {
        let arguments = ["--create", "--topic", topic, "--partitions", "4"];
        broker.tool("org.apache.kafka.tools.TopicCommand", &arguments, "");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, in_log, in_kafka) = (text("log"), text("in_log"), text("in_kafka"));
    let checkpoints = text("checkpoints");
    let events = MANY.to_string();
    let generate = [
        "generate", "--events", &events, "--seed", "5", "--drift", "amounts",
    ];
    let kafka = ["--kafka", brokers];
    succeed(&[&generate[..], &["--log", &log]].concat());
    let run = ["run", "--quiet", "--until-end"];
    succeed(&[&run[..], &["--log", &log, "--out", &in_log]].concat());
    succeed(&[&generate[..], &kafka, &["--sink", "kafka"]].concat());

    let (mut random, mut killed) = (Random(3), 0);
    for turn in 0..=kills {
        let workers = (1 + random.below(3)).to_string();
        let job = [
            &run[..],
            &kafka,
            &["--source", "kafka", "--sink", "kafka", "--out", &in_kafka],
            &[
                "--checkpoint",
                &checkpoints,
                "--checkpoint-interval",
                "50ms",
            ],
            &["--workers", &workers],
        ];
        let job = job.concat();
        if turn == kills {
            succeed(&job);
        } else {
            let time = Duration::from_millis(500 + random.below(2_500));
            killed += u64::from(kill_after(&job, time));
        }
    }
    assert!(killed > 0, "the job was never killed in time");
    let cluster = Kafka::at(brokers);
    let topic = |name: &str| contents(&KafkaSource::json(&cluster, name).until_end());
    let (scored, count) = probabilities(topic("predictions"));
    let source = LogSource::json(&log, "predictions").until_end();
    let (expected, _) = probabilities(contents(&source));
    let when = format!("after {killed} of {kills} kills");
    assert_eq!((count, scored.len()), (MANY, MANY), "{when}");
    assert_eq!(scored, expected, "{when}");
    let source = LogSource::json(&log, "alerts").until_end();
    let alerts = topic("alerts").len();
    assert_eq!(alerts, contents(&source).len(), "alerts {when}");
    let notes = topic("thalweg-progress");
    let noted = notes.iter().map(|note| note["records"].as_u64().unwrap());
    assert_eq!(noted.sum::<u64>() as usize, count + alerts, "{when}");
    assert!(notes.len() > 2, "{notes:?}");
}

#[test]
fn what_is_wrong_with_the_settings_of_kafka_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let check = |text: &str, arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let settings = ["check", "--settings", file.to_str().unwrap()];
        let output = fraud(&[&settings[..], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let complaint = check("[source]\nkind = \"kafka\"", &[]);
    assert!(complaint.contains("give --kafka HOST:PORT"), "{complaint}");
    let canary = "[kafka]\nbrokers = \"b:1\"\n[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\n\
                  password = \"canary\"";
    let complaint = check(canary, &["--source", "kafka", "--log-level", "trace"]);
    assert!(
        complaint.contains("[kafka]") && complaint.contains("user"),
        "{complaint}"
    );
    assert!(!complaint.contains("canary"), "{complaint}");
}
