//! Reads one file as one partition.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError, Undecodable};

use super::input::read_error;
use super::lines::{Line, Lines};
use crate::codec::{Check, Decode, checked, undecodable};

/// How long to wait before looking again whether a file has grown.
const PAUSE: Duration = Duration::from_millis(2);

/// The reader of the data lines of a file.
pub(crate) struct FileReader<T> {
    pub(crate) what: String,
    pub(crate) lines: Lines,
    pub(crate) decoder: Box<dyn Decode<T>>,
    pub(crate) check: Option<Check<T>>,
    /// The number of the next line.
    pub(crate) offset: u64,
    /// The file, when it is followed as it grows.
    pub(crate) followed: Option<PathBuf>,
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
        let bytes = self
            .followed
            .as_ref()
            .and_then(|path| fs::metadata(path).ok())
            .map(|file| file.len());
        // A file that was renamed is followed on; one that was cut, or another one, is not.
        if bytes.is_some_and(|bytes| bytes < self.lines.read_bytes()) {
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
