//! The fraud job with its topics in a real Pulsar, by settings alone.
//!
//! Where no broker can be had, the test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "brokers/fraud.rs"]
mod fraud;
#[path = "brokers/pulsar_admin.rs"]
mod pulsar_admin;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/running.rs"]
mod running;

use std::fs;

use thalweg::connectors::pulsar::{Pulsar, PulsarSink, PulsarSource};
use thalweg::engine::record::{Origin, Record};
use thalweg::engine::sink::{Refused, Sink};
use thalweg::engine::time::EventTime;

#[test]
fn payments_in_pulsar_are_scored_as_those_in_the_log_are() {
    let Some(broker) = running::own("pulsar") else {
        return;
    };
    let url = broker.address("THALWEG_TEST_PULSAR");
    for topic in ["payments", "labels", "predictions", "alerts"] {
        broker.create_topic(topic, 4);
    }
    let kinds = "[source]\nkind = \"pulsar\"\n[sink]\nkind = \"pulsar\"\n";
    let section = format!("[pulsar]\nurl = \"{url}\"\npatience_ms = 30000\n");
    let cluster = Pulsar::at(url);
    fraud::compare(&format!("{kinds}{section}"), |topic| {
        PulsarSource::json(&cluster, topic).until_end()
    });

    let pulsar = ["--pulsar", url, "--source", "pulsar", "--sink", "pulsar"];
    fraud::begin_anew(&pulsar, || {
        for topic in ["predictions", "alerts"] {
            broker.admin("DELETE", &format!("{topic}/partitions?force=true"), "");
            broker.create_topic(topic, 4);
        }
    });

    // A subscription that is done with everything has nothing left for the next run.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let kinds = kinds.replace("[sink]", "subscription = \"failover\"\n[sink]");
    fs::write(&file, format!("{kinds}{section}")).unwrap();
    for expected in [3_000, 0] {
        let out = folder.path().join(format!("out-{expected}"));
        let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
        fraud::succeed(&["run", "--settings", file, "--until-end", "--out", out]);
        let predictions = &fraud::summary(out.as_ref())["predictions"];
        assert_eq!(*predictions, expected);
    }

    // A batch that swells beyond the limit is a dead letter, and what comes after it is scored.
    let payments = fraud::contents(&PulsarSource::json(&cluster, "payments").until_end());
    let payment = payments[0].to_string();
    write_alone(&cluster, &format!("{payment}{}", " ".repeat(900_000)));
    write_alone(&cluster, &payment);
    let out = folder.path().join("out-limited");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let run = ["run", "--settings", file, "--until-end", "--out", out];
    fraud::succeed(&[&run[..], &["--decompressed-bytes-max", "100KiB"]].concat());
    let told = fraud::summary(out.as_ref());
    let counts = ["records_in", "dead_letters", "predictions"].map(|name| told[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(1)]);
    let letters = fs::read_to_string(folder.path().join("out-limited/dead_letters.jsonl")).unwrap();
    assert!(
        letters.contains("more than the limit of 102400"),
        "{letters}"
    );
}

/// Writes a payment in a batch of its own.
fn write_alone(cluster: &Pulsar, payment: &str) {
    let sink = PulsarSink::encoded(cluster, "payments", |record: &Record<String>, bytes| {
        bytes.extend_from_slice(record.value.as_bytes());
        Ok(())
    });
    let mut writer = sink.open().unwrap();
    let record = Record {
        time: EventTime::from_seconds(0),
        origin: Origin::default(),
        ingested_ns: 0,
        value: payment.to_owned(),
    };
    writer.write(&[record], &mut Refused::default()).unwrap();
    writer.close().unwrap();
}

#[test]
fn what_is_wrong_with_the_settings_of_pulsar_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let check = |text: &str, arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let settings = ["check", "--settings", file.to_str().unwrap()];
        fraud::refused(&[&settings[..], arguments].concat())
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
    let kind =
        "[source]\nkind = \"pulsar\"\nsubscription = \"shared\"\n[pulsar]\nurl = \"pulsar://b\"";
    let complaint = check(kind, &[]);
    assert!(
        complaint.contains("`shared` is no kind of subscription"),
        "{complaint}"
    );
    let nobody = "[pulsar]\nurl = \"pulsar://127.0.0.1:9\"\npatience_ms = 200\ntoken = \"canary\"";
    let complaint = check(nobody, &["--source", "pulsar", "--log-level", "trace"]);
    assert!(
        complaint.contains("check that the broker runs"),
        "{complaint}"
    );
    assert!(!complaint.contains("canary"), "{complaint}");
}

#[test]
fn a_broker_that_stays_away_is_waited_for_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    // Port 9 of this machine, where nobody listens.
    let settings = "[source]\nkind = \"pulsar\"\n[sink]\nkind = \"pulsar\"\n[pulsar]\n\
                    url = \"pulsar://127.0.0.1:9\"\npatience_ms = 100\n";
    std::fs::write(&file, settings).unwrap();
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_fraud"))
        .args(["run", "--start-timeout", "1s", "--settings"])
        .arg(&file)
        .arg("--out")
        .arg(folder.path().join("out"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(5), "{said}");
    assert!(
        said.contains("cannot start yet: source `payments`"),
        "{said}"
    );
    let error = said.lines().find(|line| line.starts_with("error: "));
    assert!(
        error.is_some_and(|error| error.contains("127.0.0.1:9")
            && error.contains("check that the broker runs and that `url` names it")),
        "{said}"
    );
}
