//! What is wrong shows before anything starts, and says what to do; secrets show nowhere.

use std::path::PathBuf;
use std::time::Duration;

use thalweg_connectors::pulsar::{Pulsar, PulsarSink, PulsarSource, Tls, Topics};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::Source;
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, shared};
use crate::job::{self, Event, Running, assert_has, assert_has_none, logs_of, read_all};

/// What the check of a source says that must not pass.
fn refusal(pulsar: &Pulsar, topics: impl Into<Topics>) -> String {
    let source = PulsarSource::<Event>::json(pulsar, topics);
    job::refusal(&source)
}

#[test]
fn a_topic_that_does_not_exist_is_named_before_anything_starts() {
    let Some(broker) = shared() else { return };
    let there = broker.topic("aaa", 1);
    let running = {
        let (pulsar, there) = (broker.pulsar(), there.clone());
        Running::start(1, move || {
            let source = PulsarSource::json(&pulsar, vec![&*there, "no-such-input"]);
            (source, PulsarSink::json(&pulsar, "no-such-output"))
        })
    };
    let errors = running.join().unwrap_err().to_string();
    assert_has(
        &errors,
        &[
            "source `in`: cannot open topics",
            "topic `no-such-input` does not exist",
            "create the topic, or fix its name",
            "sink `out`: cannot write to topic `no-such-output`",
            "topic `no-such-output` does not exist",
        ],
    );
    // Asking does not make it.
    assert_has(
        &refusal(&broker.pulsar(), "no-such-output"),
        &["does not exist", "there are "],
    );
    assert_has(
        &refusal(&broker.pulsar(), Topics::pattern("(")),
        &["no regular expression"],
    );
    assert_has(
        &refusal(&broker.pulsar(), Vec::<String>::new()),
        &["no topic is named"],
    );
    assert_has(&refusal(&broker.pulsar(), "no/such/topic"), &["no/such"]);
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    // Port 9 of this machine, where nobody listens.
    let pulsar = Pulsar::at("pulsar://127.0.0.1:9").patience(Duration::from_millis(300));
    assert_has(
        &refusal(&pulsar, "payments"),
        &["127.0.0.1:9", "refused", "check that the broker runs"],
    );
    let sink = PulsarSink::<Event>::json(&pulsar, "scores");
    let refusal = sink.check().unwrap_err().to_string();
    assert_has(&refusal, &["`scores`", "check that the broker runs"]);
}

/// The cluster over TLS, with its certificate trusted.
fn encrypted(broker: &Broker) -> Pulsar {
    let ca = PathBuf::from(broker.address("THALWEG_TEST_PULSAR_DIR")).join("ca.pem");
    let url = broker.address("THALWEG_TEST_PULSAR_TLS");
    Pulsar::at(url).tls(Tls { ca: Some(ca) })
}

#[test]
fn tls_and_tokens_get_in() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("secured", 1);
    let token = broker.address("THALWEG_TEST_PULSAR_TOKEN");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let ways = [
        broker.pulsar().token(token),
        broker.pulsar().token_file(&file),
        encrypted(broker),
        encrypted(broker).token(token),
    ];
    for pulsar in ways {
        let sink = PulsarSink::<Event>::json(&pulsar, &*topic);
        let mut writer = sink.open().unwrap();
        let record = record_of((0, Event { id: 1 }));
        writer.write(&[record], &mut Refused::default()).unwrap();
        writer.flush().unwrap();
        let source = PulsarSource::<Event>::json(&pulsar, &*topic).until_end();
        assert!(!read_all(&source).is_empty());
    }
}

/// A token that says as much as the right one, signed with another key.
const WRONG: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.\
                     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn wrong_credentials_are_told_from_everything_else() {
    let Some(broker) = shared() else { return };
    for pulsar in [
        broker.pulsar().token(WRONG),
        broker.pulsar().token("canary"),
    ] {
        let refusal = refusal(&pulsar, "any");
        assert_has(&refusal, &["Authentication", "check the token"]);
        assert!(
            !refusal.contains("canary") && !refusal.contains("eyJ"),
            "{refusal}"
        );
    }
    let missing = broker.pulsar().token_file("/no/such/token");
    assert_has(
        &refusal(&missing, "any"),
        &["/no/such/token", "`token_file`"],
    );
    // A certificate that nobody has vouched for.
    let url = broker.address("THALWEG_TEST_PULSAR_TLS");
    let pulsar = Pulsar::at(url).patience(Duration::from_millis(500));
    assert_has(
        &refusal(&pulsar, "any"),
        &["certificate", "check the certificates"],
    );
}

#[test]
fn no_log_and_no_message_holds_a_secret() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("canary", 1);
    let right = broker.address("THALWEG_TEST_PULSAR_TOKEN");
    let mut said = String::new();
    let logs = logs_of(|| {
        for token in [right, WRONG, "canary-token"] {
            for pulsar in [broker.pulsar().token(token), encrypted(broker).token(token)] {
                said += &format!("{pulsar:?}");
                let source = PulsarSource::<Event>::json(&pulsar, &*topic);
                said += &format!("{:?} {}", source.check(), source.describe());
                said += &format!("{:?}", source.open(0, 0).map(drop));
                let sink = PulsarSink::<Event>::json(&pulsar, &*topic);
                said += &format!("{:?} {:?}", sink.check(), sink.open().map(drop));
            }
        }
    });
    assert_has_none(&[right, WRONG, "canary-token"], &said, &logs);
}

#[test]
fn a_record_larger_than_the_broker_takes_is_refused_and_no_other() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("narrow", 1);
    let sink = PulsarSink::<String>::encoded(&broker.pulsar(), &*topic, |record, bytes| {
        bytes.extend_from_slice(record.value.as_bytes());
        Ok(())
    });
    // What shrinks on its way is taken; five million digits of a counter hardly do.
    let counted: String = (0..700_000_u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let values = [
        "first".to_owned(),
        counted,
        " ".repeat(6_000_000),
        "last".to_owned(),
    ];
    let records: Vec<_> = (0..).zip(values).map(record_of).collect();
    let mut writer = sink.open().unwrap();
    let mut refused = Refused::default();
    writer.write(&records, &mut refused).unwrap();
    writer.flush().unwrap();
    let refused = refused.take();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, 1);
    assert_has(&refused[0].1, &["is too large", "`maxMessageSize`"]);
    assert_eq!(sink.reports().delivered(), 3);
}

fn record_of<T>((offset, value): (u64, T)) -> Record<T> {
    Record {
        time: EventTime::default(),
        origin: Origin {
            offset,
            ..Origin::default()
        },
        ingested_ns: 0,
        value,
    }
}
