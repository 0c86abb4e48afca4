//! Where the job reads and writes.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use thalweg::connectors::log::{Fsync, LogSink, LogSource};
use thalweg::engine::sink::Sink;
use thalweg::engine::source::{Found, ReadBatch, ReadStatus, Source};

use crate::ledger::{Entry, Verdict, judge_slot};
use crate::notes;
use crate::records::{EVENTS, Event, ROWS, TOTALS};

/// The kinds that can be disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The embedded log.
    Log,
}

/// A broker with the job's topics.
pub(crate) struct Broker {
    log: PathBuf,
}

impl Broker {
    /// One in a folder, unless it is not to be had.
    pub(crate) fn open(kind: Kind, folder: &Path) -> Option<Self> {
        match kind {
            Kind::Log => Some(Self {
                log: folder.join("log"),
            }),
        }
    }

    /// What the job is told of it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        vec!["--log".to_owned(), self.log.display().to_string()]
    }

    /// Kills it and starts it again, where that is possible; whether it was.
    pub(crate) fn restart(&self) -> bool {
        false
    }

    /// Where the events are written.
    pub(crate) fn input(&self) -> Box<dyn Sink<Event>> {
        let sink = LogSink::json(&self.log, EVENTS)
            .key(|event: &Event| event.key.to_string())
            .partitions(4)
            .fsync(Fsync::OnSegment);
        Box::new(sink)
    }

    /// The values of a topic, by partition, with their offsets.
    pub(crate) fn read<T: DeserializeOwned + 'static>(&self, topic: &str) -> Vec<Vec<(u64, T)>> {
        let source = LogSource::<T>::json(&self.log, topic).until_end();
        contents(&source)
    }

    /// Judges what the sinks have noted of their progress.
    pub(crate) fn judge_slots(&self, verdict: &mut Verdict) {
        for topic in [ROWS, TOTALS] {
            let partitions = LogSource::<()>::json(&self.log, topic).partitions();
            for partition in partitions.expect("the topic is there") {
                let name = format!("{topic}/{partition}");
                let entries: Vec<Entry> = notes::read(&self.log.join(&name));
                judge_slot(verdict, &name, &entries);
            }
        }
    }
}

fn contents<T: 'static>(source: &dyn Source<T>) -> Vec<Vec<(u64, T)>> {
    let partitions = source.partitions().expect("the topic is there");
    let read = partitions.into_iter().map(|partition| {
        let offset = source.start_offset(partition, Found::AtStart);
        let mut reader = source
            .open(partition, offset.expect("it has a beginning"))
            .expect("it can be read");
        let mut batch = ReadBatch::new();
        while reader.read(&mut batch, 1_000).expect("it is whole") != ReadStatus::End {}
        let value = |value: Result<T, _>| value.ok().expect("all of it can be decoded");
        batch.into_iter().map(|(at, v)| (at, value(v))).collect()
    });
    read.collect()
}
