//! A topic to write to, by settings alone.

use std::path::Path;

use serde::Serialize;
use thalweg_connectors::file::FileSink;
#[cfg(feature = "kafka")]
use thalweg_connectors::kafka::KafkaSink;
use thalweg_connectors::log::{LogSink, LogSource};
#[cfg(feature = "pulsar")]
use thalweg_connectors::pulsar::PulsarSink;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer, Writers};
use thalweg_engine::source::Source as _;

use crate::settings::Settings;
use crate::topic_words::SinkKind;
use crate::topics::Topics;

/// Partitions of a topic that is made when it is first written to.
const PARTITIONS: u32 = 4;

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
