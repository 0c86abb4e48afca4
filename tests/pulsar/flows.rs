//! Records through a flow, from topic to topic.

use std::collections::BTreeSet;
use std::time::Duration;

use thalweg_connectors::pulsar::{Compression, PulsarSink, PulsarSource, Topics};
use thalweg_engine::letters::DeadLetter;
use thalweg_engine::time::EventTime;

use crate::broker::{Broker, Stored, shared};
use crate::job::{self, Event, Running, read_all, wait_for};

/// The id of each message, as often as it is there.
pub(crate) fn all_ids(contents: &[Stored]) -> Vec<u64> {
    job::all_ids(contents.iter().map(|stored| stored.value.as_bytes()))
}

/// The ids in messages, each of which must be there once.
pub(crate) fn ids(contents: &[Stored]) -> BTreeSet<u64> {
    let all = all_ids(contents);
    let ids: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(ids.len(), all.len(), "ids came more than once");
    ids
}

fn through(broker: &Broker, records: u64, workers: usize) {
    let (input, output) = (broker.topic("in", 3), broker.topic("out", 2));
    broker.produce(&input, 0..records, "NONE");
    let pulsar = broker.pulsar();
    let sink = PulsarSink::json(&pulsar, &*output).key(|event: &Event| Some(event.id.to_string()));
    let reports = sink.reports();
    let running = Running::start(workers, move || {
        (
            PulsarSource::json(&pulsar, &*input).until_end(),
            sink.clone(),
        )
    });
    let fates = running.join().unwrap();
    assert_eq!((fates.records_in, fates.processed), (records, records));
    assert_eq!((reports.delivered(), reports.failed()), (records, 0));
    let contents = broker.contents(&output);
    assert!(ids(&contents).into_iter().eq(0..records));
    let names: BTreeSet<_> = contents.iter().map(|stored| &stored.properties).collect();
    assert_eq!(
        names.len(),
        contents.len(),
        "each record has an id of its own"
    );
    let topics: BTreeSet<_> = contents.iter().map(|stored| &stored.topic).collect();
    assert_eq!(topics.len(), 2, "keys are spread");
}

#[test]
fn many_records_come_through_once_each() {
    if let Some(broker) = shared() {
        through(broker, 200_000, 2);
    }
}

#[test]
fn a_source_is_shared_by_any_number_of_workers() {
    if let Some(broker) = shared() {
        through(broker, 1_000, 5);
    }
}

#[test]
fn malformed_oversized_and_empty_records_are_dead_letters_with_their_place() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 0), broker.topic("out", 0));
    let long = format!(r#"{{"id":7,"note":"{}"}}"#, "x".repeat(2_000_000));
    let lines = ["{\"id\":1}", "{\"id\":", &long, "", "{\"id\":3}"].map(str::to_owned);
    write_lines(broker, &input, lines, 100, Compression::None);
    let pulsar = broker.pulsar();
    let (from, to) = (input.clone(), output.clone());
    let running = Running::start(2, move || {
        let source = PulsarSource::json(&pulsar, &*from).until_end();
        (source, PulsarSink::json(&pulsar, &*to))
    });
    let dead = running.dead.clone();
    let fates = running.join().unwrap();
    assert_eq!((fates.records_in, fates.dead_letters), (5, 3));
    assert!(ids(&broker.contents(&output)).into_iter().eq([1, 3]));
    let mut dead = dead.values();
    dead.sort_unstable_by_key(|letter| letter.offset);
    let check = |letter: &DeadLetter, reason: &str, raw: &str| {
        assert_eq!((letter.partition, &*letter.partition_name), (0, &*input));
        assert!(letter.reason.contains(reason), "{}", letter.reason);
        assert!(letter.raw.starts_with(raw), "{}", letter.raw);
    };
    check(&dead[0], "EOF while parsing", "{\"id\":");
    check(&dead[1], "more than the limit of 1048576", "{\"id\":7,");
    check(&dead[2], "EOF while parsing", "");
}

