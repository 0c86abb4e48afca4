//! One partition as its writer sees it: it appends, begins new segments and removes old ones.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use thalweg_engine::clock::Clock;
use thalweg_engine::time::EventTime;
use tracing::{info, warn};

use super::error::LogError;
use super::frame::{self, Beside, Kind};
use super::frames::{Frames, Next};
use super::index;
use super::segment::{self, HEADER_BYTES, Segment};
use super::settings::{Fsync, Retention, WriterSettings};
use super::tail::{Tail, Turn};

/// Bytes gathered before they are handed to the file.
const GATHERED_BYTES: usize = 256 * 1024;

/// The end of a partition, where records are appended.
pub(crate) struct PartitionLog {
    folder: PathBuf,
    settings: WriterSettings,
    path: PathBuf,
    file: File,
    seed: u32,
    /// Records that are not in the file yet.
    gathered: Vec<u8>,
    /// Entries that are not in the index yet.
    entries: Vec<u8>,
    /// Where in the segment the next record will stand, and where the last one in the index does.
    position: u64,
    indexed: u64,
    offset: u64,
    is_synced: bool,
    /// A write has failed: what the file holds since is not known.
    is_broken: bool,
}

impl PartitionLog {
    /// Opens the partition in `folder`, making it if there is none, and cuts off what a writer that
    /// was killed has left unfinished.
    pub(crate) fn open(folder: PathBuf, settings: WriterSettings) -> Result<Self, LogError> {
        fs::create_dir_all(&folder).map_err(LogError::io(&folder))?;
        let log = match last_segment(&folder)? {
            Last::None => Self::begin(folder, settings, 0)?,
            Last::Unfinished(base) => {
                let segment = segment::path(&folder, base);
                warn!(segment = %segment.display(), "a segment without a header is begun anew");
                Self::begin(folder, settings, base)?
            }
            Last::There(segment) => Self::go_on(folder, settings, segment)?,
        };
        expire(&log.folder, settings.retention)?;
        Ok(log)
    }

    fn begin(folder: PathBuf, settings: WriterSettings, base: u64) -> Result<Self, LogError> {
        let (file, seed) = segment::create(&folder, base)?;
        let path = segment::path(&folder, base);
        if settings.fsync != Fsync::Never {
            file.sync_all().map_err(LogError::io(&path))?;
            sync_folder(&folder)?;
        }
        Ok(Self {
            folder,
            settings,
            path,
            file,
            seed,
            gathered: Vec::new(),
            entries: Vec::new(),
            position: HEADER_BYTES,
            indexed: HEADER_BYTES,
            offset: base,
            is_synced: true,
            is_broken: false,
        })
    }

    fn go_on(folder: PathBuf, settings: WriterSettings, last: Segment) -> Result<Self, LogError> {
        let bytes = last.bytes()?;
        let (frames, broken) = walk_to_end(last)?;
        if let Some(reason) = broken {
            warn!(
                segment = %frames.segment.path.display(),
                offset = frames.offset,
                bytes = bytes - frames.position,
                reason,
                "an unfinished record is cut off"
            );
            index::cut(&frames.segment.path, frames.position)?;
        }
        let path = frames.segment.path.clone();
        Ok(Self {
            file: segment::append(&path, frames.position)?,
            folder,
            settings,
            path,
            seed: frames.segment.seed,
            gathered: Vec::new(),
            entries: Vec::new(),
            position: frames.position,
            indexed: frames.position,
            offset: frames.offset,
            is_synced: false,
            is_broken: false,
        })
    }

    /// Appends a record; it is visible after the next flush.
    pub(crate) fn append(
        &mut self,
        time: EventTime,
        key: Option<&[u8]>,
        headers: &[(String, Vec<u8>)],
        payload: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), LogError> {
        self.append_of(Kind::User, time, key, headers, payload)
    }

