//! The configuration of Parquet files as a source.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use serde::de::DeserializeOwned;
use thalweg_engine::source::{Reader, Source, SourceError};

use super::reader::ParquetReader;
use crate::codec::Check;

/// Reads Parquet files to their end: each file is a partition, each row a record, and its number the
/// offset.
///
/// Columns go by their names into the fields of a struct; what is missing is `None` where the struct
/// has an `Option`. Instants and dates are the numbers that they are stored as. A row that does not
/// fit is a dead letter; a file that is damaged ends the run.
///
/// ```no_run
/// use serde::Deserialize;
/// use thalweg_connectors::parquet::ParquetSource;
///
/// #[derive(Deserialize)]
/// struct Payment {
///     card: u64,
///     amount: Option<f64>,
/// }
///
/// let payments = ParquetSource::<Payment>::new("payments.parquet").check_with(|p| {
///     if p.card > 0 { Ok(()) } else { Err("there is no card 0".to_owned()) }
/// });
/// ```
pub struct ParquetSource<T> {
    paths: Vec<PathBuf>,
    check: Option<Check<T>>,
}

impl<T> ParquetSource<T> {
    /// One file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::files(vec![path.into()])
    }

    /// Files, each a partition of its own, numbered in their order here.
    pub fn files(paths: Vec<PathBuf>) -> Self {
        Self { paths, check: None }
    }

    /// Checks each row that fits: one that is refused is dead-lettered with the reason.
    #[must_use]
    pub fn check_with(
        mut self,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    fn rows(path: &Path) -> Result<(RowIter<'static>, u64), SourceError> {
        let open = |reason: String, remedy: &str| SourceError::Open {
            what: name(path),
            reason,
            remedy: remedy.to_owned(),
        };
        let file = File::open(path).map_err(|error| open(error.to_string(), "check the path"))?;
        let reader = SerializedFileReader::new(file)
            .map_err(|error| open(error.to_string(), "read a finished Parquet file"))?;
        let rows = reader.metadata().file_metadata().num_rows();
        let rows = u64::try_from(rows).unwrap_or_default();
        Ok((RowIter::from_file_into(Box::new(reader)), rows))
    }
}

fn name(path: &Path) -> String {
    format!("Parquet file {}", path.display())
}

impl<T: DeserializeOwned + 'static> Source<T> for ParquetSource<T> {
    fn describe(&self) -> String {
        match self.paths.as_slice() {
            [path] => name(path),
            paths => format!("{} Parquet files", paths.len()),
        }
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.paths.is_empty() {
            return Err(SourceError::Open {
                what: self.describe(),
                reason: "no file is named".to_owned(),
                remedy: "name at least one".to_owned(),
            });
        }
        self.paths
            .iter()
            .try_for_each(|path| Self::rows(path).map(drop))
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..).take(self.paths.len()).collect())
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<T>>, SourceError> {
        let refused = |what: String, reason: String, remedy: &str| SourceError::Open {
            what,
            reason,
            remedy: remedy.to_owned(),
        };
        let Some(path) = self.paths.get(partition as usize) else {
            let what = format!("partition {partition} of {}", self.describe());
            let reason = format!("there are {} files", self.paths.len());
            return Err(refused(
                what,
                reason,
                "name the files that were named before",
            ));
        };
        let (mut rows, count) = Self::rows(path)?;
        if offset > count {
            let reason = format!("it has {count} rows, but was read up to row {offset} before");
            let remedy = "put the file back as it was, or start without the checkpoint";
            return Err(refused(name(path), reason, remedy));
        }
        for _ in 0..offset {
            // What cannot be read is found when it is read.
            rows.next();
        }
        Ok(Box::new(ParquetReader {
            what: name(path),
            rows,
            offset,
            check: self.check.clone(),
            broken: None,
        }))
    }
}
