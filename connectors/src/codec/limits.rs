//! Limits on what is decoded at all.

use thalweg_engine::source::Undecodable;

use super::decode::{Decode, undecodable};

/// Bytes of a payload that is too large which its dead letter keeps.
const KEPT_BYTES_MAX: usize = 4_096;

/// Refuses payloads that are too large, and JSON that is nested too deep, before another decoder
/// sees them.
///
/// ```
/// use thalweg_connectors::codec::{Decode, JsonDecoder, Limited};
///
/// let mut numbers = Limited::new(JsonDecoder).bytes_max(20).json_depth_max(1);
/// assert_eq!(numbers.decode(b"[1, 2]"), Ok(vec![1, 2]));
/// let deep = Decode::<serde_json::Value>::decode(&mut numbers, b"[[1, 2]]").unwrap_err();
/// assert_eq!(deep.reason, "the JSON is nested more than 1 deep; raise it with `json_depth_max`");
/// ```
#[derive(Clone, Debug)]
pub struct Limited<D> {
    decoder: D,
    bytes_max: usize,
    json_depth_max: Option<usize>,
}

impl<D> Limited<D> {
    /// Puts limits in front of a decoder: 1 MiB, and none on nesting, unless set.
    pub fn new(decoder: D) -> Self {
        Self {
            decoder,
            bytes_max: 1024 * 1024,
            json_depth_max: None,
        }
    }

    /// Bytes beyond which a payload is refused; its dead letter keeps the first of them.
    #[must_use]
    pub fn bytes_max(self, bytes: usize) -> Self {
        Self {
            bytes_max: bytes,
            ..self
        }
    }

    /// How deep JSON may be nested: 0 for single values, 1 for objects and arrays of those.
    #[must_use]
    pub fn json_depth_max(self, depth: usize) -> Self {
        Self {
            json_depth_max: Some(depth),
            ..self
        }
    }
}

impl<T, D: Decode<T>> Decode<T> for Limited<D> {
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable> {
        if line.len() > self.bytes_max {
            let reason = format!(
                "the payload has {} bytes, more than the limit of {}; raise it with `bytes_max`",
                line.len(),
                self.bytes_max
            );
            return Err(undecodable(reason, &line[..line.len().min(KEPT_BYTES_MAX)]));
        }
        if let Some(most) = self.json_depth_max
            && is_deeper(line, most)
        {
            let reason =
                format!("the JSON is nested more than {most} deep; raise it with `json_depth_max`");
            return Err(undecodable(reason, line));
        }
        self.decoder.decode(line)
    }
}

/// Whether more than `most` brackets are open at once, outside of texts.
fn is_deeper(json: &[u8], most: usize) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::BytesCodec;

    #[test]
    fn nesting_is_counted_outside_of_texts() {
        for (json, depth) in [
            ("1", 0),
            ("\"[[[\"", 0),
            ("[1,[2],{\"a\":[]}]", 3),
            ("[\"\\\"[[\",[1]]", 2),
            ("[[]]]][[[", 3),
        ] {
            assert!(!is_deeper(json.as_bytes(), depth), "{json}");
            assert!(
                depth == 0 || is_deeper(json.as_bytes(), depth - 1),
                "{json}"
            );
        }
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_head() {
        let mut codec = Limited::new(BytesCodec).bytes_max(5_000);
        let large = vec![7; 5_001];
        let bad = Decode::<Vec<u8>>::decode(&mut codec, &large).unwrap_err();
        assert!(
            bad.reason
                .contains("5001 bytes, more than the limit of 5000"),
            "{}",
            bad.reason
        );
        assert_eq!(bad.raw, large[..4_096]);
        assert_eq!(
            Decode::<Vec<u8>>::decode(&mut codec, &large[1..])
                .unwrap()
                .len(),
            5_000
        );
    }
}
