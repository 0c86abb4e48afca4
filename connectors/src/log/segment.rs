//! Segments: the files that a partition's records stand in, named by their first offset.
//!
//! A segment begins with 32 bytes: `THWLOG01`, the first offset (u64), a random salt (u64), four
//! zeros, and the CRC-32C of the 28 bytes before (u32). Records follow.

use std::collections::hash_map::RandomState;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::frame;

const MAGIC: [u8; 8] = *b"THWLOG01";
/// Bytes before the first record.
pub(crate) const HEADER_BYTES: u64 = 32;
const NAME_DIGITS: usize = 20;

/// The file of the segment that begins at offset `base`.
pub(crate) fn path(partition: &Path, base: u64) -> PathBuf {
    partition.join(format!("{base:0NAME_DIGITS$}.log"))
}

/// The first offsets of the segments in a partition's folder, in order; none where there is none.
pub(crate) fn list(partition: &Path) -> Result<Vec<u64>, LogError> {
    let entries = match fs::read_dir(partition) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LogError::io(partition)(error)),
    };
    let mut bases = Vec::new();
    for entry in entries {
        let name = entry.map_err(LogError::io(partition))?.file_name();
        let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
        bases.extend(base.and_then(|base| base.parse::<u64>().ok()));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// A segment that is open for reading.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) base: u64,
    /// The seed of its checksums.
    pub(crate) seed: u32,
    file: File,
}

impl Segment {
    /// Opens a segment; nothing when its header has not been written yet.
    pub(crate) fn open(partition: &Path, base: u64) -> Result<Option<Self>, LogError> {
        let path = path(partition, base);
        let mut file = File::open(&path).map_err(LogError::io(&path))?;
        let mut header = [0; HEADER_BYTES as usize];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(LogError::io(&path)(error)),
        }
        let corrupt = |reason: &str| LogError::Corrupt {
            segment: path.clone(),
            offset: base,
            position: 0,
            reason: reason.to_owned(),
        };
        let (fields, crc) = header
            .split_last_chunk::<4>()
            .expect("invariant: the header is longer");
        if fields[..8] != MAGIC {
            return Err(corrupt("it is not a segment of this format"));
        }
        if crc32c::crc32c(fields) != u32::from_le_bytes(*crc) {
            return Err(corrupt("the checksum of its header does not match"));
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&fields[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        if number(8) != base {
            return Err(corrupt("it begins at another offset than its name says"));
        }
        Ok(Some(Self {
            seed: frame::seed(number(16)),
            path,
            base,
            file,
        }))
    }

    /// The bytes there are by now.
    pub(crate) fn bytes(&self) -> Result<u64, LogError> {
        let metadata = self.file.metadata().map_err(LogError::io(&self.path))?;
        Ok(metadata.len())
    }

    /// Appends at most `limit` bytes from `position` on to `buffer`.
    pub(crate) fn read_at(
        &mut self,
        position: u64,
        limit: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<usize, LogError> {
        let read = self
            .file
            .seek(SeekFrom::Start(position))
            .and_then(|_| (&mut self.file).take(limit as u64).read_to_end(buffer));
        read.map_err(LogError::io(&self.path))
    }
}

/// Makes a segment that begins at `base`, in place of an unfinished one; returns the file to append
/// to and the seed of its checksums.
pub(crate) fn create(partition: &Path, base: u64) -> Result<(File, u32), LogError> {
    let path = path(partition, base);
    let salt = RandomState::new().build_hasher().finish();
    let mut header = Vec::with_capacity(HEADER_BYTES as usize);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&base.to_le_bytes());
    header.extend_from_slice(&salt.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    let file = File::create(&path).and_then(|mut file| {
        file.write_all(&header)?;
        Ok(file)
    });
    Ok((file.map_err(LogError::io(&path))?, frame::seed(salt)))
}

/// Opens a segment to be appended to behind its first `bytes`; what follows them is cut off.
pub(crate) fn append(path: &Path, bytes: u64) -> Result<File, LogError> {
    let open = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(bytes)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    open().map_err(LogError::io(path))
}
