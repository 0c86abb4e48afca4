//! Topics: where a pipeline's streams come from and go to, by settings alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_connectors::codec::{Decode, JsonDecoder, Limited};
use thalweg_connectors::file::FileSink;
#[cfg(feature = "kafka")]
use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource};
use thalweg_connectors::log::{LogSink, LogSource};
#[cfg(feature = "pulsar")]
use thalweg_connectors::pulsar::{Pulsar, PulsarSink, PulsarSource};
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer, Writers};
use thalweg_engine::source::{Found, Reader, Source, SourceError};

use crate::layer::Section;
use crate::settings::Settings;
#[cfg(any(feature = "kafka", feature = "pulsar"))]
use crate::settings_file::nearest;
#[cfg(not(feature = "kafka"))]
use crate::topic_words::NO_KAFKA;
#[cfg(not(feature = "pulsar"))]
use crate::topic_words::NO_PULSAR;
use crate::topic_words::{Limits, Sharing, SinkKind, SourceKind, TopicStart};

/// Bytes of a record beyond which it is dead-lettered, unless set otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Partitions of a topic that is made when it is first written to.
const PARTITIONS: u32 = 4;

/// The settings of topics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topics {
    pub(crate) source: SourceKind,
    pub(crate) sink: SinkKind,
    pub(crate) log: PathBuf,
    pub(crate) until_end: bool,
    pub(crate) start: TopicStart,
    /// The kind of subscription that topics of Pulsar are read with, if with any.
    pub(crate) subscription: Option<Sharing>,
    pub(crate) limits: Limits,
    /// Where Kafka is, and how to get in.
    pub(crate) kafka: Section,
    /// Where Pulsar is, and how to get in.
    pub(crate) pulsar: Section,
}

impl Topics {
    pub(crate) fn in_log(log: impl Into<PathBuf>) -> Self {
        Self {
            source: SourceKind::default(),
            sink: SinkKind::default(),
            log: log.into(),
            until_end: false,
            start: TopicStart::default(),
            subscription: None,
            limits: Limits::default(),
            kafka: Section::default(),
            pulsar: Section::default(),
        }
    }

