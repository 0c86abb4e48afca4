//! What the tests of the log share.

use std::path::Path;

use thalweg_engine::record::{Origin, Record};
use thalweg_engine::source::{Found, ReadBatch, ReadStatus, Reader, Source, SourceError};
use thalweg_engine::time::EventTime;

use super::{LogSource, segment};

pub(crate) fn record<T>(value: T) -> Record<T> {
    Record {
        time: EventTime::default(),
        origin: Origin::default(),
        ingested_ns: 0,
        value,
    }
}

/// Reads until there is nothing more for now.
pub(crate) fn drain<T>(
    reader: &mut dyn Reader<T>,
    limit: usize,
) -> Result<Vec<(u64, T)>, SourceError> {
    let mut batch = ReadBatch::new();
    while reader.read(&mut batch, limit)? == ReadStatus::More {}
    Ok(batch
        .into_iter()
        .map(|(offset, value)| (offset, value.unwrap()))
        .collect())
}

/// All of partition 0 of a topic of numbers, from `offset` on, or from where it begins now.
pub(crate) fn numbers(log: &Path, topic: &str, offset: u64) -> Result<Vec<u64>, SourceError> {
    let source = LogSource::<u64>::json(log, topic);
    let offset = match offset {
        0 => source.start_offset(0, Found::AtStart)?,
        offset => offset,
    };
    let mut reader = source.open(0, offset)?;
    let read = drain(&mut *reader, 100)?;
    Ok(read.into_iter().map(|(_, value)| value).collect())
}

/// The segments of partition 0 of a topic.
pub(crate) fn segments(log: &Path, topic: &str) -> Vec<std::path::PathBuf> {
    let folder = log.join(topic).join("0");
    let bases = segment::list(&folder).unwrap();
    bases
        .into_iter()
        .map(|base| segment::path(&folder, base))
        .collect()
}
