//! Files as sources and sinks: CSV rows and JSON lines, plain or compressed.
//!
//! A file whose name ends in `.zst` is compressed with zstd, one in `.gz` with gzip; any other is
//! plain. Lines end in `\n` or `\r\n`; the last one may do without. A file is read as it is when it
//! is opened, to its end, unless it is [followed](FileSource::follow) as it grows.

mod compression;
mod epoch_files;
mod epochs;
mod files;
mod input;
mod lines;
mod lock;
mod note;
mod output;
mod reader;
mod rotation;
#[cfg(test)]
mod round_trip;
mod sink;
mod source;
mod writers;

pub use rotation::Rotation;
pub use sink::FileSink;
pub use source::FileSource;