    /// Whether what is asked for can be had.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_start()?;
        self.check_pulsar_only()?;
        self.check_kafka()?;
        self.check_pulsar()
    }

    #[cfg(not(feature = "kafka"))]
    fn check_kafka(&self) -> Result<(), String> {
        match self.kafka.0.is_empty() {
            true => Ok(()),
            false => Err(format!("`kafka`: {NO_KAFKA}")),
        }
    }

    #[cfg(feature = "kafka")]
    fn check_kafka(&self) -> Result<(), String> {
        let is_used = self.source == SourceKind::Kafka || self.sink == SinkKind::Kafka;
        if is_used && !self.kafka.0.contains_key("brokers") {
            let error = "topics are in Kafka, but where it is has not been said: give --kafka \
                         HOST:PORT, or `brokers` under [kafka]";
            return Err(error.to_owned());
        }
        check_section::<Kafka>(&self.kafka, "kafka")
    }

    #[cfg(not(feature = "pulsar"))]
    fn check_pulsar(&self) -> Result<(), String> {
        match self.pulsar.0.is_empty() {
            true => Ok(()),
            false => Err(format!("`pulsar`: {NO_PULSAR}")),
        }
    }

    #[cfg(feature = "pulsar")]
    fn check_pulsar(&self) -> Result<(), String> {
        let is_used = self.source == SourceKind::Pulsar || self.sink == SinkKind::Pulsar;
        if is_used && !self.pulsar.0.contains_key("url") {
            let error = "topics are in Pulsar, but where it is has not been said: give --pulsar \
                         pulsar://HOST:6650, or `url` under [pulsar]";
            return Err(error.to_owned());
        }
        check_section::<Pulsar>(&self.pulsar, "pulsar")
    }

    fn check_start(&self) -> Result<(), String> {
        let without_groups = match self.source {
            SourceKind::Log => "the log has no groups",
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar if self.subscription.is_some() => return Ok(()),
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar => "topics in Pulsar are read without a subscription",
            #[cfg(feature = "kafka")]
            SourceKind::Kafka => return Ok(()),
        };
        if self.start == TopicStart::Committed {
            return Err(format!(
                "topics are to be read from where a group has got to, but {without_groups}: give \
                 --start oldest, newest or an instant"
            ));
        }
        Ok(())
    }

    /// Refuses what has a meaning in Pulsar only, where topics are not read from there.
    fn check_pulsar_only(&self) -> Result<(), String> {
        #[cfg(feature = "pulsar")]
        if self.source == SourceKind::Pulsar {
            return Ok(());
        }
        if self.subscription.is_some() {
            return Err(
                "a subscription is set, but topics are not read from Pulsar: leave --subscription \
                 out, or give --source pulsar"
                    .to_owned(),
            );
        }
        if self.limits.decompressed_bytes.is_some() {
            return Err(
                "a limit on decompressed bytes is set, but topics are not read from Pulsar: leave \
                 --decompressed-bytes-max out, as the log compresses nothing, and the client of Kafka \
                 has no such limit: what brokers take in compressed is for `max.message.bytes` to say"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The cluster, of settings that were checked.
    #[cfg(feature = "kafka")]
    fn kafka(&self) -> Kafka {
        let kafka = self.kafka.0.clone().try_into();
        kafka.expect("invariant: the settings have been checked")
    }

    /// The cluster, of settings that were checked.
    #[cfg(feature = "pulsar")]
    fn pulsar(&self) -> Pulsar {
        let pulsar = self.pulsar.0.clone().try_into();
        pulsar.expect("invariant: the settings have been checked")
    }
}

/// Whether a section says how to get into a cluster. What is wrong is told without its values.
#[cfg(any(feature = "kafka", feature = "pulsar"))]
fn check_section<C: DeserializeOwned>(section: &Section, name: &str) -> Result<(), String> {
    if section.0.is_empty() {
        return Ok(());
    }
    let cluster = section.0.clone().try_into::<C>();
    cluster
        .map(|_| ())
        .map_err(|error| format!("settings of [{name}]: {}", with_nearest(error.message())))
}

/// An error about a section, with the nearest known key in place of all where there is none of this
/// name.
#[cfg(any(feature = "kafka", feature = "pulsar"))]
fn with_nearest(error: &str) -> String {
    let unknown = error.strip_prefix("unknown field `");
    let unknown = unknown.and_then(|rest| rest.split_once('`'));
    let found = unknown.and_then(|(key, rest)| {
        let known = rest.split('`').skip(1).step_by(2);
        Some((key, nearest(key, known)?))
    });
    match found {
        Some((key, nearest)) => {
            format!("unknown key `{key}`: the nearest known key is `{nearest}`")
        }
        None => error.to_owned(),
    }
}

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

/// A topic to write to, of whichever kind the settings say.
pub struct TopicSink<T>(Box<dyn Sink<T>>);

impl<T: 'static> Sink<T> for TopicSink<T> {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn check(&self) -> Result<(), SinkError> {
        self.0.check()
    }

    fn writers(&self) -> Writers {
        self.0.writers()
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        self.0.open()
    }

    fn delivery(&self) -> Delivery {
        self.0.delivery()
    }

    fn check_epochs(&self) -> Result<(), SinkError> {
        self.0.check_epochs()
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        self.0.published(slots)
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        self.0.open_epochs(slot)
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

    /// A topic of JSON to write to, as the settings say (`[sink]` in a settings file); the key of
    /// each value chooses its partition.
    pub fn topic_sink<T: Serialize + 'static, K: AsRef<[u8]>>(
        &self,
        topic: &str,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> TopicSink<T> {
        let Topics { sink, log, .. } = self.topics();
        TopicSink(match sink {
            SinkKind::Log => Box::new(log_sink(log, topic).key(key)),
            #[cfg(feature = "kafka")]
            SinkKind::Kafka => {
                let key = move |value: &T| Some(key(value));
                Box::new(KafkaSink::json(&self.topics().kafka(), topic).key(key))
            }
            #[cfg(feature = "pulsar")]
            SinkKind::Pulsar => {
                let key = move |value: &T| Some(key(value));
                Box::new(PulsarSink::json(&self.topics().pulsar(), topic).key(key))
            }
            SinkKind::File => Box::new(FileSink::json_lines(
                self.out_file(&format!("{topic}.jsonl")),
            )),
        })
    }
}

impl Settings {
    /// Whether a topic of the log that would be written to is there already.
    pub fn topic_exists(&self, topic: &str) -> bool {
        let Topics { sink, log, .. } = self.topics();
        *sink == SinkKind::Log && is_in_log(log, topic)
    }
}

fn is_in_log(log: &Path, topic: &str) -> bool {
    LogSource::<()>::json(log, topic).partitions().is_ok()
}

/// A topic of the log, with as many partitions as it has already.
fn log_sink<T: Serialize + 'static>(log: &Path, topic: &str) -> LogSink<T> {
    let sink = LogSink::json(log, topic);
    if is_in_log(log, topic) {
        sink
    } else {
        sink.partitions(PARTITIONS)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::record::{Origin, Record};
    use thalweg_engine::sink::Refused;
    use thalweg_engine::source::{ReadBatch, ReadStatus};
    use thalweg_engine::time::EventTime;

    use super::*;

    #[test]
    fn what_is_of_one_kind_only_is_refused_for_the_others() {
        let mut topics = Topics::in_log("log");
        topics.start = TopicStart::Committed;
        let error = topics.check().expect_err("the log has no groups");
        assert!(error.contains("the log has no groups"), "{error}");
        topics.start = TopicStart::Oldest;
        topics.subscription = Some(Sharing::Failover);
        let error = topics.check().expect_err("the log has no subscriptions");
        assert!(error.contains("give --source pulsar"), "{error}");
        topics.subscription = None;
        topics.limits.decompressed_bytes = Some(1);
        let error = topics.check().expect_err("nothing is compressed");
        assert!(error.contains("--decompressed-bytes-max"), "{error}");
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn an_unknown_key_of_a_section_is_refused_with_the_nearest_known_one() {
        let mut topics = Topics::in_log("log");
        let mut refusal = |text: &str| {
            topics.kafka = Section(text.parse().expect("it is TOML"));
            topics.check().expect_err("a key is unknown")
        };
        assert_eq!(
            refusal("brokers = \"b:1\"\nPatience-ms = 5"),
            "settings of [kafka]: unknown key `Patience-ms`: the nearest known key is `patience_ms`"
        );
        let sasl =
            "brokers = \"b:1\"\n[sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword = \"p\"";
        assert_eq!(
            refusal(sasl),
            "settings of [kafka]: unknown key `user`: the nearest known key is `username`"
        );
        assert_eq!(
            refusal("brokers = \"b:1\"\n[tls]\nca_file = \"p\""),
            "settings of [kafka]: unknown key `ca_file`: the nearest known key is `ca`"
        );
    }

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
