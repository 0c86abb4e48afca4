//! Opens files for writing, compressing those whose name says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::write::GzEncoder;
use thalweg_engine::sink::SinkError;

use super::compression::Compression;
use super::lock;
use crate::probe;

/// Bytes gathered before they are handed to the file, or to the compressor.
const BUFFER_BYTES: usize = 64 * 1024;

/// The levels of compression: zstd's and gzip's own defaults.
pub(crate) const ZSTD_LEVEL: i32 = 3;
pub(crate) const GZIP_LEVEL: u32 = 6;

/// A file being written; a flush leaves it complete.
pub(crate) type Output = BufWriter<Target>;

/// Where the gathered bytes go; it counts them.
pub(crate) struct Target {
    to: To,
    bytes: Arc<AtomicU64>,
}

enum To {
    Memory(Memory),
    Plain(File),
    Compressed(Frames),
}

/// Bytes that are kept until somebody takes them.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// Takes out what has been written.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.write(bytes)
    }

    /// An output into this memory.
    pub(crate) fn output(&self) -> Output {
        let to = To::Memory(self.clone());
        let bytes = Arc::default();
        BufWriter::with_capacity(BUFFER_BYTES, Target { to, bytes })
    }
}

/// Creates the file, or empties the one there is, with the folders above it, and locks it. `bytes` counts what is written, before it is compressed.
pub(crate) fn create(
    path: &Path,
    compression: Compression,
    bytes: Arc<AtomicU64>,
) -> Result<Output, SinkError> {
    let to = || -> io::Result<To> {
        fs::create_dir_all(folder(path))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        lock::take(&file)?;
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(match compression {
            Compression::None => To::Plain(file),
            Compression::Zstd | Compression::Gzip => {
                To::Compressed(Frames::new(file, compression)?)
            }
        })
    };
    let to = to().map_err(|error| open_error(path, &error))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, Target { to, bytes }))
}

/// Shows that the file can be written, leaving everything as it is.
pub(crate) fn check(path: &Path) -> Result<(), SinkError> {
    let tried = || match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(there) if there.is_file() => {
            let file = OpenOptions::new().append(true).open(path)?;
            lock::check(&file)
        }
        // A pipe or a device; opening it could wait for its reader.
        Ok(_) => Ok(()),
        Err(_) => probe_folder(path),
    };
    tried().map_err(|error| open_error(path, &error))
}

fn probe_folder(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    probe::folder(&folder(path), &name.display().to_string())
}

pub(crate) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

pub(crate) fn open_error(path: &Path, error: &io::Error) -> SinkError {
    let what = path.display().to_string();
    if error.kind() == ErrorKind::IsADirectory {
        let remedy = "choose another file name".to_owned();
        return SinkError::Open {
            what,
            reason: "it is a folder".to_owned(),
            remedy,
        };
    }
    if error.kind() == ErrorKind::ResourceBusy {
        return SinkError::Busy {
            what,
            reason: "another writer has it open".to_owned(),
            remedy: "let that run end first, or choose another folder with --out: a file has one \
                     writer at a time"
                .to_owned(),
        };
    }
    SinkError::Open {
        what,
        reason: format!(
            "the folder {} cannot be written to: {error}",
            folder(path).display()
        ),
        remedy: "choose another folder with --out or fix its permissions".to_owned(),
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.to {
            To::Memory(memory) => memory.write(bytes),
            To::Plain(file) => file.write(bytes),
            To::Compressed(frames) => frames.write(bytes),
        }?;
        self.bytes.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Memory(_) => Ok(()),
            To::Plain(file) => file.flush(),
            To::Compressed(frames) => frames.flush(),
        }
    }
}

/// Compresses what is written between two flushes into a frame of its own, so that after a flush
/// the file is whole even if the process is killed.
struct Frames {
    file: Arc<File>,
    compression: Compression,
    frame: Option<Frame>,
}

enum Frame {
    Zstd(zstd::Encoder<'static, Arc<File>>),
    Gzip(GzEncoder<Arc<File>>),
}

impl Frame {
    fn new(file: &Arc<File>, compression: Compression) -> io::Result<Self> {
        let file = Arc::clone(file);
        Ok(match compression {
            Compression::Gzip => {
                Self::Gzip(GzEncoder::new(file, flate2::Compression::new(GZIP_LEVEL)))
            }
            _ => Self::Zstd(zstd::Encoder::new(file, ZSTD_LEVEL)?),
        })
    }
}

impl Frames {
    /// Starts the first frame, so that a file that nothing is written to is one, if empty, too.
    fn new(file: File, compression: Compression) -> io::Result<Self> {
        let file = Arc::new(file);
        let frame = Some(Frame::new(&file, compression)?);
        Ok(Self {
            file,
            compression,
            frame,
        })
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let frame = match &mut self.frame {
            Some(frame) => frame,
            none => none.insert(Frame::new(&self.file, self.compression)?),
        };
        match frame {
            Frame::Zstd(frame) => frame.write(bytes),
            Frame::Gzip(frame) => frame.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.frame.take() {
            Some(Frame::Zstd(frame)) => frame.finish().map(drop),
            Some(Frame::Gzip(frame)) => frame.finish().map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // A writer that was not flushed has promised nothing; what can be saved is.
        let _ = self.flush();
    }
}
