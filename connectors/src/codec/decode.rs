//! The contract of a decoder.

use thalweg_engine::source::Undecodable;

/// Makes a `T` of one line, which comes without its line break.
///
/// ```
/// use thalweg_connectors::codec::{Decode, JsonDecoder};
///
/// let amount: f64 = JsonDecoder.decode(b"12.5").unwrap();
/// assert_eq!(amount, 12.5);
///
/// let bad = Decode::<f64>::decode(&mut JsonDecoder, b"twelve").unwrap_err();
/// assert_eq!(bad.raw, b"twelve");
/// ```
pub trait Decode<T>: Send {
    /// Decodes `line`; what one line holds has no influence on the next.
    ///
    /// # Errors
    /// When it is not a `T`, with a reason that names the field and what is wrong with it.
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable>;
}

/// The dead letter of a line.
pub(crate) fn undecodable(reason: impl Into<String>, line: &[u8]) -> Undecodable {
    Undecodable {
        reason: reason.into(),
        raw: line.to_vec(),
    }
}

/// A value as it is quoted in a reason: at most 40 characters of it.
pub(crate) fn excerpt(value: &[u8]) -> String {
    const CHARS_MAX: usize = 40;
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}
