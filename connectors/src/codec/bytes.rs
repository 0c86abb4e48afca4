//! Bytes as they are.

use thalweg_engine::source::Undecodable;

use super::decode::Decode;
use super::encode::Encode;

/// Hands bytes on as they are, in both directions.
///
/// ```
/// use thalweg_connectors::codec::{BytesCodec, Decode};
///
/// let bytes: Vec<u8> = BytesCodec.decode(b"\x00\xff").unwrap();
/// assert_eq!(bytes, [0, 255]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BytesCodec;

impl Decode<Vec<u8>> for BytesCodec {
    fn decode(&mut self, line: &[u8]) -> Result<Vec<u8>, Undecodable> {
        Ok(line.to_vec())
    }
}

impl<B: AsRef<[u8]>> Encode<B> for BytesCodec {
    fn encode(&mut self, value: &B, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(value.as_ref());
        Ok(())
    }
}
