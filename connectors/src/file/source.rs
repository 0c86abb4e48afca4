//! The configuration of files as a source.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use thalweg_engine::source::{Reader, Source, SourceError};

use super::compression::Compression;
use super::files::Files;
use super::input::{self, read_error};
use super::lines::{Line, Lines};
use super::reader::{FileReader, Followed};
use crate::codec::{Check, CsvDecoder, Decode, JsonDecoder};

/// Bytes of a line beyond which it is dead-lettered, unless set otherwise.
const LINE_BYTES_MAX: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::JsonLines => "JSON-lines",
        }
    }
}

/// Reads files: each file is a partition, each line a record.
///
/// A record's offset is the number of its line, from 0; a CSV file's header is not counted. Empty
/// lines hold no record but are counted, so that an offset is a place in the file. A file that is
/// empty, or has a header only, is a source without records.
///
/// A line that cannot be decoded becomes a dead letter, and the next one is read as if nothing had
/// been: so a quoted CSV field cannot span several lines.
///
/// ```
/// use serde::Deserialize;
/// use thalweg_connectors::file::FileSource;
/// use thalweg_engine::source::{ReadBatch, ReadStatus, Source};
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Flight {
///     id: u32,
///     delay: f64,
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("flights.csv");
/// std::fs::write(&path, "id,delay\n1,12.5\n2,soon\n3,-1\n")?;
///
/// let flights = FileSource::<Flight>::csv(&path).columns(&["id", "delay"]).check_with(|f| {
///     if f.delay >= 0.0 { Ok(()) } else { Err("column `delay` is negative".to_owned()) }
/// });
/// flights.check()?;
///
/// let mut batch = ReadBatch::new();
/// assert_eq!(flights.open(0, 0)?.read(&mut batch, 10)?, ReadStatus::End);
/// assert_eq!(batch[0], (0, Ok(Flight { id: 1, delay: 12.5 })));
/// let reasons: Vec<_> =
///     batch[1..].iter().map(|(_, line)| line.as_ref().unwrap_err().reason.as_str()).collect();
/// assert_eq!(
///     reasons,
///     ["column `delay`: invalid float literal (found `soon`)", "column `delay` is negative"],
/// );
/// # Ok(())
/// # }
/// ```
pub struct FileSource<T> {
    files: Files,
    format: Format,
    columns: Vec<String>,
    line_bytes_max: usize,
    check: Option<Check<T>>,
    is_followed: bool,
    discover_every: Option<Duration>,
}

impl<T> FileSource<T> {
    /// A CSV file with a header, compressed where its name ends in `.zst` or `.gz`.
    pub fn csv(path: impl Into<PathBuf>) -> Self {
        Self::csv_files(vec![path.into()])
    }

    /// CSV files, each with a header of its own and a partition of its own, numbered in their
    /// order here.
    pub fn csv_files(paths: Vec<PathBuf>) -> Self {
        Self::new(paths, Format::Csv)
    }

    /// A file of one JSON value a line, compressed where its name ends in `.zst` or `.gz`.
    pub fn json_lines(path: impl Into<PathBuf>) -> Self {
        Self::json_lines_files(vec![path.into()])
    }

    /// Files of one JSON value a line, each a partition of its own, numbered in their order here.
    pub fn json_lines_files(paths: Vec<PathBuf>) -> Self {
        Self::new(paths, Format::JsonLines)
    }

    /// The CSV files whose paths match a pattern, such as `data/*.csv.gz` or `data/2013-*/*`, each a
    /// partition of its own, numbered in the order of their paths.
    ///
    /// In a pattern `*` stands for anything within a name, `**` for any folders, `?` for one
    /// character, `[ab]` for one of those. It is looked at once, before the job starts, unless
    /// [`discover_every`](Self::discover_every) is set. To go on from offsets, files that have come since must sort behind
    /// those that were there.
    pub fn csv_matching(pattern: impl Into<String>) -> Self {
        Self::over(Files::matching(pattern.into()), Format::Csv)
    }

    /// The files of one JSON value a line whose paths match a pattern, as with
    /// [`csv_matching`](Self::csv_matching).
    pub fn json_lines_matching(pattern: impl Into<String>) -> Self {
        Self::over(Files::matching(pattern.into()), Format::JsonLines)
    }

    fn new(paths: Vec<PathBuf>, format: Format) -> Self {
        Self::over(Files::named(paths), format)
    }

    fn over(files: Files, format: Format) -> Self {
        Self {
            files,
            format,
            columns: Vec::new(),
            line_bytes_max: LINE_BYTES_MAX,
            check: None,
            is_followed: false,
            discover_every: None,
        }
    }

    /// Goes on reading as the files grow, line by whole line, and never ends. Only plain files can be
    /// followed, and a CSV file only once its header has been written. A file that is cut, or that
    /// another one takes the place of, is an error.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.is_followed = true;
        self
    }

    /// Looks so often for files that have come to match the pattern, and reads these, too: the source
    /// then never ends. A file must be whole when it gets its name, or be followed; it is known by its
    /// path ([`partition_name`](Source::partition_name)), since its number depends on when it came.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discover_every = Some(interval);
        self
    }

    /// The columns that the header of a CSV file must have for it to be opened at all. Without
    /// them, a file that lacks a column is all dead letters.
    #[must_use]
    pub fn columns(mut self, names: &[&str]) -> Self {
        self.columns = names.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// Checks each record that was decoded: one that is refused is dead-lettered with the reason.
    #[must_use]
    pub fn check_with(
        mut self,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// The length beyond which a line is dead-lettered, with its first `bytes`, instead of being
    /// held in memory; 1 MiB unless set. Line breaks are not counted.
    #[must_use]
    pub fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.line_bytes_max = bytes;
        self
    }

    fn name(&self, path: &Path) -> String {
        format!("{} file {}", self.format.name(), path.display())
    }

    /// Reads up to the first line that holds names; none when there is no such line.
    fn header(&self, lines: &mut Lines, what: &str) -> Result<Option<CsvDecoder>, SourceError> {
        loop {
            let decoder = match lines.next().map_err(|error| read_error(what, &error))? {
                None => return Ok(None),
                Some(Line::Whole([])) => continue,
                Some(Line::Whole(line)) => CsvDecoder::new(line).map_err(|bad| bad.reason),
                Some(Line::TooLong { bytes, .. }) => Err(format!(
                    "the first line has {bytes} bytes, too many for a header"
                )),
            };
            let decoder = decoder.map_err(|reason| {
                open_error(what, reason, "make its first line the names of its columns")
            })?;
            self.check_columns(&decoder, what)?;
            return Ok(Some(decoder));
        }
    }

    fn check_columns(&self, decoder: &CsvDecoder, what: &str) -> Result<(), SourceError> {
        let lacking = |name: &&String| !decoder.columns().any(|column| column == name.as_str());
        let missing: Vec<_> = self
            .columns
            .iter()
            .filter(lacking)
            .map(|name| format!("`{name}`"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let found: Vec<_> = decoder.columns().collect();
        Err(open_error(
            what,
            format!(
                "its header lacks the column {} (it has {})",
                missing.join(", "),
                found.join(", ")
            ),
            "add or rename the column in the file's first line, or read another file",
        ))
    }
}

impl<T: DeserializeOwned + 'static> FileSource<T> {
    fn open_path(&self, path: &Path, offset: u64) -> Result<FileReader<T>, SourceError> {
        let what = self.name(path);
        if self.is_followed && Compression::of(path) != Compression::None {
            let reason = "a compressed file cannot be followed";
            return Err(open_error(&what, reason, "have it written plain"));
        }
        let followed = self.is_followed.then(|| Followed::new(path));
        let input = input::open(path, &what)?;
        let mut lines = if self.is_followed {
            Lines::followed(input, self.line_bytes_max)
        } else {
            Lines::new(input, self.line_bytes_max)
        };
        let decoder: Box<dyn Decode<T>> = match self.format {
            Format::JsonLines => Box::new(JsonDecoder),
            Format::Csv => match self.header(&mut lines, &what)? {
                Some(decoder) => Box::new(decoder),
                None if self.is_followed => {
                    let remedy = "start when its first line has been written";
                    return Err(open_error(&what, "it has no header yet", remedy));
                }
                // Without a header there is no row either, so nothing is ever decoded.
                None => Box::new(JsonDecoder),
            },
        };
        for line in 0..offset {
            if lines
                .next()
                .map_err(|error| read_error(&what, &error))?
                .is_none()
            {
                return Err(open_error(
                    &what,
                    format!("it has {line} lines, but was read up to line {offset} before"),
                    "put the file back as it was, or start without the checkpoint",
                ));
            }
        }
        Ok(FileReader {
            what,
            lines,
            decoder,
            check: self.check.clone(),
            offset,
            followed,
            broken: None,
        })
    }
}

impl<T: DeserializeOwned + 'static> Source<T> for FileSource<T> {
    fn describe(&self) -> String {
        let format = self.format.name();
        let paths = self.files.paths().unwrap_or_default();
        match paths.as_slice() {
            [path] => self.name(path),
            [first, .., last] => format!(
                "{} {format} files from {} to {}",
                paths.len(),
                first.display(),
                last.display()
            ),
            [] => format!("no {format} files"),
        }
    }

    fn check(&self) -> Result<(), SourceError> {
        for path in self.files.paths()? {
            let mut reader = self.open_path(&path, 0)?;
            // A first look shows whether a file that should be compressed is.
            reader
                .lines
                .next()
                .map_err(|error| read_error(&reader.what, &error))?;
        }
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        if self.discover_every.is_some() {
            self.files.look_again();
        }
        (0..self.files.paths()?.len())
            .map(u32::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| open_error(&self.describe(), "there are too many files", "name fewer"))
    }

    fn partition_name(&self, partition: u32) -> String {
        let paths = self.files.paths().unwrap_or_default();
        match paths.get(partition as usize) {
            Some(path) => path.display().to_string(),
            None => partition.to_string(),
        }
    }

    fn discover_every(&self) -> Option<Duration> {
        self.discover_every
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        let paths = self.files.paths()?;
        let path = usize::try_from(partition)
            .ok()
            .and_then(|index| paths.get(index));
        let Some(path) = path else {
            return Err(open_error(
                &format!("partition {partition} of {}", self.describe()),
                format!("there are {} files", paths.len()),
                "name the files that were named before",
            ));
        };
        Ok(Box::new(self.open_path(path, offset)?))
    }
}

pub(crate) fn open_error(what: &str, reason: impl Into<String>, remedy: &str) -> SourceError {
    SourceError::Open {
        what: what.to_owned(),
        reason: reason.into(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
