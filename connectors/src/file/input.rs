//! Opens files for reading, decompressing those that are compressed.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use thalweg_engine::source::SourceError;

use super::compression::Compression;

/// Bytes taken from the file, or out of the decompressor, at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// The bytes of a file, decompressed.
pub(crate) type Input = BufReader<Box<dyn Read + Send>>;

/// Opens the file for reading from its start; `what` names it in errors.
pub(crate) fn open(path: &Path, what: &str) -> Result<Input, SourceError> {
    let bytes = open_bytes(path).map_err(|error| open_error(what, &error))?;
    Ok(BufReader::with_capacity(BUFFER_BYTES, bytes))
}

fn open_bytes(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok(match Compression::of(path) {
        Compression::None => Box::new(file),
        Compression::Zstd => Box::new(zstd::Decoder::new(file)?),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(file))),
    })
}

fn open_error(what: &str, error: &io::Error) -> SourceError {
    let (reason, remedy) = match error.kind() {
        ErrorKind::NotFound => ("there is no such file".to_owned(), "check the path"),
        ErrorKind::IsADirectory => (
            "it is a folder".to_owned(),
            "name the files in it, or a pattern such as `folder/*.csv`",
        ),
        ErrorKind::PermissionDenied => (
            "permission denied".to_owned(),
            "let the user that runs the job read it",
        ),
        _ => (error.to_string(), "check the path and the disk"),
    };
    SourceError::Open {
        what: what.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    }
}

/// The error of a file that broke while it was being read.
pub(crate) fn read_error(what: &str, error: &io::Error) -> SourceError {
    let reason = match error.kind() {
        ErrorKind::UnexpectedEof => format!("the compressed file is cut off ({error})"),
        _ => error.to_string(),
    };
    SourceError::Read {
        what: what.to_owned(),
        reason,
    }
}
