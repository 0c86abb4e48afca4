//! Opens files for writing, compressing those whose name says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_engine::sink::SinkError;
use zstd::Encoder;

use super::is_compressed;
use crate::probe;

/// Bytes gathered before they are handed to the file, or to the compressor.
const BUFFER_BYTES: usize = 64 * 1024;

/// The level of compression: zstd's own default.
const COMPRESSION_LEVEL: i32 = 3;

/// A file being written; a flush leaves it complete.
pub(crate) type Output = BufWriter<Target>;

/// Where the gathered bytes go.
pub(crate) enum Target {
    Plain(File),
    Compressed(Frames),
}

/// Creates the file, or empties the one there is, with the folders above it.
pub(crate) fn create(path: &Path) -> Result<Output, SinkError> {
    let target = || -> io::Result<Target> {
        fs::create_dir_all(folder(path))?;
        let file = File::create(path)?;
        Ok(if is_compressed(path) {
            Target::Compressed(Frames::new(file)?)
        } else {
            Target::Plain(file)
        })
    };
    let target = target().map_err(|error| open_error(path, &error))?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, target))
}

/// Shows that the file can be written, creating the folders above it but leaving the file as it is.
pub(crate) fn check(path: &Path) -> Result<(), SinkError> {
    let tried = || match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(there) if there.is_file() => OpenOptions::new().append(true).open(path).map(drop),
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

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn open_error(path: &Path, error: &io::Error) -> SinkError {
    let what = path.display().to_string();
    if error.kind() == ErrorKind::IsADirectory {
        let remedy = "choose another file name".to_owned();
        return SinkError::Open {
            what,
            reason: "it is a folder".to_owned(),
            remedy,
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
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Compressed(frames) => frames.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Compressed(frames) => frames.flush(),
        }
    }
}

/// Compresses what is written between two flushes into a frame of its own, so that after a flush
/// the file is whole even if the process is killed.
pub(crate) struct Frames {
    file: Arc<File>,
    frame: Option<Encoder<'static, Arc<File>>>,
}

impl Frames {
    /// Starts the first frame, so that a file that nothing is written to is one, if empty, too.
    fn new(file: File) -> io::Result<Self> {
        let file = Arc::new(file);
        let frame = Some(Encoder::new(Arc::clone(&file), COMPRESSION_LEVEL)?);
        Ok(Self { file, frame })
    }
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let frame = match &mut self.frame {
            Some(frame) => frame,
            none => none.insert(Encoder::new(Arc::clone(&self.file), COMPRESSION_LEVEL)?),
        };
        frame.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.frame.take() {
            Some(frame) => frame.finish().map(drop),
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
