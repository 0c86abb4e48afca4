//! The fraud job with its topics in a real Kafka, by settings alone.
//!
//! Where no broker can be had, the test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "brokers/fraud.rs"]
mod fraud;
#[path = "place.rs"]
mod place;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "brokers/running.rs"]
mod running;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use thalweg::connectors::kafka::{Kafka, KafkaSource};
use thalweg::connectors::log::LogSource;

use fraud::{contents, probabilities, succeed};
use place::Random;

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
    fraud::begin_anew(&kafka, || {
        for topic in ["predictions", "alerts"] {
            for arguments in [
                &["--delete", "--topic", topic][..],
                &["--create", "--topic", topic, "--partitions", "4"],
            ] {
                broker.tool("org.apache.kafka.tools.TopicCommand", arguments, "");
            }
        }
    });
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

/// Starts the program; what it complains of goes to a file.
fn start(arguments: &[&str], said: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fraud"));
    let said = fs::File::create(said).unwrap();
    let command = command.args(arguments).stdout(Stdio::null()).stderr(said);
    command.spawn().unwrap()
}

#[test]
fn a_job_waits_for_its_broker_and_starts_when_it_is_there() {
    let Some(broker) = running::own("kafka") else {
        return;
    };
    let brokers = broker.address("THALWEG_TEST_KAFKA");
    for topic in ["payments", "labels", "predictions", "alerts"] {
        let arguments = ["--create", "--topic", topic, "--partitions", "1"];
        broker.tool("org.apache.kafka.tools.TopicCommand", &arguments, "");
    }
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, settings, said) = (text("out"), text("settings.toml"), text("said"));
    fs::write(
        &settings,
        format!("{KINDS}[kafka]\nbrokers = \"{brokers}\"\npatience_ms = 500\n"),
    )
    .unwrap();
    let generate = ["generate", "--events", "200", "--settings", &settings];
    succeed(&generate);
    broker.kill();
    let run = ["run", "--settings", &settings, "--until-end", "--out", &out];
    let mut job = start(&run, said.as_ref());
    let said = || fs::read_to_string(&said).unwrap();
    while said().matches("cannot start yet: ").count() < 8 {
        assert_eq!(job.try_wait().unwrap(), None, "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    broker.start_again();
    let ended = job.wait().unwrap();
    assert_eq!(ended.code(), Some(0), "{}", said());
    assert!(said().contains("check that the brokers run"), "{}", said());
    assert_eq!(fraud::summary(out.as_ref())["predictions"], 200);
}

#[test]
fn a_broker_that_stays_away_ends_the_start_and_its_supervisor_tries_again() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (out, settings, said) = (text("out"), text("settings.toml"), text("said"));
    // Port 9 of this machine, where nobody listens.
    fs::write(
        &settings,
        format!("{KINDS}[kafka]\nbrokers = \"127.0.0.1:9\"\npatience_ms = 100\n"),
    )
    .unwrap();
    let run = [
        "run",
        "--settings",
        &settings,
        "--out",
        &out,
        "--start-timeout",
        "1s",
    ];
    let supervised = ["--supervise", "--restarts", "1"];
    let mut job = start(&[&run[..], &supervised].concat(), said.as_ref());
    let ended = job.wait().unwrap();
    let said = fs::read_to_string(&said).unwrap();
    assert_eq!(ended.code(), Some(5), "{said}");
    assert_eq!(said.matches("starting it again").count(), 1, "{said}");
    let error = said.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_default();
    assert!(
        error.contains("127.0.0.1:9") && error.contains("check that the brokers run"),
        "{said}"
    );
    // What will not pass is not tried again.
    let none = ["--source", "kafka", "--sink", "fax"];
    let mut job = start(
        &[&run[..], &supervised, &none].concat(),
        text("none").as_ref(),
    );
    assert_eq!(job.wait().unwrap().code(), Some(2));
}

/// How often the job is killed, unless the environment says otherwise.
const KILLS: u64 = 6;
/// Payments of the job that is killed.
const MANY: usize = 150_000;

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
    assert!(
        complaint.contains("unknown key `patience`: the nearest known key is `patience_ms`"),
        "{complaint}"
    );
}
