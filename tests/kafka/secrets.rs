//! Secrets show in no log and no message, however talkative the logs are.

use thalweg_connectors::kafka::{KafkaSink, KafkaSource};
use thalweg_engine::sink::Sink;
use thalweg_engine::source::Source;

use crate::broker::shared;
use crate::job::{Event, assert_has_none, logs_of};
use crate::refusals::{LATER_S, token, ways_in};

#[test]
fn no_log_and_no_message_holds_a_secret() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("canary", 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let bearer = token("canary-subject", LATER_S);
    std::fs::write(&file, &bearer).unwrap();
    let canaries = [
        "canary-password",
        "canary-key-password",
        "canary-client-secret",
        "canary-keystore",
        "canary-config",
        "canary-pem-line",
        &bearer,
    ];
    let mut said = String::new();
    let logs = logs_of(|| {
        for (_, kafka) in ways_in(broker, canaries[0], file) {
            let kafka = kafka
                .property("debug", "all")
                .property("ssl.key.password", canaries[1])
                .property("ssl.keystore.password", canaries[3])
                .property("sasl.oauthbearer.config", canaries[4]);
            let pem = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----", canaries[5]);
            let no_client = [
                kafka.clone().property("ssl.key.pem", pem),
                kafka
                    .clone()
                    .property("sasl.oauthbearer.client.secret", canaries[2]),
                kafka.clone().property("acks.secret", canaries[2]),
            ];
            for kafka in no_client.into_iter().chain([kafka]) {
                said += &format!("{kafka:?}");
                let source = KafkaSource::<Event>::json(&kafka, &*topic);
                said += &format!("{:?} {}", source.check(), source.describe());
                let sink = KafkaSink::<Event>::json(&kafka, &*topic);
                said += &format!("{:?} {}", sink.check(), sink.describe());
            }
        }
    });
    assert!(
        logs.contains("sasl.mechanism"),
        "the client tells its settings"
    );
    assert!(logs.lines().count() > 1000, "the client tells much");
    assert_has_none(&canaries, &said, &logs);
}