#[test]
fn a_payload_that_swells_beyond_its_bound_is_one_dead_letter() {
    let Some(broker) = shared() else { return };
    let input = broker.topic("bomb", 0);
    let swollen = format!(r#"{{"id":7,"note":"{}"}}"#, " ".repeat(8_000_000));
    write_lines(broker, &input, [swollen], 100, Compression::Zstd);
    write_lines(
        broker,
        &input,
        ["{\"id\":8}".to_owned()],
        100,
        Compression::Zstd,
    );
    let source = || {
        let source = PulsarSource::<Event>::json(&broker.pulsar(), &*input);
        source.value_bytes_max(10_000_000).until_end()
    };
    let items = read_all(&source());
    assert!(items.iter().all(|(_, _, item)| item.is_ok()), "{items:?}");
    let items = read_all(&source().decompressed_bytes_max(1_000_000));
    let reason = items[0].2.as_ref().unwrap_err();
    assert!(reason.contains("`decompressed_bytes_max`"), "{reason}");
    assert_eq!(items[1].2, Ok(Event { id: 8 }));
}

#[test]
fn a_batch_too_large_for_offsets_is_one_dead_letter() {
    let Some(broker) = shared() else { return };
    let input = broker.topic("large", 0);
    for (from, count) in [(0_u64, 5_000_u32), (5_000, 4_096)] {
        let lines = (from..from + u64::from(count)).map(|id| format!("{{\"id\":{id}}}"));
        write_lines(broker, &input, lines, count, Compression::None);
    }
    let source = PulsarSource::<Event>::json(&broker.pulsar(), &*input).until_end();
    let items = read_all(&source);
    assert_eq!(items.len(), 1 + 4_096);
    let reason = items[0].2.as_ref().unwrap_err();
    assert!(reason.contains("its batch of 5000 messages"), "{reason}");
    assert_eq!(items[4_096].2, Ok(Event { id: 9_095 }));
}

/// Writes lines as they are, in batches of so many.
pub(crate) fn write_lines(
    broker: &Broker,
    topic: &str,
    lines: impl IntoIterator<Item = String>,
    batch_records: u32,
    compression: Compression,
) {
    use thalweg_engine::record::{Origin, Record};
    use thalweg_engine::sink::{Refused, Sink};
    let sink = PulsarSink::<String>::encoded(&broker.pulsar(), topic, |record, bytes| {
        bytes.extend_from_slice(record.value.as_bytes());
        Ok(())
    });
    let sink = sink
        .batch_records(batch_records)
        .batch_bytes(4_000_000)
        .compression(compression);
    let mut writer = sink.open().unwrap();
    let record = |value| Record {
        time: EventTime::default(),
        origin: Origin::default(),
        ingested_ns: 0,
        value,
    };
    let records: Vec<_> = lines.into_iter().map(record).collect();
    writer.write(&records, &mut Refused::default()).unwrap();
    writer.flush().unwrap();
}

#[test]
fn partitions_and_topics_that_come_later_are_read_from_their_beginning() {
    let Some(broker) = shared() else { return };
    let base = broker.topic("grow", 1);
    let output = broker.topic("out", 1);
    broker.produce(&base, 0..100, "NONE");
    let pulsar = broker.pulsar();
    let (pattern, to) = (format!("{base}(\\.more)?"), output.clone());
    let sink = PulsarSink::json(&pulsar, &*to).discover_every(Duration::from_millis(200));
    let reports = sink.reports();
    let running = Running::start(2, move || {
        let topics = Topics::pattern(&*pattern);
        let source = PulsarSource::json(&pulsar, topics);
        (
            source.discover_every(Duration::from_millis(200)),
            sink.clone(),
        )
    });
    let has = |count: u64| reports.delivered() == count;
    wait_for("what was there", || has(100));
    broker.add_partitions(&base, 3);
    // By the time they are found, there is something in them.
    broker.produce(&format!("{base}-partition-1"), 100..200, "NONE");
    broker.produce(&format!("{base}-partition-2"), 200..300, "NONE");
    // The sink finds new ones of its own.
    broker.add_partitions(&output, 3);
    std::thread::sleep(Duration::from_millis(400));
    let more = format!("{base}.more");
    broker.create_topic(&more, 0);
    broker.produce(&more, 300..400, "NONE");
    wait_for("what came later", || has(400));
    broker.produce(&base, 400..430, "LZ4");
    wait_for("what came last", || has(430));
    let fates = running.stop();
    assert_eq!((fates.records_in, fates.processed), (430, 430));
    let contents = broker.contents(&output);
    assert!(ids(&contents).into_iter().eq(0..430));
    let written: BTreeSet<_> = contents.iter().map(|stored| &stored.topic).collect();
    assert!(written.len() > 1, "{written:?}");
}
