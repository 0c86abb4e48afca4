//! The configuration of a topic of a log as a sink.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use thalweg_engine::checkpoint::Epoch;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Delivery, EpochWriter, Sink, SinkError, Writer};

use super::epochs::{LogEpochs, Slot};
use super::partition::PartitionLog;
use super::progress;
use super::settings::{Fsync, Retention, WriterSettings};
use super::topic::{Topic, Wanted, shown};
use super::writer::{Envelope, LogWriter};
use crate::codec::{Encode, JsonEncoder};

/// Appends a record's key.
pub(crate) type KeyOf<T> = Arc<dyn Fn(&T, &mut Vec<u8>) + Send + Sync>;
/// Makes a record's headers.
pub(crate) type HeadersOf<T> = Arc<dyn Fn(&Record<T>) -> Vec<(String, Vec<u8>)> + Send + Sync>;
type MakeEncoder<T> = dyn Fn() -> Box<dyn Encode<T>> + Send + Sync;

/// Appends records to a topic of an embedded log, with their event time.
///
/// The topic, and the log, are made when they are not there. A topic has one writer at a time; a
/// second one is refused. A record with a key goes to the partition that Kafka's Java client would
/// choose for the key, others go around.
///
/// ```
/// use thalweg_connectors::log::{Fsync, LogSink, Retention};
/// use thalweg_engine::sink::Sink;
/// use thalweg_engine::time::days;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let log = folder.path();
/// let payments = LogSink::<(u64, f64)>::json(log, "payments")
///     .partitions(4)
///     .key(|(card, _)| card.to_string())
///     .fsync(Fsync::OnSegment)
///     .retention(Retention::forever().age(days(7)));
/// payments.check()?;
/// let writer = payments.open()?;
/// assert!(payments.open().is_err(), "one writer at a time");
/// # drop(writer);
/// # Ok(())
/// # }
/// ```
pub struct LogSink<T> {
    topic: Topic,
    encoder: Arc<MakeEncoder<T>>,
    wanted: Wanted,
    key: Option<KeyOf<T>>,
    headers: Option<HeadersOf<T>>,
    settings: WriterSettings,
    delivery: Delivery,
}

impl<T: Serialize + 'static> LogSink<T> {
    /// A topic of the records' values as JSON. JSON has no NaN and no infinities: they become
    /// `null`.
    pub fn json(log: impl Into<PathBuf>, topic: impl Into<String>) -> Self {
        Self::encoded(log, topic, || JsonEncoder)
    }
}

impl<T: 'static> LogSink<T> {
    /// A topic of the records' values as a codec encodes them.
    pub fn encoded<E: Encode<T> + 'static>(
        log: impl Into<PathBuf>,
        topic: impl Into<String>,
        encoder: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        let (log, name) = (log.into(), topic.into());
        Self {
            topic: Topic { log, name },
            encoder: Arc::new(move || Box::new(encoder())),
            wanted: Wanted::default(),
            key: None,
            headers: None,
            settings: WriterSettings::default(),
            delivery: Delivery::ExactlyOnce,
        }
    }

    /// How many partitions the topic has: as many as it has already, or else 1, unless set. A topic
    /// keeps the number it was made with, but see [`grow`](Self::grow).
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.wanted.partitions = Some(partitions);
        self
    }

    /// Gives a topic that has fewer partitions than set as many when it is opened; none are ever taken
    /// away. Records of a key written from then on may go to another partition than those before.
    #[must_use]
    pub fn grow(mut self) -> Self {
        self.wanted.grows = true;
        self
    }

    /// The key of each record, which chooses its partition and is kept with it; none unless set.
    #[must_use]
    pub fn key<K: AsRef<[u8]>>(mut self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(move |value, out| {
            out.extend_from_slice(key(value).as_ref());
        }));
        self
    }

    /// Names and values to keep with each record; none unless set.
    #[must_use]
    pub fn headers(
        mut self,
        headers: impl Fn(&Record<T>) -> Vec<(String, Vec<u8>)> + Send + Sync + 'static,
    ) -> Self {
        self.headers = Some(Arc::new(headers));
        self
    }

    /// How records are delivered in a job with checkpoints: exactly once, and so not before their
    /// epoch is sealed, unless set.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// The size of a segment after which the next one is begun; 64 MiB unless set.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.settings.segment_bytes = bytes;
        self
    }

    /// When records are safe from a power cut; at every flush unless set.
    #[must_use]
    pub fn fsync(mut self, fsync: Fsync) -> Self {
        self.settings.fsync = fsync;
        self
    }

    /// What is kept of each partition; everything unless set.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }
}

impl<T: 'static> Sink<T> for LogSink<T> {
    fn describe(&self) -> String {
        shown(&self.topic.log, &self.topic.name)
    }

    fn check(&self) -> Result<(), SinkError> {
        let checked = self.topic.check_writable(self.wanted);
        checked.map_err(|error| error.opening_sink(&self.describe()))
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        let what = self.describe();
        let opened = self
            .topic
            .open_for_writing(self.wanted)
            .and_then(|(partitions, lock)| {
                let open =
                    |partition| PartitionLog::open(self.topic.partition(partition), self.settings);
                let partitions = (0..partitions).map(open).collect::<Result<Vec<_>, _>>()?;
                Ok((partitions, lock))
            });
        let (partitions, lock) = opened.map_err(|error| error.opening_sink(&what))?;
        Ok(Box::new(LogWriter::new(
            what,
            partitions,
            lock,
            (self.encoder)(),
            Envelope::new(self.key.clone(), self.headers.clone()),
        )))
    }

    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn check_epochs(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn published(&self, slots: &str) -> Result<Option<Epoch>, SinkError> {
        let epochs = self.topic.find().and_then(|partitions| {
            let partitions = 0..partitions.unwrap_or(0);
            let epochs = partitions
                .map(|partition| progress::find_epoch(&self.topic.partition(partition), slots));
            epochs.collect::<Result<Vec<_>, _>>()
        });
        let epochs = epochs.map_err(|error| error.opening_sink(&self.describe()))?;
        Ok(epochs.into_iter().flatten().max().map(Epoch))
    }

    fn open_epochs(&self, slot: &str) -> Result<Box<dyn EpochWriter<T>>, SinkError> {
        let what = self.describe();
        let opened = self
            .topic
            .open_for_writing(self.wanted)
            .and_then(|(partitions, lock)| {
                let open = |partition| {
                    let folder = self.topic.partition(partition);
                    // Before anything is removed by retention.
                    let found = progress::find(&folder, slot)?;
                    let log = PartitionLog::open(folder, self.settings)?;
                    Ok(Slot { log, found })
                };
                let slots = (0..partitions).map(open).collect::<Result<Vec<_>, _>>()?;
                let envelope = Envelope::new(self.key.clone(), self.headers.clone());
                let encoder = (self.encoder)();
                LogEpochs::open(
                    what.clone(),
                    slot.to_owned(),
                    slots,
                    encoder,
                    envelope,
                    lock,
                )
            });
        Ok(Box::new(opened.map_err(|error| error.opening_sink(&what))?))
    }
}
