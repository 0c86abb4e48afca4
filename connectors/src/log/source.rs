//! The configuration of a topic of a log as a source.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use thalweg_engine::source::{Found, Reader, Source, SourceError, Undecodable};

use super::error::LogError;
use super::frame::Message;
use super::partition;
use super::reader::{LogReader, PAUSE_MIN};
use super::start::LogStart;
use super::tail::Tail;
use super::topic::{Topic, shown};
use crate::codec::{Check, Decode, JsonDecoder, undecodable};

/// Bytes of a payload beyond which a record is dead-lettered, unless set otherwise.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// How often new partitions are looked for.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

/// Makes a value of a message.
pub(crate) type DecodeMessage<T> = Box<dyn FnMut(&Message<'_>) -> Result<T, Undecodable> + Send>;
type MakeDecoder<T> = dyn Fn() -> DecodeMessage<T> + Send + Sync;

/// Reads a topic of an embedded log, partition by partition, and follows it as it grows.
///
/// Offsets are those of the log. A source begins with the oldest record that is still there, unless
/// told otherwise; an offset to go on from that retention has removed, or that the log has not come
/// to, is an error. Partitions that the topic is given later are found.
///
/// ```
/// use thalweg_connectors::log::{LogSink, LogSource};
/// use thalweg_engine::record::{Origin, Record};
/// use thalweg_engine::sink::{Refused, Sink};
/// use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
/// use thalweg_engine::time::EventTime;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let log = folder.path();
/// let sink = LogSink::<f64>::json(log, "amounts");
/// let mut writer = sink.open()?;
/// for (second, value) in [(0, 9.5), (1, 12.0)] {
///     let time = EventTime::from_seconds(second);
///     writer.write(&[Record { time, origin: Origin::default(), ingested_ns: 0, value }], &mut Refused::default())?;
/// }
/// writer.flush()?;
///
/// let amounts = LogSource::<f64>::json(log, "amounts").until_end();
/// let mut batch = ReadBatch::new();
/// assert_eq!(amounts.open(0, 1)?.read(&mut batch, 10)?, ReadStatus::End);
/// assert_eq!(batch, [(1, Ok(12.0))]);
/// # Ok(())
/// # }
/// ```
pub struct LogSource<T> {
    topic: Topic,
    decoder: Arc<MakeDecoder<T>>,
    check: Option<Check<T>>,
    value_bytes_max: usize,
    is_until_end: bool,
    start: LogStart,
}

impl<T: DeserializeOwned + 'static> LogSource<T> {
    /// A topic whose payloads are JSON.
    pub fn json(log: impl Into<PathBuf>, topic: impl Into<String>) -> Self {
        Self::decoded(log, topic, || JsonDecoder)
    }
}

impl<T: 'static> LogSource<T> {
    /// A topic whose payloads a codec decodes; each partition gets a decoder of its own.
    pub fn decoded<D: Decode<T> + 'static>(
        log: impl Into<PathBuf>,
        topic: impl Into<String>,
        decoder: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self::new(log.into(), topic.into(), move || {
            let mut decoder = decoder();
            Box::new(move |message| decoder.decode(message.payload))
        })
    }

    /// A topic whose records a closure makes values of, with their key, event time, headers, and
    /// where they stand; what it refuses is a dead letter with the reason.
    pub fn messages(
        log: impl Into<PathBuf>,
        topic: impl Into<String>,
        of: impl Fn(&Message<'_>) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let of = Arc::new(of);
        Self::new(log.into(), topic.into(), move || {
            let of = Arc::clone(&of);
            Box::new(move |message| {
                of(message).map_err(|reason| undecodable(reason, message.payload))
            })
        })
    }

    fn new(
        log: PathBuf,
        name: String,
        decoder: impl Fn() -> DecodeMessage<T> + Send + Sync + 'static,
    ) -> Self {
        Self {
            topic: Topic { log, name },
            decoder: Arc::new(decoder),
            check: None,
            value_bytes_max: VALUE_BYTES_MAX,
            is_until_end: false,
            start: LogStart::default(),
        }
    }

    /// Where to begin; [`LogStart::Beginning`] unless set.
    #[must_use]
    pub fn start(mut self, start: LogStart) -> Self {
        self.start = start;
        self
    }

    /// Reads to the end that each partition has when it is opened, and then ends.
    #[must_use]
    pub fn until_end(mut self) -> Self {
        self.is_until_end = true;
        self
    }

    /// Checks each record that was decoded: one that is refused is dead-lettered with the reason.
    #[must_use]
    pub fn check_with(
        mut self,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// The length beyond which a payload is dead-lettered, with its first `bytes`, instead of being
    /// decoded; 1 MiB unless set.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes;
        self
    }
}

impl<T> LogSource<T> {
    fn what(&self, partition: u32) -> String {
        let topic = shown(&self.topic.log, &self.topic.name);
        format!("partition {partition} of {topic}")
    }
}

impl<T: 'static> Source<T> for LogSource<T> {
    fn describe(&self) -> String {
        shown(&self.topic.log, &self.topic.name)
    }

    fn check(&self) -> Result<(), SourceError> {
        self.partitions().map(drop)
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        let partitions = self.topic.partitions();
        let partitions = partitions.map_err(|error| error.opening(&self.describe()))?;
        Ok((0..partitions).collect())
    }

    fn start_offset(&self, partition: u32, found: Found) -> Result<u64, SourceError> {
        let folder = self.topic.partition(partition);
        let start = match (self.start, found) {
            (LogStart::Beginning, _) | (_, Found::Later) => partition::first_offset(&folder),
            (LogStart::End, _) => partition::end_offset(&folder),
            (LogStart::At(time), _) => partition::offset_at(&folder, time),
        };
        start.map_err(|error| error.opening(&self.what(partition)))
    }

    fn discover_every(&self) -> Option<Duration> {
        (!self.is_until_end).then_some(DISCOVER_EVERY)
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        let what = self.what(partition);
        let folder = self.topic.partition(partition);
        let opened = self.topic.partitions().and_then(|partitions| {
            if partition >= partitions {
                let wanted = partition.saturating_add(1);
                return Err(LogError::Partitions {
                    found: partitions,
                    wanted,
                });
            }
            let end = if self.is_until_end {
                Some(partition::end_offset(&folder)?)
            } else {
                None
            };
            Tail::open(folder, offset, end)
        });
        let tail = opened.map_err(|error| error.opening(&what))?;
        Ok(Box::new(LogReader {
            what,
            topic: self.topic.name.clone(),
            partition,
            tail,
            decode: (self.decoder)(),
            check: self.check.clone(),
            value_bytes_max: self.value_bytes_max,
            pause: PAUSE_MIN,
        }))
    }
}
