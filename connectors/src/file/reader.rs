//! Reads one file as one partition.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::input::read_error;
use super::lines::{Line, Lines};
use crate::codec::{Check, Decode, checked, undecodable};

/// How long to wait before looking again whether a file has grown.
const PAUSE: Duration = Duration::from_millis(2);

/// A file that is followed as it grows.
pub(crate) struct Followed {
    path: PathBuf,
    identity: Option<Identity>,
}

/// Device and number of a file.
type Identity = (u64, u64);

impl Followed {
    pub(crate) fn new(path: &Path) -> Self {
        let file = fs::metadata(path).ok();
        Self {
            path: path.to_owned(),
            identity: file.as_ref().and_then(identity),
        }
    }

    /// Whether the file of this name is another one, or shorter than what has been read. One that was renamed
    /// is followed on.
    fn is_replaced(&self, read_bytes: u64) -> bool {
        fs::metadata(&self.path)
            .is_ok_and(|file| file.len() < read_bytes || identity(&file) != self.identity)
    }
}

#[cfg(unix)]
fn identity(file: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

/// The reader of the data lines of a file.
pub(crate) struct FileReader<T> {
    pub(crate) what: String,
    pub(crate) lines: Lines,
    pub(crate) decoder: Box<dyn Decode<T>>,
    pub(crate) check: Option<Check<T>>,
    /// The number of the next line.
    pub(crate) offset: u64,
    /// The file, when it is followed as it grows.
    pub(crate) followed: Option<Followed>,
    /// What broke the file behind the records that were given out last.
    pub(crate) broken: Option<io::Error>,
}

impl<T> FileReader<T> {
    fn decode(
        decoder: &mut dyn Decode<T>,
        check: Option<&Check<T>>,
        line: &[u8],
    ) -> Result<T, Undecodable> {
        guard(|| checked(decoder.decode(line)?, check, line))
            .unwrap_or_else(|reason| Err(undecodable(reason, line)))
    }

    /// Waits a little for the file to grow.
    fn wait(&self) -> Result<ReadStatus, SourceError> {
        let read_bytes = self.lines.read_bytes();
        let followed = self.followed.as_ref();
        if followed.is_some_and(|file| file.is_replaced(read_bytes)) {
            let reason = io::Error::other("it was cut or replaced while it was followed");
            return Err(read_error(&self.what, &reason));
        }
        std::thread::sleep(PAUSE);
        Ok(ReadStatus::Waiting)
    }
}

impl<T> Reader<T> for FileReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        if let Some(error) = self.broken.take() {
            return Err(read_error(&self.what, &error));
        }
        let mut room = limit;
        while room > 0 {
            let item = match self.lines.next() {
                Ok(Some(Line::Whole([]))) => None,
                Ok(Some(Line::Whole(line))) => {
                    Some(Self::decode(&mut *self.decoder, self.check.as_ref(), line))
                }
                Ok(Some(Line::TooLong { head, bytes })) => Some(Err(too_long(head, bytes))),
                Ok(None) if self.followed.is_none() => return Ok(ReadStatus::End),
                Ok(None) if room < limit => return Ok(ReadStatus::More),
                Ok(None) => return self.wait(),
                Err(error) if room == limit => return Err(read_error(&self.what, &error)),
                Err(error) => {
                    self.broken = Some(error);
                    return Ok(ReadStatus::More);
                }
            };
            if let Some(item) = item {
                batch.push((self.offset, item));
                room -= 1;
            }
            self.offset += 1;
        }
        Ok(ReadStatus::More)
    }
}

fn too_long(head: &[u8], bytes: u64) -> Undecodable {
    let reason = format!(
        "the line has {bytes} bytes, more than the limit of {}; raise it with `line_bytes_max`",
        head.len()
    );
    undecodable(reason, head)
}
