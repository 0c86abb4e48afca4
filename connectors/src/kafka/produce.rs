//! What all producers have in common.

use std::time::Duration;

use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

/// What a producer sets. A record waits for a few milliseconds for others to be sent with it.
pub(super) const DEFAULTS: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.messages", "50000"),
    ("queue.buffering.max.kbytes", "65536"),
];

/// How long to wait for the brokers before looking again.
const PAUSE: Duration = Duration::from_millis(1);

/// Hears the reports that have come.
pub(super) fn hear<C: ProducerContext>(producer: &BaseProducer<C>) {
    let mut before = i32::MAX;
    let mut open = producer.in_flight_count();
    while open < before {
        producer.poll(Duration::ZERO);
        before = std::mem::replace(&mut open, producer.in_flight_count());
    }
}

/// Hears the reports that have come, and gives others a moment. To wait in the producer's own poll would
/// take all of the time, whatever comes, and a processor for the last millisecond of it.
pub(super) fn pause<C: ProducerContext>(producer: &BaseProducer<C>) {
    hear(producer);
    std::thread::sleep(PAUSE);
}

/// Waits until nothing is under way, or for about so long. The producer's own flush looks every tenth of a
/// second.
pub(super) fn settle<C: ProducerContext>(producer: &BaseProducer<C>, patience: Duration) {
    let mut left = patience.as_millis() / PAUSE.as_millis();
    while producer.in_flight_count() > 0 && left > 0 {
        pause(producer);
        left -= 1;
    }
}
