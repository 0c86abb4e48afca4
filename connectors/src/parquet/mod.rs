//! Parquet files: rows of columns, for what other tools have written or are to read.
//!
//! A Parquet file is whole only when it is finished: what is written becomes visible at the end of
//! the run, under the file's name, and not at a flush.

mod fields;
mod reader;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod writer;

pub use sink::{ColumnKind, ParquetRow, ParquetSink};
pub use source::ParquetSource;
