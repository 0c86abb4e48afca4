//! What the client makes of compressed batches, and how far that is bounded.

use rdkafka::producer::{BaseRecord, Producer};
use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource};

use crate::broker::{Broker, PATIENCE, send, shared};
use crate::flows::ids;
use crate::job::{Event, Running, assert_has};

/// Bytes of a value that becomes a small batch.
const SWOLLEN: usize = 3_000_000;

/// Writes a value that is large before it is compressed, and a small one after it.
fn write(broker: &Broker, topic: &str, codec: &str) {
    let mut config = broker.config();
    config
        .set("compression.type", codec)
        .set("message.max.bytes", "8000000");
    let producer = config.create().unwrap();
    let swollen = format!(r#"{{"id":7,"note":"{}"}}"#, "x".repeat(SWOLLEN));
    for value in [swollen, Event::text(8)] {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0);
        send(&producer, record.payload(value.as_bytes()));
        producer.flush(PATIENCE).unwrap();
    }
}

/// The cluster for a client that takes in little at once.
fn narrow(broker: &Broker) -> Kafka {
    let kafka = broker.kafka();
    kafka
        .property("fetch.max.bytes", "1000000")
        .property("receive.message.max.bytes", "1001000")
}

fn start(broker: &Broker, input: &str, output: &str) -> Running {
    let (kafka, input, output) = (narrow(broker), input.to_owned(), output.to_owned());
    Running::start(1, move || {
        let source = KafkaSource::json(&kafka, &*input).until_end();
        (source, KafkaSink::json(&kafka, &*output))
    })
}

#[test]
fn a_batch_of_zstd_that_swells_beyond_what_the_client_takes_ends_the_run_with_its_place() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("zstd", 1), broker.topic("zstd-out", 1));
    write(broker, &input, "zstd");
    let error = start(broker, &input, &output).join().unwrap_err();
    let parts = ["offset 0", &input, "`receive.message.max.bytes`"];
    assert_has(&error.to_string(), &parts);
}

#[test]
fn what_other_codecs_make_of_a_batch_is_bounded_record_by_record() {
    let Some(broker) = shared() else { return };
    for codec in ["gzip", "lz4", "snappy"] {
        let (input, output) = (broker.topic(codec, 1), broker.topic("swollen-out", 1));
        write(broker, &input, codec);
        let running = start(broker, &input, &output);
        let dead = running.dead.clone();
        let fates = running.join().unwrap();
        assert_eq!((fates.records_in, fates.dead_letters), (2, 1), "{codec}");
        assert_has(
            &dead.values()[0].reason,
            &["more than the limit of 1048576"],
        );
        assert!(ids(&broker.contents(&output)).into_iter().eq([8]));
    }
}

#[test]
fn a_topic_of_zstd_has_its_brokers_compress_anew() {
    let Some(broker) = shared() else { return };
    let input = broker.topic_with("anew", "compression.type", "zstd");
    let output = broker.topic("anew-out", 1);
    write(broker, &input, "gzip");
    let error = start(broker, &input, &output).join().unwrap_err();
    assert_has(&error.to_string(), &["`receive.message.max.bytes`"]);
}
