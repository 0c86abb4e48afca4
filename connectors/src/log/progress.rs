//! The notes that an exactly-once sink leaves in each partition: how far it has published.
//!
//! A note is a record of a kind of its own, which readers pass over: its key is the slot, the
//! pipeline and sink that wrote it, its payload JSON. Whatever stands behind the last note of a slot
//! was written by a publishing that did not come to its end.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::LogError;
use super::frame::{Frame, Kind};
use super::frames::{Frames, Next};
use super::segment::{self, Segment};

/// What a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The epoch that has been published last.
    pub(crate) epoch: u64,
    /// How many records of it are in this partition.
    pub(crate) records: u64,
    /// The CRC-32C of their prints, one after the other.
    pub(crate) crc: u32,
}

/// What a partition says of a slot.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) progress: Option<Progress>,
    /// The prints of the records behind the note; none without one.
    pub(crate) behind: Vec<u32>,
}

/// Tells records apart by what they carry, wherever they stand.
pub(crate) fn print(frame: &Frame<'_>) -> u32 {
    let mut crc = crc32c::crc32c(&frame.time.as_micros().to_le_bytes());
    let mut add = |bytes: &[u8]| {
        crc = crc32c::crc32c_append(crc, &(bytes.len() as u64).to_le_bytes());
        crc = crc32c::crc32c_append(crc, bytes);
    };
    add(&[u8::from(frame.key.is_some())]);
    add(frame.key.unwrap_or_default());
    for (name, value) in frame.headers {
        add(name.as_bytes());
        add(value);
    }
    add(frame.payload);
    crc
}

/// Looks for the last note of a slot, from the end of the partition on.
pub(crate) fn find(partition: &Path, slot: &str) -> Result<Found, LogError> {
    find_last(partition, |key| key == slot.as_bytes())
}

/// Up to which epoch slots whose names begin so have published, by the last note of any of them.
pub(crate) fn find_epoch(partition: &Path, slots: &str) -> Result<Option<u64>, LogError> {
    let found = find_last(partition, |key| key.starts_with(slots.as_bytes()))?;
    Ok(found.progress.map(|progress| progress.epoch))
}

fn find_last(partition: &Path, is_wanted: impl Fn(&[u8]) -> bool) -> Result<Found, LogError> {
    let mut behind: Vec<u32> = Vec::new();
    for base in segment::list(partition)?.into_iter().rev() {
        let Some(segment) = Segment::open(partition, base)? else {
            continue;
        };
        let mut frames = Frames::new(segment);
        let (mut progress, mut prints) = (None, Vec::new());
        while frames.advance()? == Next::Frame {
            let frame = frames.current();
            match frame.kind {
                Kind::User => prints.push(print(&frame)),
                Kind::Progress if frame.key.is_some_and(&is_wanted) => {
                    let note = serde_json::from_slice(frame.payload);
                    progress = Some(note.map_err(|error| {
                        frames.corrupt(&format!("a note of progress cannot be read: {error}"))
                    })?);
                    prints.clear();
                }
                Kind::Progress => {}
            }
        }
        prints.append(&mut behind);
        behind = prints;
        if progress.is_some() {
            return Ok(Found { progress, behind });
        }
    }
    Ok(Found::default())
}

#[cfg(test)]
mod tests {
    use thalweg_engine::checkpoint::Epoch;
    use thalweg_engine::sink::{Refused, Sink};

    use crate::log::LogSink;
    use crate::log::testing::record;

    #[test]
    fn how_far_has_been_published_is_known_by_slot() {
        let folder = tempfile::tempdir().unwrap();
        let sink = LogSink::<u32>::json(folder.path(), "scores");
        let published = |slots: &str| sink.published(slots).unwrap().map(|epoch| epoch.0);
        assert_eq!(published("fraud/scores/"), None);
        let mut writer = sink.open_epochs("fraud/scores/01").unwrap();
        assert_eq!(published("fraud/scores/"), Some(0));
        let (mut outbox, mut refused) = (Vec::new(), Refused::default());
        let staged = writer.stage(&[record(7)], &mut outbox, &mut refused);
        staged.unwrap();
        writer.publish(Epoch(9), &outbox).unwrap();
        assert_eq!(published("fraud/scores/"), Some(9));
        assert_eq!(published("fraud/scores/01"), Some(9));
        assert_eq!(published("fraud/scores/02"), None);
    }

    #[test]
    fn notes_that_are_lost_end_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let sink = LogSink::<u32>::json(folder.path(), "scores");
        let open = || sink.open_epochs("fraud/scores/01").unwrap();
        let mut writer = open();
        assert_eq!(writer.published().as_deref(), Some("0"));
        let (mut outbox, mut refused) = (Vec::new(), Refused::default());
        writer
            .stage(&[record(7)], &mut outbox, &mut refused)
            .unwrap();
        writer.publish(Epoch(9), &outbox).unwrap();
        assert_eq!(writer.published().as_deref(), Some("9"));
        drop(writer);
        open().resume("9").unwrap();
        std::fs::remove_dir_all(folder.path().join("scores")).unwrap();
        let error = open().resume("9").unwrap_err().to_string();
        assert!(error.contains("epoch 9 has been published"), "{error}");
    }

    #[test]
    #[cfg(feature = "file")]
    fn the_outbox_of_another_kind_of_sink_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = LogSink::<u32>::json(folder.path(), "scores");
        let file = crate::file::FileSink::<u32>::json_lines(folder.path().join("scores.jsonl"));
        let both: [&dyn Sink<u32>; 2] = [&log, &file];
        for (own, other) in [(0, 1), (1, 0)] {
            let (mut outbox, mut refused) = (Vec::new(), Refused::default());
            let mut writer = both[own].open_epochs("fraud/scores/01").unwrap();
            writer
                .stage(&[record(7)], &mut outbox, &mut refused)
                .unwrap();
            let mut writer = both[other].open_epochs("fraud/scores/01").unwrap();
            let error = writer.publish(Epoch(9), &outbox).unwrap_err().to_string();
            assert!(error.contains("another kind of sink"), "{error}");
        }
    }
}
