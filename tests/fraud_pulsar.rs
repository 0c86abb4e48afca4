//! The fraud job with its topics in a real Pulsar, by settings alone.
//!
//! Where no broker can be had, the test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/running.rs"]
mod running;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use thalweg::connectors::log::LogSource;
use thalweg::connectors::pulsar::{Pulsar, PulsarSource};
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

/// Makes a topic, with the broker's admin interface.
fn create_topic(web: &str, topic: &str, partitions: u32) {
    let host = web.strip_prefix("http://").unwrap();
    let body = partitions.to_string();
    let mut said = String::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "PUT /admin/v2/persistent/public/default/{topic}/partitions HTTP/1.1\r\nhost: {host}\r\n\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        said.clear();
        stream.read_to_string(&mut said).unwrap();
        if said.starts_with("HTTP/1.1 2") {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("{topic}: {said}");
}

#[test]
fn payments_in_pulsar_are_scored_as_those_in_the_log_are() {
    let Some(broker) = running::own("pulsar") else {
        return;
    };
    let url = broker.address("THALWEG_TEST_PULSAR");
    for topic in ["payments", "labels", "predictions", "alerts"] {
        create_topic(broker.address("THALWEG_TEST_PULSAR_WEB"), topic, 4);
    }
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, in_log, in_pulsar) = (text("log"), text("in_log"), text("in_pulsar"));
    let events = EVENTS.to_string();
    let generate = ["generate", "--events", &events, "--seed", "5"];
    let settings = text("settings.toml");
    let kinds = "[source]\nkind = \"pulsar\"\n[sink]\nkind = \"pulsar\"\n";
    let section = format!("[pulsar]\nurl = \"{url}\"\npatience_ms = 30000\n");
    fs::write(&settings, format!("{kinds}{section}")).unwrap();

    succeed(&[&generate[..], &["--log", &log]].concat());
    succeed(&["run", "--log", &log, "--until-end", "--out", &in_log]);
    succeed(&[&generate[..], &["--settings", &settings]].concat());
    succeed(&["check", "--settings", &settings]);
    let run = ["run", "--settings", &settings, "--until-end"];
    succeed(&[&run[..], &["--workers", "2", "--out", &in_pulsar]].concat());

    let cluster = Pulsar::at(url);
    let topic = |name: &str| contents(&PulsarSource::json(&cluster, name).until_end());
    let payments = topic("payments").len();
    let (scored, count) = probabilities(topic("predictions"));
    let source = LogSource::json(&log, "predictions").until_end();
    let (expected, _) = probabilities(contents(&source));
    assert_eq!((payments, count, scored.len()), (EVENTS, EVENTS, EVENTS));
    assert_eq!(scored, expected);

    let (told, expected) = (summary(Path::new(&in_pulsar)), summary(Path::new(&in_log)));
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

#[test]
fn what_is_wrong_with_the_settings_of_pulsar_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let check = |text: &str, arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let settings = ["check", "--settings", file.to_str().unwrap()];
        let output = fraud(&[&settings[..], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let complaint = check("[source]\nkind = \"pulsar\"", &[]);
    assert!(
        complaint.contains("give --pulsar pulsar://HOST:6650"),
        "{complaint}"
    );
    let canary = "[pulsar]\nurl = \"pulsar://b\"\ntokens = \"canary\"";
    let complaint = check(canary, &["--source", "pulsar", "--log-level", "trace"]);
    assert!(
        complaint.contains("[pulsar]") && complaint.contains("tokens"),
        "{complaint}"
    );
    assert!(!complaint.contains("canary"), "{complaint}");
    let nobody = "[pulsar]\nurl = \"pulsar://127.0.0.1:9\"\npatience_ms = 200\ntoken = \"canary\"";
    let complaint = check(nobody, &["--source", "pulsar", "--log-level", "trace"]);
    assert!(
        complaint.contains("check that the broker runs"),
        "{complaint}"
    );
    assert!(!complaint.contains("canary"), "{complaint}");
}
