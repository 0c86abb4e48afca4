//! What is wrong shows before anything starts, and says what to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource, Sasl, Start, Tls, Topics};
use thalweg_engine::sink::Sink;
use thalweg_engine::source::Source;

use crate::broker::{Broker, shared};
use crate::job::{self, Event, Running, assert_has};

/// What the check of a source says that must not pass.
fn refusal(kafka: &Kafka, topics: impl Into<Topics>) -> String {
    let source = KafkaSource::<Event>::json(kafka, topics);
    job::refusal(&source)
}

#[test]
fn a_topic_that_does_not_exist_is_named_before_anything_starts() {
    let Some(broker) = shared() else { return };
    let there = broker.topic("aaa", 1);
    let running = {
        let (kafka, there) = (broker.kafka(), there.clone());
        Running::start(1, move || {
            let source = KafkaSource::json(&kafka, vec![&*there, "no-such-input"]);
            (source, KafkaSink::json(&kafka, "no-such-output"))
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
    assert_has(&refusal(&broker.kafka(), "no-such-input"), &["there are "]);
    // Asking does not make it.
    assert!(!errors.contains("there are no topics"));
    assert_has(
        &refusal(&broker.kafka(), "no-such-output"),
        &["does not exist"],
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let Some(broker) = shared() else { return };
    let kafka = broker.kafka();
    let with = |name, value| refusal(&kafka.clone().property(name, value), "any");
    assert_has(
        &with("no.such.thing", "1"),
        &["`no.such.thing`", "fix the settings"],
    );
    assert_has(&with("linger.ms", "soon"), &["`linger.ms`"]);
    assert_has(
        &with("enable.auto.commit", "true"),
        &["`enable.auto.commit` cannot be set"],
    );
    assert_has(
        &refusal(&kafka, Topics::pattern("(")),
        &["no regular expression"],
    );
    assert_has(
        &refusal(&kafka, Vec::<String>::new()),
        &["no topic is named"],
    );
    let committed = KafkaSource::<Event>::json(&kafka, "any").start(Start::Committed);
    let error = committed.check().unwrap_err().to_string();
    assert_has(&error, &["names no group"]);
}

#[test]
fn a_cluster_that_is_not_there_is_named() {
    // Port 9 of this machine, where nobody listens.
    let kafka = Kafka::at("127.0.0.1:9").patience(Duration::from_secs(1));
    assert_has(
        &refusal(&kafka, "payments"),
        &["127.0.0.1:9", "refused", "check that the brokers run"],
    );
    let sink = KafkaSink::<Event>::json(&kafka, "scores");
    assert_has(
        &sink.check().unwrap_err().to_string(),
        &["`scores`", "check that the brokers run"],
    );
}

/// The mechanisms, each with the right credentials or with wrong ones.
fn mechanisms(password: &str, token_file: PathBuf) -> BTreeMap<&'static str, Sasl> {
    let username = "alice".to_owned();
    let password = || password.into();
    let plain = Sasl::Plain {
        username: username.clone(),
        password: password(),
    };
    let scram_256 = Sasl::ScramSha256 {
        username: username.clone(),
        password: password(),
    };
    let scram_512 = Sasl::ScramSha512 {
        username,
        password: password(),
    };
    BTreeMap::from([
        ("PLAIN", plain),
        ("SCRAM-SHA-256", scram_256),
        ("SCRAM-SHA-512", scram_512),
        ("OAUTHBEARER", Sasl::OAuthBearer { token_file }),
    ])
}

/// The clusters as each mechanism gets in, with TLS and without.
pub(crate) fn ways_in(
    broker: &Broker,
    password: &str,
    token_file: PathBuf,
) -> Vec<(String, Kafka)> {
    let ca = PathBuf::from(broker.address("THALWEG_TEST_KAFKA_DIR")).join("ca.pem");
    let tls = Tls {
        ca: Some(ca),
        ..Tls::default()
    };
    let mut ways = Vec::new();
    for (name, sasl) in mechanisms(password, token_file) {
        let open = Kafka::at(broker.address("THALWEG_TEST_KAFKA_SASL")).sasl(sasl.clone());
        ways.push((name.to_owned(), open));
        let encrypted = Kafka::at(broker.address("THALWEG_TEST_KAFKA_SASL_TLS"));
        let encrypted = encrypted.sasl(sasl).tls(tls.clone());
        ways.push((format!("{name} over TLS"), encrypted));
    }
    ways
}

/// A token that the test broker takes: one without a signature, fresh enough.
pub(crate) fn token(subject: &str, expires_s: i64) -> String {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let claims = format!(r#"{{"sub":"{subject}","iat":1,"exp":{expires_s}}}"#);
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
}

/// In the far future.
pub(crate) const LATER_S: i64 = 4_000_000_000;

#[test]
fn every_mechanism_gets_in_with_the_right_credentials() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("secured", 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, token("alice", LATER_S)).unwrap();
    for (way, kafka) in ways_in(broker, "alice-secret", file) {
        let kafka = kafka.patience(Duration::from_secs(20));
        let source = KafkaSource::<Event>::json(&kafka, &*topic);
        let outcome = source.check();
        assert!(outcome.is_ok(), "{way}: {outcome:?}");
        let outcome = KafkaSink::<Event>::json(&kafka, &*topic).check();
        assert!(outcome.is_ok(), "{way}: {outcome:?}");
    }
    let ca = PathBuf::from(broker.address("THALWEG_TEST_KAFKA_DIR")).join("ca.pem");
    let tls = Tls {
        ca: Some(ca),
        ..Tls::default()
    };
    let kafka = Kafka::at(broker.address("THALWEG_TEST_KAFKA_TLS")).tls(tls);
    KafkaSource::<Event>::json(&kafka, &*topic).check().unwrap();
}

#[test]
fn wrong_credentials_are_told_from_everything_else() {
    let Some(broker) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, token("", 1)).unwrap();
    for (way, kafka) in ways_in(broker, "wrong-password", file) {
        let refusal = refusal(&kafka, "any");
        if !way.starts_with("OAUTHBEARER") {
            assert_has(&refusal, &["check the user's name, password and mechanism"]);
        }
        assert!(!refusal.contains("wrong-password"), "{refusal}");
    }
    // A certificate that nobody has vouched for, or somebody else than is trusted.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = folder.path().join("other.pem");
    std::fs::write(&ca, other.cert.pem()).unwrap();
    let trusting = |ca: Option<PathBuf>| {
        let tls = Tls {
            ca,
            ..Tls::default()
        };
        Kafka::at(broker.address("THALWEG_TEST_KAFKA_TLS")).tls(tls)
    };
    for ca in [None, Some(ca)] {
        let kafka = trusting(ca);
        let parts = ["certificate", "check the certificates (`tls`)"];
        assert_has(&refusal(&kafka, "any"), &parts);
        let sink = KafkaSink::<Event>::json(&kafka, "any");
        assert_has(&sink.check().unwrap_err().to_string(), &parts);
    }
    assert_has(
        &refusal(&trusting(Some("/no/such.pem".into())), "any"),
        &["ssl.ca.location", "fix the settings"],
    );
    // A port that is not one for TLS.
    let kafka = Kafka::at(broker.address("THALWEG_TEST_KAFKA")).tls(Tls::default());
    assert_has(&refusal(&kafka, "any"), &["check"]);
    // A file that holds no token, or is not there.
    std::fs::write(folder.path().join("empty"), "").unwrap();
    for name in ["empty", "missing"] {
        let token_file = folder.path().join(name);
        let kafka = Kafka::at(broker.address("THALWEG_TEST_KAFKA_SASL"))
            .patience(Duration::from_secs(1))
            .sasl(Sasl::OAuthBearer { token_file });
        assert_has(&refusal(&kafka, "any"), &["token file", name]);
    }
}

#[test]
fn what_a_source_or_a_sink_requires_is_looked_at_before_anything_starts() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("requiring", 1);
    let (kafka, missing) = (broker.kafka(), || {
        Err::<u32, _>("subject `a` is not there".to_owned())
    });
    let source = || KafkaSource::<Event>::json(&kafka, &*topic);
    let sink = || KafkaSink::<Event>::json(&kafka, &*topic);
    source().requires(|| Ok(7)).check().unwrap();
    sink().requires(|| Ok(7)).check().unwrap();
    let parts = [
        "subject `a` is not there",
        "see to what it requires",
        &topic,
    ];
    assert_has(
        &source().requires(missing).check().unwrap_err().to_string(),
        &parts,
    );
    assert_has(
        &sink().requires(missing).check().unwrap_err().to_string(),
        &parts,
    );
}
