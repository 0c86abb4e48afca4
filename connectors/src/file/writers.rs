//! Writes records to an open file, in each of the formats.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{SinkError, Writer};

use super::output::Output;
use crate::codec::RowWriter;

/// Lays out the cells of a record's row.
pub(crate) type Layout<T> = Arc<dyn Fn(&Record<T>, &mut RowWriter) + Send + Sync>;

/// Writes each value as JSON on a line of its own.
pub(crate) struct JsonLinesWriter {
    pub(crate) what: String,
    pub(crate) output: Output,
}

impl<T: Serialize> Writer<T> for JsonLinesWriter {
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError> {
        for record in records {
            serde_json::to_writer(&mut self.output, &record.value)
                .map_err(|error| broken(&self.what, error))?;
            self.output
                .write_all(b"\n")
                .map_err(|error| broken(&self.what, error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.output
            .flush()
            .map_err(|error| broken(&self.what, error))
    }
}

/// Writes each value as a CSV row; its field names make the header.
pub(crate) struct CsvWriter {
    pub(crate) what: String,
    pub(crate) rows: csv::Writer<Output>,
}

impl<T: Serialize> Writer<T> for CsvWriter {
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError> {
        records
            .iter()
            .try_for_each(|record| self.rows.serialize(&record.value))
            .map_err(|error| broken(&self.what, error))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.rows.flush().map_err(|error| broken(&self.what, error))
    }
}

/// Writes each record as the CSV row that a closure lays out.
pub(crate) struct RowsWriter<T> {
    what: String,
    rows: csv::Writer<Output>,
    columns: usize,
    layout: Layout<T>,
    row: RowWriter,
}

impl<T> RowsWriter<T> {
    /// Writes the header.
    pub(crate) fn start(
        what: String,
        output: Output,
        header: &[String],
        layout: Layout<T>,
    ) -> Result<Self, SinkError> {
        let mut rows = csv::Writer::from_writer(output);
        rows.write_record(header)
            .map_err(|error| broken(&what, error))?;
        Ok(Self {
            what,
            rows,
            columns: header.len(),
            layout,
            row: RowWriter::default(),
        })
    }
}

impl<T> Writer<T> for RowsWriter<T> {
    fn write(&mut self, records: &[Record<T>]) -> Result<(), SinkError> {
        for record in records {
            self.row.clear();
            (self.layout)(record, &mut self.row);
            let cells = self.row.record().len();
            if cells != self.columns {
                let reason = format!(
                    "a row has {cells} cells, the header {} columns",
                    self.columns
                );
                return Err(broken(&self.what, reason));
            }
            self.rows
                .write_byte_record(self.row.record())
                .map_err(|error| broken(&self.what, error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.rows.flush().map_err(|error| broken(&self.what, error))
    }
}

fn broken(what: &str, reason: impl Display) -> SinkError {
    SinkError::Write {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}
