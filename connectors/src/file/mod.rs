//! Files as sources and sinks: CSV rows and JSON lines, plain or zstd-compressed.
//!
//! A file whose name ends in `.zst` is compressed; any other is plain. Lines end in `\n` or
//! `\r\n`; the last one may do without. A file is read as it is when it is opened, to its end, not
//! followed as it grows.

mod input;
mod lines;
mod output;
mod reader;
#[cfg(test)]
mod round_trip;
mod sink;
mod source;
mod writers;

pub use sink::FileSink;
pub use source::FileSource;

use std::path::Path;

/// Whether the file's name says that it is compressed.
fn is_compressed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("zst"))
}
