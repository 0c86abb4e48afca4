//! Topics and partitions that come while a flow runs.

use std::time::Duration;

use thalweg_connectors::kafka::{KafkaSink, KafkaSource, Topics};

use crate::broker::shared;
use crate::flows::ids;
use crate::job::{Event, Running, wait_for};

const SOON: Duration = Duration::from_millis(200);

#[test]
fn partitions_and_topics_that_come_later_are_read_from_their_beginning() {
    let Some(broker) = shared() else { return };
    let base = broker.topic("grow", 1);
    let output = broker.topic("out", 1);
    broker.append(&base, 0, (0..100).map(Event::text));
    let kafka = broker.kafka();
    let (pattern, to) = (format!("{base}(\\.more)?"), output.clone());
    let running = Running::start(2, move || {
        let topics = Topics::pattern(&*pattern);
        let source = KafkaSource::json(&kafka, topics).discover_every(SOON);
        (source, KafkaSink::json(&kafka, &*to))
    });
    let has = |count: usize| broker.contents(&output).len() == count;
    wait_for("what was there", || has(100));

    broker.add_partitions(&base, 3);
    // By the time they are found, there is something in them.
    broker.append(&base, 1, (100..200).map(Event::text));
    broker.append(&base, 2, (200..300).map(Event::text));
    let more = format!("{base}.more");
    broker.create_topic(&more, 2);
    broker.append(&more, 1, (300..400).map(Event::text));
    broker.append(&base, 0, (400..500).map(Event::text));
    wait_for("what came later", || has(500));

    broker.append(&more, 1, (500..510).map(Event::text));
    broker.append(&more, 0, (510..520).map(Event::text));
    broker.append(&base, 2, (520..530).map(Event::text));
    wait_for("what came last", || has(530));
    let fates = running.stop();
    assert_eq!((fates.records_in, fates.processed), (530, 530));
    assert!(ids(&broker.contents(&output)).into_iter().eq(0..530));
}
