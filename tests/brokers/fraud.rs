//! The fraud job with its topics in a broker, by settings alone, beside the same in the log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use thalweg::connectors::log::LogSource;
use thalweg::engine::source::{Found, ReadBatch, ReadStatus, Source};

const EVENTS: usize = 3_000;

fn fraud(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    command.args(arguments).output().unwrap()
}

pub(crate) fn succeed(arguments: &[&str]) {
    let output = fraud(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{complaint}");
}

/// What the program complains of that is told not to start.
pub(crate) fn refused(arguments: &[&str]) -> String {
    let output = fraud(arguments);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    complaint
}

/// All values of a topic, each once for every time it is there.
pub(crate) fn contents(source: &dyn Source<Value>) -> Vec<Value> {
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
pub(crate) fn probabilities(predictions: Vec<Value>) -> (BTreeMap<u64, f64>, usize) {
    let count = predictions.len();
    let pair = |p: Value| {
        let (payment, probability) = (p["payment"].as_u64(), p["probability"].as_f64());
        (payment.unwrap(), probability.unwrap())
    };
    (predictions.into_iter().map(pair).collect(), count)
}

/// What a run has written down of itself.
pub(crate) fn summary(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("summary.json")).unwrap()).unwrap()
}

/// Runs a job with checkpoints and takes these away: it does not begin anew before its topics have been made
/// anew. The arguments say where the topics are, with their payments.
pub(crate) fn begin_anew(arguments: &[&str], make_anew: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, checkpoints) = (text("out"), text("checkpoints"));
    let run = ["run", "--until-end", "--delivery", "exactly_once"];
    let places = ["--out", &out, "--checkpoint", &checkpoints];
    let run = [&run[..], &places, arguments].concat();
    succeed(&run);
    fs::remove_dir_all(&checkpoints).unwrap();
    let complaint = refused(&run);
    for part in [
        "sink `predictions`: cannot write to topic `predictions`",
        "it has been published up to epoch",
        &format!("but there are no checkpoints in `{checkpoints}`"),
        "see that it is the right place, mounted and whole",
        "to begin anew, take away what has been published: the topic",
    ] {
        assert!(complaint.contains(part), "`{part}` is not in: {complaint}");
    }
    assert!(!Path::new(&checkpoints).exists());
    fs::remove_dir_all(&out).unwrap();
    make_anew();
    succeed(&run);
    assert_eq!(summary(out.as_ref())["predictions"], EVENTS);
}

/// Generates payments into the topics of a broker and of a log, scores both, and compares. The
/// settings say where the broker is; `source` gives a topic of it, to its end.
pub(crate) fn compare<S: Source<Value>>(settings: &str, source: impl Fn(&str) -> S) {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, in_log, in_broker) = (text("log"), text("in_log"), text("in_broker"));
    let file = text("settings.toml");
    fs::write(&file, settings).unwrap();
    let events = EVENTS.to_string();
    let generate = ["generate", "--events", &events, "--seed", "5"];

    succeed(&[&generate[..], &["--log", &log]].concat());
    succeed(&["run", "--log", &log, "--until-end", "--out", &in_log]);
    succeed(&[&generate[..], &["--settings", &file]].concat());
    succeed(&["check", "--settings", &file]);
    let run = ["run", "--settings", &file, "--until-end", "--workers", "2"];
    succeed(&[&run[..], &["--out", &in_broker]].concat());

    let topic = |name: &str| contents(&source(name));
    let logged = |name: &str| contents(&LogSource::json(&log, name).until_end());
    let (scored, count) = probabilities(topic("predictions"));
    let (expected, _) = probabilities(logged("predictions"));
    let payments = topic("payments").len();
    assert_eq!((payments, count, scored.len()), (EVENTS, EVENTS, EVENTS));
    assert_eq!(scored, expected);

    let told = summary(Path::new(&in_broker));
    let expected = summary(Path::new(&in_log));
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
    let alerts = logged("alerts").len();
    assert_eq!(topic("alerts").len(), alerts);
    assert!(alerts > 0);
}
