//! Writes one Parquet file.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, SinkError, Writer};

use super::sink::{Cell, ColumnKind, Layout, ParquetRow};

/// Rows that are gathered before they are written together.
const GROUP_ROWS: usize = 100_000;

pub(crate) struct ParquetWriter<T> {
    path: PathBuf,
    part: PathBuf,
    columns: Vec<(String, ColumnKind)>,
    layout: Layout<T>,
    file: Option<SerializedFileWriter<BufWriter<File>>>,
    rows: Vec<ParquetRow>,
}

impl<T> ParquetWriter<T> {
    pub(crate) fn create(
        path: PathBuf,
        columns: Vec<(String, ColumnKind)>,
        layout: Layout<T>,
    ) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().display().to_string();
        let part = path.with_file_name(format!(".{name}.part"));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let output = BufWriter::new(File::create(&part)?);
        let file = SerializedFileWriter::new(output, schema(&columns)?, Arc::new(properties))?;
        Ok(Self {
            path,
            part,
            columns,
            layout,
            file: Some(file),
            rows: Vec::new(),
        })
    }

    fn append(&mut self, row: ParquetRow) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() >= GROUP_ROWS {
            self.write_group()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| !self.rows.is_empty()) else {
            return Ok(());
        };
        let mut group = file.next_row_group()?;
        for (index, (name, _)) in self.columns.iter().enumerate() {
            let cells = self.rows.iter().map(|row| &row.cells[index]);
            let Some(mut column) = group.next_column()? else {
                break;
            };
            write_column(name, column.untyped(), cells)?;
            column.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }

    /// Completes the file and gives it its name.
    fn finish(&mut self) -> Result<()> {
        self.write_group()?;
        if let Some(file) = self.file.take() {
            file.close()?;
            fs::rename(&self.part, &self.path)?;
        }
        Ok(())
    }

    fn broken(&self, error: &ParquetError) -> SinkError {
        SinkError::Write {
            what: format!("Parquet file {}", self.path.display()),
            reason: error.to_string(),
        }
    }
}

/// Why the row is none of the file's, if it is not.
fn misfit(row: &ParquetRow, columns: &[(String, ColumnKind)]) -> Option<String> {
    if row.cells.len() != columns.len() {
        let (cells, columns) = (row.cells.len(), columns.len());
        return Some(format!(
            "a row has {cells} cells, the file {columns} columns"
        ));
    }
    let mut cells = columns.iter().zip(&row.cells);
    let ((name, _), _) = cells.find(|((_, kind), cell)| !cell.is_of(*kind))?;
    Some(format!("a cell of column `{name}` is of another kind"))
}

fn schema(columns: &[(String, ColumnKind)]) -> Result<Arc<Type>> {
    let column = |(name, kind): &(String, ColumnKind)| {
        let (physical, logical) = match kind {
            ColumnKind::Flag => (Physical::BOOLEAN, None),
            ColumnKind::Integer => (Physical::INT64, None),
            ColumnKind::Number => (Physical::DOUBLE, None),
            ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnKind::Time => {
                let time = LogicalType::timestamp(true, TimeUnit::MICROS);
                (Physical::INT64, Some(time))
            }
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    let columns = columns.iter().map(column).collect::<Result<Vec<_>>>()?;
    let root = Type::group_type_builder("schema").with_fields(columns);
    Ok(Arc::new(root.build()?))
}

/// Writes the cells of one column, which is called `name`.
fn write_column<'a>(
    name: &str,
    column: &mut ColumnWriter<'_>,
    cells: impl Iterator<Item = &'a Cell> + Clone,
) -> Result<()> {
    let there = cells.clone().map(|cell| i16::from(*cell != Cell::Empty));
    let levels: Vec<_> = there.collect();
    let cells = cells.filter(|cell| **cell != Cell::Empty);
    let wrong = || ParquetError::General(format!("a cell of column `{name}` is of another kind"));
    match column {
        ColumnWriter::BoolColumnWriter(column) => {
            let values = cells.map(|cell| match cell {
                Cell::Flag(flag) => Ok(*flag),
                _ => Err(wrong()),
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            column.write_batch(&values, Some(&levels), None)?;
        }
        ColumnWriter::Int64ColumnWriter(column) => {
            let values = cells.map(|cell| match cell {
                Cell::Integer(number) | Cell::Time(number) => Ok(*number),
                _ => Err(wrong()),
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            column.write_batch(&values, Some(&levels), None)?;
        }
        ColumnWriter::DoubleColumnWriter(column) => {
            let values = cells.map(|cell| match cell {
                Cell::Number(number) => Ok(*number),
                _ => Err(wrong()),
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            column.write_batch(&values, Some(&levels), None)?;
        }
        ColumnWriter::ByteArrayColumnWriter(column) => {
            let values = cells.map(|cell| match cell {
                Cell::Text(text) => Ok(ByteArray::from(text.as_str())),
                _ => Err(wrong()),
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            column.write_batch(&values, Some(&levels), None)?;
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

impl<T> Writer<T> for ParquetWriter<T> {
    fn write(
        &mut self,
        records: &[Record<T>],
        refused: &mut Refused,
    ) -> std::result::Result<(), SinkError> {
        for (index, record) in records.iter().enumerate() {
            let mut row = ParquetRow::default();
            (self.layout)(record, &mut row);
            match misfit(&row, &self.columns) {
                Some(reason) => refused.add(index, reason),
                None => self.append(row).map_err(|error| self.broken(&error))?,
            }
        }
        Ok(())
    }

    /// A Parquet file is whole only at its end.
    fn flush(&mut self) -> std::result::Result<(), SinkError> {
        Ok(())
    }

    fn shows_when_flushed(&self) -> bool {
        false
    }

    fn close(&mut self) -> std::result::Result<(), SinkError> {
        self.finish().map_err(|error| self.broken(&error))
    }
}
