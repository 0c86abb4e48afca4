//! The sparse index of a segment: some offsets with their places, 16 bytes each, in order.
//!
//! It only saves reading: an entry is believed when a whole record of its offset stands at its
//! place, and without any the segment is read from its start.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::frames::{Frames, Next};
use super::segment::Segment;

/// Bytes of records between two entries.
pub(crate) const INTERVAL_BYTES: u64 = 64 * 1024;
const ENTRY_BYTES: usize = 16;

/// The index of the segment at `segment`.
pub(crate) fn path(segment: &Path) -> PathBuf {
    segment.with_extension("index")
}

/// One entry as bytes.
pub(crate) fn entry(offset: u64, position: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    entry[..8].copy_from_slice(&offset.to_le_bytes());
    entry[8..].copy_from_slice(&position.to_le_bytes());
    entry
}

fn entries(segment: &Path) -> Result<Vec<(u64, u64)>, LogError> {
    let path = path(segment);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LogError::io(&path)(error)),
    };
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number.copy_from_slice(bytes);
        u64::from_le_bytes(number)
    };
    let entry = |entry: &[u8]| (number(&entry[..8]), number(&entry[8..]));
    Ok(bytes.chunks_exact(ENTRY_BYTES).map(entry).collect())
}

/// The segment's records from a place at or before `offset` on, as near as the index knows.
pub(crate) fn seek(segment: Segment, offset: u64) -> Result<Frames, LogError> {
    let (path, base) = (segment.path.clone(), segment.base);
    let bytes = segment.bytes()?;
    let mut frames = Frames::new(segment);
    for (at, position) in entries(&path)?.into_iter().rev() {
        if at > offset || at < base || position >= bytes {
            continue;
        }
        let mut there = Frames::at(frames.segment, position, at);
        if there.advance()? == Next::Frame {
            return Ok(Frames::at(there.segment, position, at));
        }
        frames = Frames::new(there.segment);
    }
    Ok(frames)
}

/// Drops the entries at and behind `bytes` of the segment, which has been cut there.
pub(crate) fn cut(segment: &Path, bytes: u64) -> Result<(), LogError> {
    let kept: Vec<u8> = entries(segment)?
        .into_iter()
        .filter(|(_, position)| *position < bytes)
        .flat_map(|(offset, position)| entry(offset, position))
        .collect();
    let path = path(segment);
    fs::write(&path, kept).map_err(LogError::io(&path))
}
