//! The main job as a user runs it: the real binary, on the real data and on bad input.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const SCHEDULED: &str =
    "flight,at,carrier,number,origin,dest,tail,distance,departs,arrives,minute,weekday";
const LANDED: &str = "flight,at,carrier,origin,dest,tail,departure_delay,arrival_delay";
const WEATHER: &str =
    "at,origin,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib";

fn flights(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flights"))
        .args(arguments)
        .output()
        .expect("the binary was built")
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/flights-delay")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is UTF-8")
}

/// Runs to a good end and returns the summary.
fn run(out: &Path, arguments: &[&str]) -> Value {
    let output = flights(&[&["run", "--out", text(out)], arguments].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{complaint}");
    let summary = fs::read(out.join("summary.json")).expect("a summary is written");
    serde_json::from_slice(&summary).expect("the summary is JSON")
}

fn count(summary: &Value, field: &str) -> u64 {
    summary[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {summary}"))
}

fn assert_balance(summary: &Value) {
    let ends = ["processed", "late", "dead_letters", "filtered", "held"];
    let sum: u64 = ends.iter().map(|end| count(summary, end)).sum();
    assert_eq!(sum, count(summary, "records_in"), "{summary}");
}

/// A data folder with these lines after the headers; files named in `gone` are left out.
fn data(folder: &Path, scheduled: &[&str], landed: &[&str], gone: &[&str]) {
    for (name, header, lines) in [
        ("scheduled", SCHEDULED, scheduled),
        ("landed", LANDED, landed),
        ("weather", WEATHER, &[]),
    ] {
        if gone.contains(&name) {
            continue;
        }
        let body: String = std::iter::once(&header)
            .chain(lines)
            .map(|l| format!("{l}\n"))
            .collect();
        let packed = zstd::encode_all(body.as_bytes(), 1).expect("memory can be compressed");
        fs::write(folder.join(format!("{name}.csv.zst")), packed).expect("the folder is writable");
    }
}

#[test]
fn the_whole_year_is_the_same_bytes_for_any_number_of_workers_and_any_batch() {
    let folder = TempDir::new().unwrap();
    let one = folder.path().join("1");
    let summary = run(&one, &[]);
    assert_balance(&summary);
    assert_eq!(count(&summary, "records_in"), 336_776 + 327_346 + 26_115);
    assert_eq!(count(&summary, "predictions"), 336_776);
    assert_eq!(count(&summary, "labels"), 327_346);
    assert!(summary["auc"].as_f64().unwrap() > 0.7, "{summary}");
    assert!(
        summary["log_loss"].as_f64() < summary["baseline_log_loss"].as_f64(),
        "{summary}"
    );
    assert_alerts_are_few_and_tell_what_happened(&one, count(&summary, "alerts"));
    assert_predictions_match_the_training_script(&one);

    for (workers, batch) in [("2", "256"), ("4", "37")] {
        let other = folder.path().join(workers);
        let summary = run(&other, &["--workers", workers, "--batch", batch]);
        assert_balance(&summary);
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

/// Few enough that each is read; the year's plainest events are among them.
fn assert_alerts_are_few_and_tell_what_happened(out: &Path, fired: u64) {
    assert!((5..=60).contains(&fired), "{fired} alerts");
    let alerts: Vec<Value> = fs::read_to_string(out.join("alerts.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    assert_eq!(firing.count() as u64, fired);
    // Midnight in New York, in seconds: the storms of 8 March and 9 December, the warm spring.
    for (step, subject, start, message) in [
        (
            "day_watch",
            "score",
            1_362_718_800_i64,
            "towards higher values",
        ),
        ("day_watch", "score", 1_386_565_200, "towards higher values"),
        ("watch", "temp", 1_364_792_400, "towards higher values"),
        ("watch", "score", 1_377_493_200, "towards lower values"),
    ] {
        let found = alerts.iter().find(|alert| {
            alert["step"] == step
                && alert["subject"] == subject
                && alert["state"] == "firing"
                && alert["window_start"] == start * 1_000_000
        });
        let alert = found.unwrap_or_else(|| panic!("{step} {subject} {start} in {alerts:?}"));
        let text = alert["message"].as_str().unwrap();
        assert!(text.contains(subject) && text.contains(message), "{alert}");
    }
    assert!(alerts.iter().all(|alert| alert["subject"] != "weekday"));
}

/// The script that trained the model wrote down its own predictions on backfilled rows.
fn assert_predictions_match_the_training_script(out: &Path) {
    let served: HashMap<u64, f64> = fs::read_to_string(out.join("predictions.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|p| {
            (
                p["flight"].as_u64().unwrap(),
                p["probability"].as_f64().unwrap(),
            )
        })
        .collect();
    let expected = fs::read_to_string(model().join("parity.csv")).unwrap();
    let mut checked = 0;
    for line in expected.lines().skip(1) {
        let (flight, probability) = line.split_once(',').unwrap();
        let probability: f64 = probability.parse().unwrap();
        let got = served[&flight.parse().unwrap()];
        assert!(
            (got - probability).abs() <= 1e-5,
            "flight {flight}: {got} for {probability}"
        );
        checked += 1;
    }
    assert_eq!(checked, 5_000);
}

#[test]
fn backfilled_features_are_the_bytes_that_are_served() {
    let folder = TempDir::new().unwrap();
    let (served, backfilled) = (
        folder.path().join("served"),
        folder.path().join("backfilled"),
    );
    run(&served, &["--keep-features", "--workers", "2"]);
    let arguments = ["backfill", "--out", text(&backfilled), "--batch", "37"];
    assert_eq!(flights(&arguments).status.code(), Some(0));
    let read = |out: &Path| fs::read(out.join("features.csv")).unwrap();
    let rows = read(&served);
    assert_eq!(
        rows.iter().filter(|byte| **byte == b'\n').count(),
        336_776 + 1
    );
    assert!(
        rows == read(&backfilled),
        "backfilled features differ from those served"
    );
}

#[test]
fn bad_records_go_to_the_dead_letters_with_place_and_reason_and_the_run_goes_on() {
    let folder = TempDir::new().unwrap();
    let scheduled = [
        "0,1357031700,UA,1545,EWR,IAH,N14228,1400,1357035300,1357049940,315,1",
        "1,1357032540,UA,1714,LGA,IAH,N24211,many,1357036140,1357050600,329,1",
        "2,1357033200,AA,1141,JFK,MIA,N619AA,1089",
        "3,32503680000,AA,1141,JFK,MIA,N619AA,1089,32503683600,32503690000,340,1",
        "4,1357033300,AA,1141,JFK,MIA,N619AA,NaN,1357036900,1357050600,340,1",
        "\"5,1357033400,AA",
        "6,1357035000,B6,725,JFK,BQN,N804JB,1576,1357038600,1357053780,345,1",
        "7,1357031700,B6,725,JFK,BQN,N804JB,1576,1357035300,1357049940,315,1",
    ];
    let landed = [
        "0,1357050600,UA,EWR,IAH,N14228,2,11",
        "6,1357053000,B6,JFK,BQN,N804JB,,-18",
    ];
    data(folder.path(), &scheduled, &landed, &[]);
    let out = folder.path().join("out");
    let summary = run(&out, &["--data", text(folder.path())]);
    assert_balance(&summary);
    assert_eq!(count(&summary, "records_in"), 10);
    assert_eq!(count(&summary, "predictions"), 2);
    assert_eq!(count(&summary, "labels"), 1);
    assert_eq!(count(&summary, "late"), 1);
    assert_eq!(count(&summary, "dead_letters"), 6);

    let letters: Vec<Value> = fs::read_to_string(out.join("dead_letters.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (step, offset, reason) in [
        ("scheduled", 1, "distance"),
        ("scheduled", 2, "field"),
        ("scheduled", 3, "ahead of the clock"),
        ("scheduled", 4, "NaN"),
        ("scheduled", 5, "quote"),
        ("landed", 1, "departure_delay"),
    ] {
        let found = letters
            .iter()
            .find(|l| l["step"] == step && l["offset"] == offset);
        let letter = found.unwrap_or_else(|| panic!("{step} {offset} in {letters:?}"));
        assert!(
            letter["reason"].as_str().unwrap().contains(reason),
            "{letter}"
        );
        assert!(!letter["raw"].as_str().unwrap().is_empty());
    }
    let late = fs::read_to_string(out.join("late.jsonl")).unwrap();
    assert!(late.contains("\"offset\":7"), "{late}");
}

#[test]
fn files_without_records_are_no_error() {
    let folder = TempDir::new().unwrap();
    data(folder.path(), &[], &[], &[]);
    let summary = run(&folder.path().join("out"), &["--data", text(folder.path())]);
    assert_balance(&summary);
    assert_eq!(count(&summary, "records_in"), 0);
    assert!(summary["auc"].is_null());
}

/// The run is refused with exit code 2 and one line for each expected thing.
fn check_refused(arguments: &[&str], expected: &[&str]) {
    let output = flights(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    for part in expected {
        let said = complaint
            .lines()
            .any(|l| l.starts_with("error: ") && l.contains(part));
        assert!(said, "no error says {part:?}: {complaint}");
    }
}

#[test]
fn what_makes_a_run_impossible_is_said_before_it_starts_all_of_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    data(path, &[], &[], &["landed", "weather"]);
    let out = path.join("out");
    let start = ["run", "--out", text(&out), "--data", text(path)];
    check_refused(&start, &["landed.csv.zst", "weather.csv.zst"]);

    let blocked = path.join("file");
    fs::write(&blocked, "").unwrap();
    data(path, &[], &[], &[]);
    check_refused(
        &[
            "run",
            "--out",
            text(&blocked.join("out")),
            "--data",
            text(path),
        ],
        &["file"],
    );
    check_refused(&["run", "--rate", "fast"], &["fast"]);

    let broken = path.join("broken");
    copy_model(&broken);
    fs::write(broken.join("model.onnx"), "no model").unwrap();
    check_refused(
        &[&start[..], &["--model", text(&broken)]].concat(),
        &["model.onnx"],
    );
}

#[test]
fn a_model_whose_inputs_are_no_features_is_refused_by_their_names() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    data(path, &[], &[], &[]);
    let other = path.join("other");
    copy_model(&other);
    let toml = fs::read_to_string(other.join("model.toml")).unwrap();
    fs::write(
        other.join("model.toml"),
        toml.replace("\"distance\"", "\"distanze\""),
    )
    .unwrap();
    let out = path.join("out");
    let arguments = [
        "run",
        "--out",
        text(&out),
        "--data",
        text(path),
        "--model",
        text(&other),
    ];
    check_refused(&arguments, &["distanze"]);
}

fn copy_model(to: &Path) {
    fs::create_dir(to).unwrap();
    for file in ["model.onnx", "model.toml", "reference.json"] {
        fs::copy(model().join(file), to.join(file)).unwrap();
    }
}

#[test]
fn the_graph_and_the_check_open_nothing() {
    let mermaid = flights(&["graph", "--format", "mermaid"]);
    let graph = String::from_utf8(mermaid.stdout).unwrap();
    assert!(
        graph.starts_with("flowchart LR") && graph.contains("predictions"),
        "{graph}"
    );
    let dot = String::from_utf8(flights(&["graph", "--format", "dot"]).stdout).unwrap();
    assert!(dot.starts_with("digraph"), "{dot}");
}
