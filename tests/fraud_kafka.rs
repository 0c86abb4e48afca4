//! The fraud job with its topics in a real Kafka, by settings alone.
//!
//! Where no broker can be had, the test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "brokers/fraud.rs"]
mod fraud;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/running.rs"]
mod running;

use std::fs;

use thalweg::connectors::kafka::{Kafka, KafkaSource};

const KINDS: &str = "[source]\nkind = \"kafka\"\n[sink]\nkind = \"kafka\"\n";

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
    let settings = format!("{KINDS}[kafka]\nbrokers = \"{brokers}\"\n");
    let cluster = Kafka::at(brokers);
    fraud::compare(&settings, |topic| {
        KafkaSource::json(&cluster, topic).until_end()
    });

    // The same by options alone.
    let kafka = ["--kafka", brokers, "--source", "kafka", "--sink", "kafka"];
    fraud::succeed(&[&["check"], &kafka[..]].concat());
    // Against the broker, before anything runs: a topic that is not there, credentials that are none.
    let arguments = ["--delete", "--topic", "alerts"];
    broker.tool("org.apache.kafka.tools.TopicCommand", &arguments, "");
    let complaint = fraud::refused(&[&["check"], &kafka[..]].concat());
    assert!(
        complaint.contains("topic `alerts` does not exist")
            && complaint.contains("create the topic"),
        "{complaint}"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let sasl = broker.address("THALWEG_TEST_KAFKA_SASL");
    let credentials = format!(
        "{KINDS}[kafka]\nbrokers = \"{sasl}\"\n[kafka.sasl]\nmechanism = \"SCRAM-SHA-256\"\n\
         username = \"alice\"\npassword = \"canary\"\n"
    );
    fs::write(&file, credentials).unwrap();
    let trace = ["--log-level", "trace"];
    let settings = ["check", "--settings", file.to_str().unwrap()];
    let complaint = fraud::refused(&[&settings[..], &trace[..]].concat());
    assert!(
        complaint.contains("check the user's name, password and mechanism"),
        "{complaint}"
    );
    assert!(!complaint.contains("canary"), "{complaint}");
}

#[test]
fn what_is_wrong_with_the_settings_of_kafka_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let check = |text: &str, arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let settings = ["check", "--settings", file.to_str().unwrap()];
        fraud::refused(&[&settings[..], arguments].concat())
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
    let nested = "[kafka]\nbrokers = \"b:1\"\npatience = 5";
    let complaint = check(nested, &["--source", "kafka"]);
    assert!(complaint.contains("`patience_ms`"), "{complaint}");
}
