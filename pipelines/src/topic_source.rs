//! A topic to read from, by settings alone.

use std::time::Duration;

use serde::de::DeserializeOwned;
use thalweg_connectors::codec::{Decode, JsonDecoder, Limited};
#[cfg(feature = "kafka")]
use thalweg_connectors::kafka::KafkaSource;
use thalweg_connectors::log::LogSource;
#[cfg(feature = "pulsar")]
use thalweg_connectors::pulsar::PulsarSource;
use thalweg_engine::source::{Found, Reader, Source, SourceError};

use crate::settings::Settings;
use crate::topic_words::SourceKind;

/// Bytes of a record beyond which it is dead-lettered, unless set otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// A topic to read from, of whichever kind the settings say.
pub struct TopicSource<T>(Box<dyn Source<T>>);

impl<T: 'static> Source<T> for TopicSource<T> {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn check(&self) -> Result<(), SourceError> {
        self.0.check()
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        self.0.partitions()
    }

    fn partition_name(&self, partition: u32) -> String {
        self.0.partition_name(partition)
    }

    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        self.0.start_offset(partition, found)
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        self.0.open(partition, offset)
    }

    fn discover_every(&self) -> Option<Duration> {
        self.0.discover_every()
    }

    fn commit_every(&self) -> Option<Duration> {
        self.0.commit_every()
    }

    fn commit(&self, done: &[(u32, u64)]) -> Result<(), SourceError> {
        self.0.commit(done)
    }
}

impl Settings {
    /// A topic of JSON to read from, as the settings say (`[source]` in a settings file): from its
    /// oldest record on, unless they say otherwise. A value that `check` refuses is dead-lettered
    /// with the reason. In Kafka, the group of the pipeline's name is told how far everything is done; in
    /// Pulsar, the subscription of that name, where the settings ask for one.
    pub fn topic_source<T: DeserializeOwned + 'static>(
        &self,
        topic: &str,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> TopicSource<T> {
        let depth = self.topics().limits.json_depth;
        let decoder = move || {
            // How large a record may be is the source's matter.
            let json = Limited::new(JsonDecoder).bytes_max(usize::MAX);
            depth.map_or(json.clone(), |depth| json.json_depth_max(depth))
        };
        self.topic_source_of(topic, decoder, check)
    }

    /// As [`topic_source`](Self::topic_source), of records in another format than JSON.
    pub fn topic_source_of<T: 'static, D: Decode<T> + 'static>(
        &self,
        topic: &str,
        decoder: impl Fn() -> D + Send + Sync + 'static,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> TopicSource<T> {
        let topics = self.topics();
        let bytes = topics.limits.value_bytes.unwrap_or(VALUE_BYTES_MAX);
        match topics.source {
            SourceKind::Log => {
                let source = LogSource::decoded(&topics.log, topic, decoder).check_with(check);
                let source = source.value_bytes_max(bytes).start(topics.start.in_log());
                TopicSource(Box::new(if topics.until_end {
                    source.until_end()
                } else {
                    source
                }))
            }
            #[cfg(feature = "kafka")]
            SourceKind::Kafka => {
                let source = KafkaSource::decoded(&topics.kafka(), topic, decoder);
                let source = source.check_with(check).value_bytes_max(bytes);
                let source = source.group(self.name()).start(topics.start.in_kafka());
                TopicSource(Box::new(if topics.until_end {
                    source.until_end()
                } else {
                    source
                }))
            }
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar => {
                let source = PulsarSource::decoded(&topics.pulsar(), topic, decoder);
                let source = source.check_with(check).value_bytes_max(bytes);
                let source = match topics.limits.decompressed_bytes {
                    Some(bytes) => source.decompressed_bytes_max(bytes),
                    None => source,
                };
                let source = source.start(topics.start.in_pulsar());
                let source = match topics.subscription {
                    Some(kind) => source.subscription(self.name(), kind.in_pulsar()),
                    None => source,
                };
                TopicSource(Box::new(if topics.until_end {
                    source.until_end()
                } else {
                    source
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::record::{Origin, Record};
    use thalweg_engine::sink::{Refused, Sink as _};
    use thalweg_engine::source::{ReadBatch, ReadStatus};
    use thalweg_engine::time::EventTime;

    use super::*;
    use crate::topic_words::Limits;

    #[test]
    fn what_is_beyond_the_limits_is_a_dead_letter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut settings = Settings::new("t").with_log(folder.path()).until_end();
        settings.topics_mut().limits = Limits {
            value_bytes: Some(20),
            json_depth: Some(2),
            decompressed_bytes: None,
        };
        let sink = settings.topic_sink("values", |_: &serde_json::Value| "k");
        let mut writer = sink.open().expect("it can be written");
        let values = ["[[1]]", "[[[1]]]", "\"0123456789012345678\"", "7"];
        let records: Vec<_> = values
            .into_iter()
            .map(|text| Record {
                time: EventTime::default(),
                origin: Origin::default(),
                ingested_ns: 0,
                value: serde_json::from_str(text).expect("it is JSON"),
            })
            .collect();
        let written = writer.write(&records, &mut Refused::default());
        written
            .and_then(|()| writer.close())
            .expect("it can be written");
        let source = settings.topic_source("values", |_: &serde_json::Value| Ok(()));
        let mut batch = ReadBatch::new();
        for partition in 0..4 {
            let mut reader = source.open(partition, 0).expect("it can be read");
            while reader.read(&mut batch, 9).expect("it is whole") != ReadStatus::End {}
        }
        let reasons = batch.into_iter().map(|(_, value)| value.err());
        let reasons: Vec<_> = reasons.map(|bad| bad.map(|bad| bad.reason)).collect();
        assert_eq!(reasons[0], None);
        let deep = reasons[1].as_deref().expect("it is too deep");
        assert!(deep.contains("more than 2 deep"), "{deep}");
        let large = reasons[2].as_deref().expect("it is too large");
        assert!(
            large.contains("21 bytes, more than the limit of 20"),
            "{large}"
        );
        assert_eq!(reasons[3], None);
    }

    #[test]
    fn what_a_topic_sink_writes_a_topic_source_reads() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = Settings::new("t").with_log(folder.path()).until_end();
        for _ in 0..2 {
            let sink = settings.topic_sink("numbers", |n: &u64| n.to_string());
            sink.check().expect("it can be written");
            let mut writer = sink.open().expect("it can be written");
            let records: Vec<_> = (0..10)
                .map(|value| Record {
                    time: EventTime::default(),
                    origin: Origin::default(),
                    ingested_ns: 0,
                    value,
                })
                .collect();
            let mut refused = Refused::default();
            writer
                .write(&records, &mut refused)
                .expect("it can be written");
            writer.close().expect("it can be written");
            assert!(refused.is_empty(), "{refused:?}");
        }
        let no_seven = |n: &u64| {
            if *n == 7 {
                Err("seven".to_owned())
            } else {
                Ok(())
            }
        };
        let source = settings.topic_source("numbers", no_seven);
        assert_eq!(source.partitions().ok(), Some(vec![0, 1, 2, 3]));
        let mut batch = ReadBatch::new();
        for partition in 0..4 {
            let mut reader = source.open(partition, 0).expect("it can be read");
            while reader.read(&mut batch, 9).expect("it is whole") != ReadStatus::End {}
        }
        let good = batch.iter().filter(|(_, n)| n.is_ok()).count();
        assert_eq!((batch.len(), good), (20, 18));
    }
}
