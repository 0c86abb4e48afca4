//! Compressed payloads, within bounds.

use std::io::{Cursor, Read, Write};

use serde::Deserialize;

use super::protocol::CompressionType;

/// How a sink compresses what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: little work, and a good deal smaller.
    #[default]
    Lz4,
    /// Deflate.
    Zlib,
    /// Zstandard: more work, and smaller still.
    Zstd,
    /// Snappy.
    Snappy,
}

impl Compression {
    pub(super) fn kind(self) -> CompressionType {
        match self {
            Self::None => CompressionType::None,
            Self::Lz4 => CompressionType::Lz4,
            Self::Zlib => CompressionType::Zlib,
            Self::Zstd => CompressionType::Zstd,
            Self::Snappy => CompressionType::Snappy,
        }
    }

    pub(super) fn compress(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Lz4 => Ok(lz4_flex::block::compress(bytes)),
            Self::Zlib => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
                let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
                written.map_err(|error| error.to_string())
            }
            Self::Zstd => zstd::bulk::compress(bytes, 3).map_err(|error| error.to_string()),
            Self::Snappy => snap::raw::Encoder::new()
                .compress_vec(bytes)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Decompresses what says to have `size` bytes then, of which there may be `bytes_max` at most.
/// Never more than `size` bytes are made, whatever the payload holds.
pub(super) fn decompress(
    kind: i32,
    bytes: Vec<u8>,
    size: usize,
    bytes_max: usize,
) -> Result<Vec<u8>, (String, Vec<u8>)> {
    let Ok(kind) = CompressionType::try_from(kind) else {
        return Err((format!("its compression, {kind}, is not known"), bytes));
    };
    if kind == CompressionType::None {
        return Ok(bytes);
    }
    if size > bytes_max {
        let reason = format!(
            "it has {size} bytes when it is decompressed, more than the limit of {bytes_max}; raise \
             it with `decompressed_bytes_max`"
        );
        return Err((reason, bytes));
    }
    let mut out = vec![0; size];
    let made = match kind {
        CompressionType::None => Ok(0),
        CompressionType::Lz4 => {
            lz4_flex::block::decompress_into(&bytes, &mut out).map_err(|error| error.to_string())
        }
        CompressionType::Zlib => fill(flate2::read::ZlibDecoder::new(&*bytes), &mut out),
        CompressionType::Zstd => zstd::stream::read::Decoder::new(&*bytes)
            .map_err(|error| error.to_string())
            .and_then(|decoder| fill(decoder, &mut out)),
        CompressionType::Snappy => unsnap(&bytes, &mut out),
    };
    match made {
        Ok(made) if made == size => Ok(out),
        Ok(made) => Err((format!("it says {size} bytes and has {made}"), bytes)),
        Err(reason) => Err((format!("it cannot be decompressed: {reason}"), bytes)),
    }
}

/// Reads to the end of `out`, and looks whether there is more. That a stream is not finished once all
/// is there is no error: Java's client leaves out the end of what it deflates.
fn fill(reader: impl Read, out: &mut [u8]) -> Result<usize, String> {
    let (size, mut at) = (out.len(), Cursor::new(out));
    let mut reader = reader.take(size as u64 + 1);
    let mut chunk = [0; 8 * 1024];
    let mut made = 0;
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(read) => read,
            Err(_) if made == size => 0,
            Err(error) => return Err(error.to_string()),
        };
        made += read;
        if read == 0 || made > size {
            return Ok(made);
        }
        at.write_all(&chunk[..read])
            .map_err(|error| error.to_string())?;
    }
}

/// Java's clients send plain blocks, some others the framed format.
fn unsnap(bytes: &[u8], out: &mut [u8]) -> Result<usize, String> {
    if bytes.starts_with(b"\xff\x06\0\0sNaPpY") {
        return fill(snap::read::FrameDecoder::new(bytes), out);
    }
    match snap::raw::decompress_len(bytes) {
        Ok(length) if length > out.len() => Ok(length),
        Ok(_) => snap::raw::Decoder::new()
            .decompress(bytes, out)
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Lz4,
        Compression::Zlib,
        Compression::Zstd,
        Compression::Snappy,
    ];

    fn undo(compression: Compression, bytes: Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
        decompress(compression.kind().into(), bytes, size, 1 << 20).map_err(|(reason, _)| reason)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_compressed_comes_back(bytes in proptest::collection::vec(0_u8..4, 0..20_000)) {
            for compression in ALL {
                let packed = compression.compress(&bytes).unwrap();
                let undone = undo(compression, packed, bytes.len());
                prop_assert_eq!(undone.as_ref(), Ok(&bytes));
            }
        }

        #[test]
        fn garbage_is_an_error_or_of_the_size_it_says(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            size in 0_usize..1000,
        ) {
            for compression in ALL.into_iter().skip(1) {
                if let Ok(made) = undo(compression, bytes.clone(), size) {
                    prop_assert_eq!(made.len(), size);
                }
            }
        }
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let zeros = vec![0; 50_000_000];
        for compression in ALL.into_iter().skip(1) {
            let bomb = compression.compress(&zeros).unwrap();
            let honest = undo(compression, bomb.clone(), zeros.len()).unwrap_err();
            assert!(honest.contains("`decompressed_bytes_max`"), "{honest}");
            assert!(
                undo(compression, bomb, 1000).is_err(),
                "{compression:?} lies"
            );
        }
        let mut framed = snap::write::FrameEncoder::new(Vec::new());
        framed.write_all(b"from another client").unwrap();
        let framed = framed.into_inner().unwrap();
        let plain = undo(Compression::Snappy, framed, 19).unwrap();
        assert_eq!(plain, b"from another client");
        assert!(decompress(9, Vec::new(), 0, 0).is_err());
    }
}
