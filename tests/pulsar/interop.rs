//! What Pulsar's own Java client writes is read, and the other way round.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thalweg_connectors::pulsar::{Compression, ID_HEADER, Message, PulsarSink, PulsarSource};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::time::EventTime;

use crate::broker::shared;
use crate::flows::all_ids;
use crate::job::{Event, read_all};

#[test]
fn what_javas_client_writes_is_read() {
    let Some(broker) = shared() else { return };
    for compression in ["NONE", "LZ4", "ZLIB", "ZSTD", "SNAPPY"] {
        let topic = broker.topic("java", 0);
        broker.produce(&topic, 0..1_200, compression);
        broker.produce_alone(&topic, 1_200..1_204, compression);
        let source = PulsarSource::<Event>::json(&broker.pulsar(), &*topic).until_end();
        let all: Vec<Message<Event>> = read_all(&source.with_metadata())
            .into_iter()
            .map(|(_, _, item)| item.unwrap())
            .collect();
        let ids: Vec<_> = all.iter().map(|message| message.value.id).collect();
        assert_eq!(ids, Vec::from_iter(0..1_204), "{compression}");
        assert!(
            all.windows(2)
                .all(|pair| pair[0].position < pair[1].position)
        );
        for message in &all[1_200..] {
            let id = message.value.id;
            let time = EventTime::from_millis(1000 + id as i64);
            assert_eq!(message.event_time, Some(time));
            assert!(message.publish_time > time);
            assert_eq!(
                message.topic,
                format!("persistent://public/default/{topic}")
            );
            let model = format!("fraud-{id}");
            assert_eq!(message.property("model"), Some(&*model));
            assert_eq!(message.property("other"), None);
            let key = match id % 2 {
                0 => vec![0xff, id as u8],
                _ => format!("key-{id}").into_bytes(),
            };
            assert_eq!(message.key, Some(key));
        }
        assert_eq!(all[0].key, None);
        assert_eq!(all[0].event_time, None);
    }
}

#[test]
fn what_a_sink_writes_javas_client_reads() {
    let Some(broker) = shared() else { return };
    let record = |id: u64| Record {
        time: EventTime::from_millis(5_000 + id as i64),
        origin: Origin {
            offset: id,
            ..Origin::default()
        },
        ingested_ns: 0,
        value: Event { id },
    };
    let records: Vec<_> = (0..50).map(record).collect();
    let all = [
        Compression::None,
        Compression::Lz4,
        Compression::Zlib,
        Compression::Zstd,
        Compression::Snappy,
    ];
    for (turn, compression) in all.into_iter().enumerate() {
        let topic = broker.topic("sink", 0);
        let sink = PulsarSink::json(&broker.pulsar(), &*topic)
            .compression(compression)
            .batch_records(if turn % 2 == 0 { 20 } else { 1 })
            .key(|event: &Event| (event.id > 1).then(|| vec![b'k', event.id as u8 | 0x80]))
            .properties(|record, properties| {
                properties.add("twice", (record.value.id * 2).to_string());
            });
        sink.check().unwrap();
        let mut writer = sink.open().unwrap();
        writer.write(&records, &mut Refused::default()).unwrap();
        writer.flush().unwrap();
        assert_eq!(sink.reports().delivered(), 50);
        let contents = broker.contents(&topic);
        assert_eq!(all_ids(&contents), Vec::from_iter(0..50));
        for (stored, id) in contents.iter().zip(0_u64..) {
            let expected = format!("{{{ID_HEADER}=0-0-{id}-0, twice={}}}", id * 2);
            assert_eq!(stored.properties, expected);
            assert_eq!(stored.event_time_ms, 5_000 + id as i64);
            let key = match id {
                0 | 1 => "-".to_owned(),
                id => STANDARD.encode([b'k', id as u8 | 0x80]),
            };
            assert_eq!(stored.key, key);
        }
    }
}
