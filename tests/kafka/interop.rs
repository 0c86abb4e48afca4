//! What Kafka's own tools make of it.

use thalweg_connectors::kafka::{KafkaSink, KafkaSource};

use crate::broker::shared;
use crate::job::{Event, Running, wait_for};

#[test]
fn the_lag_of_a_group_shows_in_the_tools_of_kafka() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 2), broker.topic("out", 1));
    broker.append(&input, 0, (0..70).map(Event::text));
    broker.append(&input, 1, ["bad"; 30]);
    let kafka = broker.kafka();
    let (from, to) = (input.clone(), output);
    let running = Running::start(2, move || {
        let source = KafkaSource::json(&kafka, &*from).group(&*from);
        (source, KafkaSink::json(&kafka, &*to))
    });
    // Partition, committed offset, end and lag, as the tool tells them.
    let told = || {
        let class = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
        let table = broker.tool(class, &["--describe", "--group", &input], "");
        let rows = table.lines().filter(|row| row.contains(&*input));
        let mut rows: Vec<_> = rows
            .filter_map(|row| {
                let cells: Vec<_> = row.split_whitespace().collect();
                Some(
                    [cells.get(2)?, cells.get(3)?, cells.get(4)?, cells.get(5)?]
                        .map(|c| c.to_string()),
                )
            })
            .collect();
        rows.sort();
        rows
    };
    let all = [["0", "70", "70", "0"], ["1", "30", "30", "0"]];
    wait_for("the commit", || told() == all);
    running.stop();
    broker.append(&input, 0, (0..5).map(Event::text));
    assert_eq!(told(), [["0", "70", "75", "5"], ["1", "30", "30", "0"]]);
}

#[test]
fn keys_go_to_the_partitions_that_java_sends_them_to() {
    let Some(broker) = shared() else { return };
    let (java, ours) = (broker.topic("java", 7), broker.topic("ours", 7));
    let keys = (0..300_u64).map(|id| format!("card {id} {}", "é".repeat(id as usize % 9)));
    let keys: Vec<_> = keys.collect();
    let lines: String = keys.iter().map(|key| format!("{key}\tvalue\n")).collect();
    broker.tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &["--topic", &java, "--reader-property", "parse.key=true"],
        &lines,
    );
    let kafka = broker.kafka();
    let input = broker.topic("in", 1);
    broker.append(&input, 0, (0..300).map(Event::text));
    let named = keys.clone();
    let sink = KafkaSink::json(&kafka, &*ours)
        .key(move |event: &Event| Some(named[event.id as usize].clone()));
    let running = Running::start(1, move || {
        (KafkaSource::json(&kafka, &*input).until_end(), sink.clone())
    });
    running.join().unwrap();
    let places = |topic: &str| {
        let mut places: Vec<_> = broker
            .contents(topic)
            .into_iter()
            .map(|stored| (stored.key.unwrap(), stored.partition))
            .collect();
        places.sort();
        places
    };
    assert_eq!(places(&ours).len(), 300);
    assert_eq!(places(&ours), places(&java));
}
