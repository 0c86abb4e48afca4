//! Reads one Parquet file as one partition.

use parquet::errors::ParquetError;
use parquet::record::reader::RowIter;
use serde::de::DeserializeOwned;
use thalweg_engine::guard::guard;
use thalweg_engine::source::{ReadBatch, ReadStatus, Reader, SourceError};

use super::fields::from_row;
use crate::codec::{Check, checked, undecodable};

pub(crate) struct ParquetReader<T> {
    pub(crate) what: String,
    pub(crate) rows: RowIter<'static>,
    pub(crate) offset: u64,
    pub(crate) check: Option<Check<T>>,
    /// What broke the file behind the rows that were given out last.
    pub(crate) broken: Option<ParquetError>,
}

impl<T: DeserializeOwned> Reader<T> for ParquetReader<T> {
    fn read(&mut self, batch: &mut ReadBatch<T>, limit: usize) -> Result<ReadStatus, SourceError> {
        for _ in 0..limit {
            if let Some(error) = self.broken.take() {
                return Err(SourceError::Read {
                    what: self.what.clone(),
                    reason: error.to_string(),
                });
            }
            let row = match self.rows.next() {
                None => return Ok(ReadStatus::End),
                Some(Ok(row)) => row,
                Some(Err(error)) => {
                    self.broken = Some(error);
                    return Ok(ReadStatus::More);
                }
            };
            let shown = || row.to_string().into_bytes();
            let check = self.check.as_ref();
            let value = guard(|| match from_row(&row) {
                Ok(value) => checked(value, check, &shown()),
                Err(reason) => Err(undecodable(reason, &shown())),
            });
            let value = value.unwrap_or_else(|reason| Err(undecodable(reason, &shown())));
            batch.push((self.offset, value));
            self.offset += 1;
        }
        Ok(ReadStatus::More)
    }
}
