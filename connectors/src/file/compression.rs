//! How a file is compressed, which its name says.

use std::io::{self, Write};
use std::path::Path;

use flate2::write::GzEncoder;

use super::output::{GZIP_LEVEL, ZSTD_LEVEL};

/// The ways in which a file can be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Zstd,
    Gzip,
}

impl Compression {
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension() {
            Some(ending) if ending.eq_ignore_ascii_case("zst") => Self::Zstd,
            Some(ending) if ending.eq_ignore_ascii_case("gz") => Self::Gzip,
            _ => Self::None,
        }
    }
}

/// The bytes as a whole file has them, or a part of one that can be read behind others.
pub(crate) fn compressed(bytes: &[u8], compression: Compression) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Zstd => zstd::encode_all(bytes, ZSTD_LEVEL),
        Compression::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
    }
}
