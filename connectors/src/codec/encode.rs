//! The contract of an encoder.

use serde::Serialize;

/// Makes bytes of a `T`: what a broker or a log keeps of a record.
///
/// ```
/// use thalweg_connectors::codec::{Encode, JsonEncoder};
///
/// let mut bytes = Vec::new();
/// JsonEncoder.encode(&[1.5, 2.0], &mut bytes).unwrap();
/// assert_eq!(bytes, b"[1.5,2.0]");
/// ```
pub trait Encode<T>: Send {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// When it has none, with the reason; `out` may then hold a part of them.
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), String>;
}

/// Encodes values as JSON. JSON has no NaN and no infinities: they become `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonEncoder;

impl<T: Serialize> Encode<T> for JsonEncoder {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        serde_json::to_writer(out, value).map_err(|error| error.to_string())
    }
}
