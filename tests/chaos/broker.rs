//! Where the job reads and writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use serde_json::Value;
use thalweg::connectors::log::{Fsync, LogSink, LogSource};
use thalweg::engine::sink::Sink;
use thalweg::engine::source::{Found, ReadBatch, ReadStatus, Source};

#[cfg(feature = "kafka")]
use crate::kafka::KafkaBroker;
use crate::ledger::{Verdict, judge_slot};
use crate::notes;
use crate::proxy::Proxy;
#[cfg(feature = "pulsar")]
use crate::pulsar::PulsarBroker;
use crate::records::{EVENTS, Event, ROWS, TOTALS};

/// Partitions of each topic.
pub(crate) const PARTITIONS: u32 = 4;

/// The kinds that can be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The embedded log
    Log,
    /// Apache Kafka, which is killed and started again, too
    #[cfg(feature = "kafka")]
    Kafka,
    /// Apache Pulsar, which is killed and started again, too
    #[cfg(feature = "pulsar")]
    Pulsar,
}

impl Kind {
    /// How many kills there are where nothing is said: with brokers that take long to come back, a few.
    pub(crate) fn kills(self) -> u32 {
        match self {
            Self::Log => 25,
            #[cfg(any(feature = "kafka", feature = "pulsar"))]
            _ => 4,
        }
    }
}

/// A broker with the job's topics.
pub(crate) trait Broker: Send + Sync {
    /// What the job is told of it.
    fn arguments(&self) -> Vec<String>;

    /// Where the events are written.
    fn input(&self) -> Box<dyn Sink<Event>>;

    /// The values of a topic, by partition, with their offsets.
    fn read(&self, topic: &str) -> Contents;

    /// Judges what the sinks have noted of their progress.
    fn judge_slots(&self, verdict: &mut Verdict);

    /// Kills it and starts it again; whether it can be.
    fn restart(&self) -> bool {
        false
    }

    /// What it has said last, where it is a process.
    fn last_words(&self) -> String {
        String::new()
    }

    /// What is between it and the job, where there is something.
    fn network(&self) -> Option<&Proxy> {
        None
    }
}

/// Values by partition, with their offsets.
pub(crate) type Contents = Vec<Vec<(u64, Value)>>;

/// A broker with its data in a folder, unless it is not to be had.
pub(crate) fn open(kind: Kind, folder: &Path) -> Option<Arc<dyn Broker>> {
    match kind {
        Kind::Log => Some(Arc::new(Log(folder.join("log")))),
        #[cfg(feature = "kafka")]
        Kind::Kafka => Some(Arc::new(KafkaBroker::start()?)),
        #[cfg(feature = "pulsar")]
        Kind::Pulsar => Some(Arc::new(PulsarBroker::start()?)),
    }
}

/// The embedded log, in a folder.
struct Log(PathBuf);

impl Broker for Log {
    fn arguments(&self) -> Vec<String> {
        vec!["--log".to_owned(), self.0.display().to_string()]
    }

    fn input(&self) -> Box<dyn Sink<Event>> {
        let sink = LogSink::json(&self.0, EVENTS)
            .key(|event: &Event| event.key.to_string())
            .partitions(PARTITIONS)
            .fsync(Fsync::OnSegment);
        Box::new(sink)
    }

    fn read(&self, topic: &str) -> Contents {
        contents(&LogSource::json(&self.0, topic).until_end())
    }

    fn judge_slots(&self, verdict: &mut Verdict) {
        for topic in [ROWS, TOTALS] {
            for partition in 0..PARTITIONS {
                let name = format!("{topic}/{partition}");
                judge_slot(verdict, &name, &notes::read(&self.0.join(&name)));
            }
        }
    }
}

/// All that a source has.
pub(crate) fn contents<T: 'static>(source: &dyn Source<T>) -> Vec<Vec<(u64, T)>> {
    let partitions = source.partitions().expect("the topic is there");
    let read = partitions.into_iter().map(|partition| {
        let offset = source.start_offset(partition, Found::AtStart);
        let mut reader = source
            .open(partition, offset.expect("it has a beginning"))
            .expect("it can be read");
        let mut batch = ReadBatch::new();
        while reader.read(&mut batch, 1_000).expect("it is whole") != ReadStatus::End {}
        let value = |value: Result<T, _>| value.expect("all of it can be decoded");
        batch.into_iter().map(|(at, v)| (at, value(v))).collect()
    });
    read.collect()
}
