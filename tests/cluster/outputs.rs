//! The outputs are the same bytes however many processes there are.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{FLIGHTS, Process, free_hosts, generate};

const FILES: [&str; 6] = [
    "predictions.jsonl",
    "alerts.jsonl",
    "drift.jsonl",
    "quality.jsonl",
    "late.jsonl",
    "dead_letters.jsonl",
];

fn summary(out: &Path) -> Value {
    let text = fs::read(out.join("summary.json")).expect("process 0 writes a summary");
    let summary: Value = serde_json::from_slice(&text).unwrap();
    let count = |field: &str| summary[field].as_u64().unwrap();
    let ends = ["processed", "late", "dead_letters", "filtered", "held"];
    assert_eq!(
        ends.map(count).iter().sum::<u64>(),
        count("records_in"),
        "{summary}"
    );
    summary
}

fn assert_same(one: &Path, other: &Path, what: &str) {
    for file in FILES {
        let (a, b) = (
            fs::read(one.join(file)).unwrap(),
            fs::read(other.join(file)).unwrap(),
        );
        assert!(a == b, "{file} differs with {what}");
    }
    let (a, b) = (summary(one), summary(other));
    for field in [
        "records_in",
        "processed",
        "late",
        "dead_letters",
        "predictions",
        "labels",
        "alerts",
        "auc",
        "log_loss",
        "model",
    ] {
        assert_eq!(a[field], b[field], "{field} differs with {what}");
    }
    let steps = |summary: &Value| -> Vec<(Value, Value)> {
        let stages = summary["stages"].as_array().unwrap().iter();
        let sinks = stages.filter(|stage| stage["kind"] == "sink");
        sinks
            .map(|stage| (stage["id"].clone(), stage["records_in"].clone()))
            .collect()
    };
    assert_eq!(steps(&a), steps(&b), "{what}");
}

#[test]
fn fraud_gives_the_same_bytes_with_1x2_2x1_and_3x2_processes_and_workers() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 30_000);
    let out = |name: &str| folder.path().join(name).join("out");
    for (name, processes, workers) in [("1x2", 1, "2"), ("2x1", 2, "1"), ("3x2", 3, "2")] {
        let (own, hosts) = (folder.path().join(name), free_hosts(processes));
        fs::create_dir(&own).unwrap();
        let more = ["--until-end", "--workers", workers];
        let all = (0..processes).map(|index| Process::fraud(&own, &log, &hosts, index, &more));
        for process in all.collect::<Vec<_>>() {
            process.ends_with(0, "");
        }
        assert_eq!(summary(&out(name))["processes"], processes);
        assert_same(&out("1x2"), &out(name), name);
    }
}

#[test]
fn flights_gives_the_same_letters_in_three_processes() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    copy_with_bad_lines(&data);
    let out = |name: &str| folder.path().join(name);
    for (name, processes) in [("1", 1), ("3", 3)] {
        let (own, hosts) = (out(name), free_hosts(processes));
        let all = (0..processes).map(|index| {
            let process = index.to_string();
            let arguments = [
                "run",
                "--data",
                data.to_str().unwrap(),
                "--out",
                own.to_str().unwrap(),
                "--hosts",
                &hosts,
                "--process",
                &process,
            ];
            Process::start(
                FLIGHTS,
                folder.path(),
                &format!("{name}-{index}"),
                &arguments,
            )
        });
        for process in all.collect::<Vec<_>>() {
            process.ends_with(0, "");
        }
        assert_same(&out("1"), &own, name);
    }
    let summary = summary(&out("3"));
    assert!(
        summary["late"].as_u64() > Some(0) && summary["dead_letters"].as_u64() > Some(0),
        "{summary}"
    );
}

/// The first months of the flights, with a line in each hundred that is late or cannot be read.
fn copy_with_bad_lines(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/flights");
    for name in ["scheduled.csv.zst", "landed.csv.zst", "weather.csv.zst"] {
        let packed = fs::read(real.join(name)).unwrap();
        let text = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        let lines: Vec<_> = text.lines().take(20_000).collect();
        let mut bad = String::new();
        for (number, line) in lines.iter().enumerate() {
            bad.push_str(line);
            bad.push('\n');
            match number % 100 {
                50 => bad.push_str("so,this,is,none\n"),
                // Of long ago.
                99 if name.starts_with("landed") => {
                    bad.push_str(lines[1 + number / 2]);
                    bad.push('\n');
                }
                _ => {}
            }
        }
        fs::write(
            folder.join(name),
            zstd::encode_all(bad.as_bytes(), 1).unwrap(),
        )
        .unwrap();
    }
}
