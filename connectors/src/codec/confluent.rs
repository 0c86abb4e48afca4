//! The wire format of Confluent's serializers: a zero, the number of the schema, the payload.

use thalweg_engine::source::Undecodable;

use super::decode::{Decode, undecodable};
use super::encode::Encode;
use super::registry::{Registry, SchemaKind};

const MAGIC: u8 = 0;
const HEAD_BYTES: usize = 5;

/// The number of the schema that a payload was written with, and the payload itself.
///
/// ```
/// use thalweg_connectors::codec::split_schema_id;
///
/// assert_eq!(split_schema_id(b"\x00\x00\x00\x01\x02payload"), Ok((258, &b"payload"[..])));
/// assert!(split_schema_id(b"{}").is_err());
/// ```
///
/// # Errors
/// When it does not begin as Confluent's serializers have it.
pub fn split_schema_id(bytes: &[u8]) -> Result<(u32, &[u8]), String> {
    match bytes.split_first_chunk::<HEAD_BYTES>() {
        Some(([MAGIC, a, b, c, d], payload)) => Ok((u32::from_be_bytes([*a, *b, *c, *d]), payload)),
        _ => Err(
            "it does not begin with a zero and the number of a schema, as the Confluent wire \
             format has it"
                .to_owned(),
        ),
    }
}

/// Appends what stands before a payload.
pub(crate) fn put_schema_id(id: u32, out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Takes off what Confluent's serializers put before a payload, and has another codec decode the
/// rest; for JSON, whose schemas are for checking and not for reading.
#[derive(Clone, Debug)]
pub struct ConfluentDecoder<D>(D);

impl<D> ConfluentDecoder<D> {
    /// Puts it in front of a decoder.
    pub fn new(decoder: D) -> Self {
        Self(decoder)
    }
}

impl<T, D: Decode<T>> Decode<T> for ConfluentDecoder<D> {
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable> {
        let (_, payload) = split_schema_id(line).map_err(|reason| undecodable(reason, line))?;
        self.0.decode(payload).map_err(|bad| Undecodable {
            raw: line.to_vec(),
            ..bad
        })
    }
}

/// Puts the number of a JSON schema, which is registered for it, before what another codec encodes.
pub struct ConfluentEncoder<E> {
    id: u32,
    encoder: E,
}

impl<E> ConfluentEncoder<E> {
    /// Registers the schema under the subject, which for the values of a topic is called
    /// `<topic>-value` by convention.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses the schema.
    pub fn json(
        registry: &Registry,
        subject: &str,
        schema: &str,
        encoder: E,
    ) -> Result<Self, String> {
        let id = registry.register(subject, schema, SchemaKind::Json)?;
        Ok(Self { id, encoder })
    }
}

impl<T, E: Encode<T>> Encode<T> for ConfluentEncoder<E> {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        put_schema_id(self.id, out);
        self.encoder.encode(value, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{JsonDecoder, JsonEncoder};
    use crate::testing::{Answer, HttpServer};

    #[test]
    fn json_comes_back_and_a_dead_letter_has_all_of_its_bytes() {
        let server = HttpServer::start([Answer::Body(200, r#"{"id":258}"#.to_owned())]);
        let registry = Registry::new(server.url());
        let schema = r#"{"type":"number"}"#;
        let encoder = ConfluentEncoder::json(&registry, "amounts-value", schema, JsonEncoder);
        let mut bytes = Vec::new();
        encoder.unwrap().encode(&9.5, &mut bytes).unwrap();
        assert_eq!(bytes, b"\x00\x00\x00\x01\x029.5");
        assert!(server.requests()[0].body.contains(r#""schemaType":"JSON""#));

        let mut decoder = ConfluentDecoder::new(JsonDecoder);
        assert_eq!(decoder.decode(&bytes), Ok(9.5));
        bytes.push(b'x');
        for raw in [&bytes[..], b"\x01\x00\x00\x00\x001", b"\x00\x00"] {
            let bad = Decode::<f64>::decode(&mut decoder, raw).unwrap_err();
            assert_eq!(bad.raw, raw);
        }
    }
}
