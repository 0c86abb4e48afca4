//! The configuration of a Parquet file as a sink.

use std::path::PathBuf;
use std::sync::Arc;

use thalweg_engine::record::Record;
use thalweg_engine::sink::{Sink, SinkError, Writer};
use thalweg_engine::time::EventTime;

use super::writer::ParquetWriter;
use crate::probe;

/// What a column holds; any cell may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// `true` or `false`.
    Flag,
    /// A whole number of 64 bits.
    Integer,
    /// A number of double precision.
    Number,
    /// A text.
    Text,
    /// An instant in microseconds, UTC.
    Time,
}

/// One cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Empty,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Time(i64),
}

impl Cell {
    pub(crate) fn is_of(&self, kind: ColumnKind) -> bool {
        match self {
            Self::Empty => true,
            Self::Flag(_) => kind == ColumnKind::Flag,
            Self::Integer(_) => kind == ColumnKind::Integer,
            Self::Number(_) => kind == ColumnKind::Number,
            Self::Text(_) => kind == ColumnKind::Text,
            Self::Time(_) => kind == ColumnKind::Time,
        }
    }
}

/// Takes in the cells of one row, from left to right.
#[derive(Clone, Debug, Default)]
pub struct ParquetRow {
    pub(crate) cells: Vec<Cell>,
}

impl ParquetRow {
    /// Adds `true` or `false`.
    pub fn flag(&mut self, flag: bool) -> &mut Self {
        self.push(Cell::Flag(flag))
    }

    /// Adds a whole number.
    pub fn integer(&mut self, number: i64) -> &mut Self {
        self.push(Cell::Integer(number))
    }

    /// Adds a number, NaN and the infinities included.
    pub fn number(&mut self, number: f64) -> &mut Self {
        self.push(Cell::Number(number))
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.push(Cell::Text(text.to_owned()))
    }

    /// Adds an instant.
    pub fn time(&mut self, time: EventTime) -> &mut Self {
        self.push(Cell::Time(time.as_micros()))
    }

    /// Adds an empty cell.
    pub fn empty(&mut self) -> &mut Self {
        self.push(Cell::Empty)
    }

    fn push(&mut self, cell: Cell) -> &mut Self {
        self.cells.push(cell);
        self
    }
}

pub(crate) type Layout<T> = Arc<dyn Fn(&Record<T>, &mut ParquetRow) + Send + Sync>;

/// Writes the rows that a closure lays out to one Parquet file, compressed with zstd.
///
/// The file is there, in place of one of that name, when the run has ended; until then it is called
/// `.<name>.part`. Not before that is a source told that what is in the file is done: a consumer group of
/// Kafka, or a subscription of Pulsar, stays where it was.
///
/// ```
/// use thalweg_connectors::parquet::{ColumnKind, ParquetSink};
/// use thalweg_engine::sink::Sink;
///
/// let columns = [("at", ColumnKind::Time), ("score", ColumnKind::Number)];
/// let scores = ParquetSink::<f64>::rows("out/scores.parquet", columns, |record, row| {
///     row.time(record.time).number(record.value);
/// });
/// assert_eq!(scores.describe(), "Parquet file out/scores.parquet");
/// ```
pub struct ParquetSink<T> {
    path: PathBuf,
    columns: Vec<(String, ColumnKind)>,
    layout: Layout<T>,
}

impl<T> ParquetSink<T> {
    /// A file of the rows that `layout` makes, one for each record, with a cell for each column and
    /// of its kind; a record whose row is another becomes a dead letter.
    pub fn rows<N: Into<String>>(
        path: impl Into<PathBuf>,
        columns: impl IntoIterator<Item = (N, ColumnKind)>,
        layout: impl Fn(&Record<T>, &mut ParquetRow) + Send + Sync + 'static,
    ) -> Self {
        let named = |(name, kind): (N, ColumnKind)| (name.into(), kind);
        Self {
            path: path.into(),
            columns: columns.into_iter().map(named).collect(),
            layout: Arc::new(layout),
        }
    }

    fn open_error(&self, reason: String) -> SinkError {
        SinkError::Open {
            what: format!("Parquet file {}", self.path.display()),
            reason,
            remedy: "choose another path with --out or fix its permissions".to_owned(),
        }
    }
}

impl<T: 'static> Sink<T> for ParquetSink<T> {
    fn describe(&self) -> String {
        format!("Parquet file {}", self.path.display())
    }

    fn check(&self) -> Result<(), SinkError> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(self.open_error("it is no file".to_owned()));
        };
        if self.path.is_dir() {
            return Err(self.open_error("it is a folder".to_owned()));
        }
        probe::folder(folder, &name.display().to_string())
            .map_err(|error| self.open_error(error.to_string()))
    }

    fn open(&self) -> Result<Box<dyn Writer<T>>, SinkError> {
        self.check()?;
        let (path, columns) = (self.path.clone(), self.columns.clone());
        let writer = ParquetWriter::create(path, columns, Arc::clone(&self.layout));
        Ok(Box::new(
            writer.map_err(|error| self.open_error(error.to_string()))?,
        ))
    }
}
