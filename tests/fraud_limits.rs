//! Limits on what is decoded, by settings: what is beyond them is a dead letter with the reason, and everything
//! else is scored.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/fraud.rs"]
mod fraud;

use std::path::Path;

use serde_json::Value;
use thalweg::connectors::log::{LogSink, LogSource};
use thalweg::engine::record::{Origin, Record};
use thalweg::engine::sink::{Refused, Sink};
use thalweg::engine::time::EventTime;

#[test]
fn what_is_beyond_a_limit_is_a_dead_letter_and_the_rest_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, out) = (path("log"), path("out"));
    fraud::succeed(&["generate", "--log", &log, "--events", "1000"]);
    // As the newest payment, with a field more, which nobody asks for.
    let payments = fraud::contents(&LogSource::<Value>::json(&log, "payments").until_end());
    let with = |note: Value| {
        let newest = payments.iter().max_by_key(|payment| payment["at"].as_i64());
        let mut payment = newest.unwrap().clone();
        payment["note"] = note;
        payment
    };
    let nested = |depth: u32| (0..depth).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let notes = [
        with("x".repeat(2_000).into()),
        with(nested(4)),
        with("x".repeat(1_500).into()),
        with(nested(3)),
    ];
    append(Path::new(&log), &notes);

    let limits = ["--value-bytes-max", "2000", "--json-depth-max", "4"];
    let run = [
        "run",
        "--log",
        &log,
        "--until-end",
        "--sink",
        "file",
        "--out",
        &out,
    ];
    fraud::succeed(&[&run[..], &limits].concat());
    let told = fraud::summary(out.as_ref());
    assert_eq!(
        (&told["dead_letters"], &told["predictions"]),
        (&2.into(), &1_002.into())
    );
    let letters = std::fs::read_to_string(Path::new(&out).join("dead_letters.jsonl")).unwrap();
    let reason = |line: &str| {
        let letter: Value = serde_json::from_str(line).unwrap();
        assert_eq!(letter["step"], "payments");
        letter["reason"].as_str().unwrap().to_owned()
    };
    let mut reasons: Vec<_> = letters.lines().map(reason).collect();
    reasons.sort();
    let expected = ["more than 4 deep", "more than the limit of 2000"];
    for (reason, part) in reasons.iter().zip(expected) {
        assert!(reason.contains(part), "{reasons:?}");
    }
}

fn append(log: &Path, values: &[Value]) {
    let records: Vec<_> = values
        .iter()
        .map(|value| Record {
            time: EventTime::from_seconds(0),
            origin: Origin::default(),
            ingested_ns: 0,
            value: value.clone(),
        })
        .collect();
    let mut writer = LogSink::json(log, "payments").open().unwrap();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.close().unwrap();
}

#[test]
fn limits_that_make_no_sense_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let check = |settings: &str, more: &[&str]| {
        std::fs::write(&file, settings).unwrap();
        let check = ["check", "--settings", file.to_str().unwrap()];
        fraud::refused(&[&check[..], more].concat())
    };
    let bytes = ["0", "-1", "2GiB", "99999999999999999999", "a lot"];
    let depths = ["0", "-1", "129", "deep"];
    let settings = [
        ("value-bytes-max", &bytes[..]),
        ("decompressed-bytes-max", &bytes[..]),
        ("json-depth-max", &depths[..]),
    ];
    for (name, values) in settings {
        for value in values {
            let option = format!("--{name}={value}");
            let written = format!("[source]\n{name} = \"{value}\"\n");
            for complaint in [check("", &[&option]), check(&written, &[])] {
                for part in [name, &format!("`{value}`"), "give"] {
                    assert!(complaint.contains(part), "{part} is not in: {complaint}");
                }
            }
        }
    }
    let complaint = check("", &["--decompressed-bytes-max", "1MiB"]);
    assert!(
        complaint.contains("--decompressed-bytes-max"),
        "{complaint}"
    );
}