    /// As [`append`](Self::append), for a record of any kind.
    pub(crate) fn append_of(
        &mut self,
        kind: Kind,
        time: EventTime,
        key: Option<&[u8]>,
        headers: &[(String, Vec<u8>)],
        payload: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), LogError> {
        if self.position >= self.settings.segment_bytes && self.position > HEADER_BYTES {
            self.next_segment()?;
        }
        let beside = Beside {
            offset: self.offset,
            time,
            key,
            headers,
        };
        let before = self.gathered.len();
        frame::put(&mut self.gathered, self.seed, kind, &beside, payload)
            .map_err(LogError::Record)?;
        if self.position - self.indexed >= index::INTERVAL_BYTES {
            self.entries
                .extend_from_slice(&index::entry(self.offset, self.position));
            self.indexed = self.position;
        }
        self.position += (self.gathered.len() - before) as u64;
        self.offset += 1;
        if self.gathered.len() >= GATHERED_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    /// Makes what was appended visible, and safe where that is wanted.
    pub(crate) fn flush(&mut self) -> Result<(), LogError> {
        self.write_out()?;
        if self.settings.fsync == Fsync::OnFlush {
            self.sync()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), LogError> {
        if self.is_broken {
            return Err(LogError::Broken);
        }
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.is_broken = true;
        self.is_synced = false;
        self.file
            .write_all(&self.gathered)
            .map_err(LogError::io(&self.path))?;
        self.gathered.clear();
        if !self.entries.is_empty() {
            let path = index::path(&self.path);
            let index = OpenOptions::new().create(true).append(true).open(&path);
            index
                .and_then(|mut index| index.write_all(&self.entries))
                .map_err(LogError::io(&path))?;
            self.entries.clear();
        }
        self.is_broken = false;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if !std::mem::replace(&mut self.is_synced, true) {
            self.file.sync_data().map_err(LogError::io(&self.path))?;
        }
        Ok(())
    }

    /// Completes the segment and begins the next one.
    fn next_segment(&mut self) -> Result<(), LogError> {
        self.complete()?;
        let next = Self::begin(self.folder.clone(), self.settings, self.offset)?;
        *self = next;
        expire(&self.folder, self.settings.retention)
    }

    fn complete(&mut self) -> Result<(), LogError> {
        self.write_out()?;
        if self.settings.fsync != Fsync::Never {
            self.sync()?;
        }
        Ok(())
    }
}

impl Drop for PartitionLog {
    /// A writer that was not flushed has promised nothing; what can be saved is.
    fn drop(&mut self) {
        let _ = self.complete();
    }
}

enum Last {
    None,
    /// Its header has not been written.
    Unfinished(u64),
    There(Segment),
}

fn last_segment(folder: &Path) -> Result<Last, LogError> {
    let Some(base) = segment::list(folder)?.pop() else {
        return Ok(Last::None);
    };
    Ok(match Segment::open(folder, base)? {
        Some(segment) => Last::There(segment),
        None => Last::Unfinished(base),
    })
}

/// Goes to the end of the whole records of a partition's last segment; the reason is that for which
/// an unfinished one follows.
fn walk_to_end(last: Segment) -> Result<(Frames, Option<&'static str>), LogError> {
    let mut frames = index::seek(last, u64::MAX)?;
    loop {
        let reason = match frames.advance()? {
            Next::Frame => continue,
            Next::End => return Ok((frames, None)),
            Next::Broken(reason) => reason,
        };
        if frames.whole_record_behind()? {
            return Err(frames.corrupt(reason));
        }
        return Ok((frames, Some(reason)));
    }
}

/// The offset behind the last record of the partition in `folder`.
pub(crate) fn end_offset(folder: &Path) -> Result<u64, LogError> {
    Ok(match last_segment(folder)? {
        Last::None => 0,
        Last::Unfinished(base) => base,
        Last::There(segment) => walk_to_end(segment)?.0.offset,
    })
}

/// The oldest offset that is still there.
pub(crate) fn first_offset(folder: &Path) -> Result<u64, LogError> {
    Ok(segment::list(folder)?.first().copied().unwrap_or(0))
}

/// The offset of the first record whose event time is at or after `time`; the end where there is none.
/// Reads up to there, since event times need not be in order.
pub(crate) fn offset_at(folder: &Path, time: EventTime) -> Result<u64, LogError> {
    let mut tail = Tail::open(folder.to_owned(), first_offset(folder)?, None)?;
    let mut offset = first_offset(folder)?;
    while tail.advance()? == Turn::Record {
        let Some(record) = tail.current() else { break };
        if record.time >= time {
            return Ok(record.offset);
        }
        offset = record.offset + 1;
    }
    Ok(offset)
}

/// Removes the segments that need not be kept.
fn expire(folder: &Path, retention: Retention) -> Result<(), LogError> {
    if retention == Retention::forever() {
        return Ok(());
    }
    let mut closed = segment::list(folder)?;
    let newest = closed.pop();
    let mut kept_bytes = 0;
    let now = Clock::system().wall();
    let mut is_kept = true;
    for base in newest.into_iter().chain(closed.into_iter().rev()) {
        let path = segment::path(folder, base);
        let metadata = fs::metadata(&path).map_err(LogError::io(&path))?;
        kept_bytes += metadata.len();
        let written = metadata.modified().map_err(LogError::io(&path))?;
        let written = written.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let age = now.since(EventTime::from_micros(0).saturating_add(written));
        is_kept &= Some(base) == newest
            || (retention.bytes.is_none_or(|most| kept_bytes <= most)
                && retention.age.is_none_or(|most| age <= most));
        if !is_kept {
            fs::remove_file(&path).map_err(LogError::io(&path))?;
            // It is there only when the segment was long enough.
            let _ = fs::remove_file(index::path(&path));
            info!(segment = %path.display(), "removed by retention");
        }
    }
    Ok(())
}

/// Brings the names of new files to the disk, where that takes an effort of its own.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), LogError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(LogError::io(folder))?;
    }
    Ok(())
}
