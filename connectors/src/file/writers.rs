//! Writes records to an open file, in each of the formats.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

use super::output::Output;
use crate::codec::RowWriter;

/// Lays out the cells of a record's row.
pub(crate) type Layout<T> = Arc<dyn Fn(&Record<T>, &mut RowWriter) + Send + Sync>;

/// Writes each value as JSON on a line of its own.
pub(crate) struct JsonLinesWriter {
    what: String,
    output: Output,
    /// The line that is being made: what turns out to have no form leaves nothing in the file.
    line: Vec<u8>,
}

impl JsonLinesWriter {
    pub(crate) fn new(what: String, output: Output) -> Self {
        Self {
            what,
            output,
            line: Vec::new(),
        }
    }
}

impl<T: Serialize> Writer<T> for JsonLinesWriter {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            self.line.clear();
            if let Err(error) = serde_json::to_writer(&mut self.line, &record.value) {
                refused.add(index, error.to_string());
                continue;
            }
            self.line.push(b'\n');
            self.output
                .write_all(&self.line)
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
    what: String,
    output: Output,
    /// The row that is being made: what turns out to have no form leaves nothing in the file.
    row: Vec<u8>,
    shape: Option<Shape>,
}

/// What every row must be like, as the first one was.
#[derive(Clone, Copy)]
struct Shape {
    columns: usize,
    /// The length of a row of so many empty cells.
    blank_bytes: usize,
}

impl Shape {
    fn of(row: &[u8]) -> csv::Result<Self> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(row);
        let mut cells = csv::ByteRecord::new();
        reader.read_byte_record(&mut cells)?;
        let mut blank = csv::Writer::from_writer(Vec::new());
        blank.write_record(std::iter::repeat_n("", cells.len()))?;
        blank.flush()?;
        Ok(Self {
            columns: cells.len(),
            blank_bytes: blank.get_ref().len(),
        })
    }
}

impl CsvWriter {
    pub(crate) fn new(what: String, output: Output) -> Self {
        Self {
            what,
            output,
            row: Vec::new(),
            shape: None,
        }
    }

    /// Makes the row of a value, with the header before it if it is the first; gives where it begins.
    fn lay_out<T: Serialize>(&mut self, value: &T) -> csv::Result<usize> {
        self.row.clear();
        let mut rows = csv::WriterBuilder::new()
            .has_headers(self.shape.is_none())
            .buffer_capacity(512)
            .from_writer(std::mem::take(&mut self.row));
        if let Some(shape) = self.shape {
            // The rows of one writer must be of one length.
            rows.write_record(std::iter::repeat_n("", shape.columns))?;
        }
        rows.serialize(value)?;
        self.row = rows.into_inner().map_err(|error| error.into_error())?;
        match self.shape {
            Some(shape) => Ok(shape.blank_bytes),
            None => {
                self.shape = Some(Shape::of(&self.row)?);
                Ok(0)
            }
        }
    }
}

impl<T: Serialize> Writer<T> for CsvWriter {
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            match self.lay_out(&record.value) {
                Ok(start) => self
                    .output
                    .write_all(&self.row[start..])
                    .map_err(|error| broken(&self.what, error))?,
                Err(error) => refused.add(index, error.to_string()),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.output
            .flush()
            .map_err(|error| broken(&self.what, error))
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
    fn write(&mut self, records: &[Record<T>], refused: &mut Refused) -> Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            self.row.clear();
            (self.layout)(record, &mut self.row);
            let cells = self.row.record().len();
            if cells != self.columns {
                let columns = self.columns;
                let reason = format!("a row has {cells} cells, the header {columns} columns");
                refused.add(index, reason);
                continue;
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
