//! Apache Avro, with schemas of a registry or one that is known, and schema evolution.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use apache_avro::{Schema, from_avro_datum, from_value, to_avro_datum, to_value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_engine::source::Undecodable;

use super::avro_shape::Shape;
use super::confluent::{put_schema_id, split_schema_id};
use super::decode::{Decode, undecodable};
use super::encode::Encode;
use super::registry::{Registry, SchemaKind};

/// The most that a length inside a payload can make a process allocate at once. It holds for the
/// whole process, and is set by the first codec.
const ALLOCATION_BYTES_MAX: usize = 64 << 20;

/// How deep a datum may be nested unless set, as in JSON.
const DEPTH_MAX: usize = 128;

fn parse(schema: &str) -> Result<Schema, String> {
    apache_avro::util::max_allocation_bytes(ALLOCATION_BYTES_MAX);
    Schema::parse_str(schema).map_err(|error| format!("the Avro schema is malformed: {error}"))
}

/// Decodes Avro.
///
/// A payload that is nested too deep, or claims to hold more than it has bytes for, is refused before anything is
/// decoded: its schema may refer to itself.
///
/// What was written with one schema is read with another by Avro's rules of schema resolution, when
/// a [`reader_schema`](Self::reader_schema) is set: new fields take their defaults, fields that are
/// gone are passed over, numbers are widened.
///
/// ```
/// use serde::Deserialize;
/// use thalweg_connectors::codec::{AvroDecoder, Decode};
///
/// #[derive(Debug, Deserialize, PartialEq)]
/// struct Payment {
///     card: i64,
///     note: String,
/// }
///
/// let written = r#"{"type": "record", "name": "Payment", "fields": [
///     {"name": "card", "type": "int"}
/// ]}"#;
/// let read = r#"{"type": "record", "name": "Payment", "fields": [
///     {"name": "card", "type": "long"},
///     {"name": "note", "type": "string", "default": "none"}
/// ]}"#;
/// let mut payments = AvroDecoder::of_schema(written)?.reader_schema(read)?;
/// let note = "none".to_owned();
/// assert_eq!(payments.decode(b"\x0e"), Ok(Payment { card: 7, note }));
/// # Ok::<(), String>(())
/// ```
pub struct AvroDecoder {
    writers: Writers,
    reader: Option<Schema>,
    depth_max: usize,
}

/// What payloads were written with.
enum Writers {
    One(Box<Written>),
    /// The Confluent wire format says which.
    Registry {
        registry: Registry,
        schemas: HashMap<u32, Written>,
    },
}

/// A schema that payloads were written with.
struct Written {
    schema: Schema,
    shape: Shape,
}

impl Written {
    fn parse(schema: &str) -> Result<Self, String> {
        let schema = parse(schema)?;
        let shape = Shape::of(&schema)?;
        Ok(Self { schema, shape })
    }
}

impl AvroDecoder {
    /// Decodes payloads in the Confluent wire format, with the schemas of the registry. A payload
    /// whose schema the registry does not have, or cannot be asked for, is a dead letter.
    pub fn confluent(registry: Registry) -> Self {
        let schemas = HashMap::new();
        Self {
            writers: Writers::Registry { registry, schemas },
            reader: None,
            depth_max: DEPTH_MAX,
        }
    }

    /// Decodes bare payloads, which were all written with this schema.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn of_schema(schema: &str) -> Result<Self, String> {
        Ok(Self {
            writers: Writers::One(Box::new(Written::parse(schema)?)),
            reader: None,
            depth_max: DEPTH_MAX,
        })
    }

    /// How deep records, arrays and maps may be nested in each other, 0 for single values; 128 unless set. Many
    /// more do not fit on the stack of a thread, by which they are decoded.
    #[must_use]
    pub fn depth_max(self, depth: usize) -> Self {
        Self {
            depth_max: depth,
            ..self
        }
    }

    /// Reads everything as this schema has it; as it was written, unless set.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn reader_schema(self, schema: &str) -> Result<Self, String> {
        Ok(Self {
            reader: Some(parse(schema)?),
            ..self
        })
    }

    fn value<T: DeserializeOwned>(&mut self, line: &[u8]) -> Result<T, String> {
        let (written, mut payload) = match &mut self.writers {
            Writers::One(written) => (&**written, line),
            Writers::Registry { registry, schemas } => {
                let (id, payload) = split_schema_id(line)?;
                let written = match schemas.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(Written::parse(&registry.schema(id)?)?),
                };
                (&*written, payload)
            }
        };
        written.shape.check(payload, self.depth_max)?;
        let value = from_avro_datum(&written.schema, &mut payload, self.reader.as_ref())
            .map_err(|error| error.to_string())?;
        from_value(&value).map_err(|error| error.to_string())
    }
}

impl<T: DeserializeOwned> Decode<T> for AvroDecoder {
    fn decode(&mut self, line: &[u8]) -> Result<T, Undecodable> {
        self.value(line).map_err(|reason| undecodable(reason, line))
    }
}

/// Encodes Avro with one schema.
pub struct AvroEncoder {
    schema: Schema,
    id: Option<u32>,
}

impl AvroEncoder {
    /// Encodes in the Confluent wire format, with a schema that is registered under the subject,
    /// which for the values of a topic is called `<topic>-value` by convention.
    ///
    /// # Errors
    /// When the schema is malformed, or the registry refuses it or cannot be reached.
    pub fn confluent(registry: &Registry, subject: &str, schema: &str) -> Result<Self, String> {
        let parsed = parse(schema)?;
        let id = registry.register(subject, schema, SchemaKind::Avro)?;
        Ok(Self {
            schema: parsed,
            id: Some(id),
        })
    }

    /// Encodes bare payloads.
    ///
    /// # Errors
    /// When the schema is malformed.
    pub fn of_schema(schema: &str) -> Result<Self, String> {
        Ok(Self {
            schema: parse(schema)?,
            id: None,
        })
    }
}

impl<T: Serialize> Encode<T> for AvroEncoder {
    fn encode(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), String> {
        let bytes = to_value(value)
            .and_then(|value| value.resolve(&self.schema))
            .and_then(|value| to_avro_datum(&self.schema, value))
            .map_err(|error| error.to_string())?;
        if let Some(id) = self.id {
            put_schema_id(id, out);
        }
        out.extend_from_slice(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::testing::{Answer, HttpServer};

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    struct Payment {
        card: i64,
        amount: f64,
        note: Option<String>,
        tags: Vec<String>,
    }

    fn payment() -> Payment {
        Payment {
            card: -300,
            amount: 9.5,
            note: Some("\u{20ac}".to_owned()),
            tags: vec!["a".to_owned(), String::new()],
        }
    }

    const SCHEMA: &str = r#"{"type": "record", "name": "Payment", "fields": [
        {"name": "card", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}}
    ]}"#;
    /// As above, without the note and with a field more.
    const NEXT: &str = r#"{"type": "record", "name": "Payment", "fields": [
        {"name": "card", "type": "long"},
        {"name": "amount", "type": "float"},
        {"name": "shop", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}
    ]}"#;
    const OLD_FOR_NEXT: &str = r#"{"type": "record", "name": "Payment", "fields": [
        {"name": "card", "type": "long"},
        {"name": "amount", "type": "double"},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "tags", "type": {"type": "array", "items": "string"}}
    ]}"#;

    fn schema_answer(schema: &str) -> Answer {
        Answer::Body(200, json!({ "schema": schema }).to_string())
    }

    fn registry(server: &HttpServer) -> Registry {
        let quick = Duration::from_millis(1);
        Registry::new(server.url()).retries(1, quick, quick)
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut bytes = Vec::new();
        let mut encoder = AvroEncoder::of_schema(SCHEMA).unwrap();
        encoder.encode(&payment(), &mut bytes).unwrap();
        let mut expected = b"\xd7\x04".to_vec();
        expected.extend_from_slice(&9.5_f64.to_le_bytes());
        expected.extend_from_slice(b"\x02\x06\xe2\x82\xac\x04\x02a\x00\x00");
        assert_eq!(bytes, expected);
        let mut decoder = AvroDecoder::of_schema(SCHEMA).unwrap();
        assert_eq!(decoder.decode(&bytes), Ok(payment()));
        for end in 0..bytes.len() {
            let bad = Decode::<Payment>::decode(&mut decoder, &bytes[..end]).unwrap_err();
            assert_eq!(bad.raw, bytes[..end]);
        }
        bytes.push(0);
        let bad = Decode::<Payment>::decode(&mut decoder, &bytes).unwrap_err();
        assert!(
            bad.reason.contains("1 bytes are left over"),
            "{}",
            bad.reason
        );
    }

    #[test]
    fn payloads_are_those_of_confluent_s_own_serializer() {
        // Made by AvroSerializer of the Python package confluent-kafka 2.16.1, schema number 1.
        let large = Payment {
            card: 1 << 62,
            amount: -0.1,
            note: None,
            tags: Vec::new(),
        };
        let registered = Answer::Body(200, r#"{"id":1}"#.to_owned());
        let server = HttpServer::start([registered, schema_answer(SCHEMA)]);
        let registry = registry(&server);
        let mut encoder = AvroEncoder::confluent(&registry, "payments-value", SCHEMA).unwrap();
        let mut decoder = AvroDecoder::confluent(registry);
        for (payment, hex) in [
            (
                payment(),
                "0000000001d70400000000000023400206e282ac0402610000",
            ),
            (large, "0000000001808080808080808080019a9999999999b9bf0000"),
        ] {
            let theirs: Vec<_> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            let mut ours = Vec::new();
            encoder.encode(&payment, &mut ours).unwrap();
            assert_eq!(ours, theirs);
            assert_eq!(decoder.decode(&theirs), Ok(payment));
        }
    }

    #[test]
    fn payloads_of_two_schemas_are_read_as_one() {
        let registered = || Answer::Body(200, r#"{"id":3}"#.to_owned());
        let server = HttpServer::start([registered(), schema_answer(SCHEMA), schema_answer(NEXT)]);
        let registry = registry(&server);
        let mut encoder = AvroEncoder::confluent(&registry, "payments-value", SCHEMA).unwrap();
        let mut old = Vec::new();
        encoder.encode(&payment(), &mut old).unwrap();
        assert_eq!(old[..5], [0, 0, 0, 0, 3]);
        let mut new = vec![0, 0, 0, 0, 4, 0x02];
        new.extend_from_slice(&1.5_f32.to_le_bytes());
        new.extend_from_slice(b"\x02s\x00");

        let decoder = AvroDecoder::confluent(registry);
        let mut decoder = decoder.reader_schema(OLD_FOR_NEXT).unwrap();
        for _ in 0..2 {
            assert_eq!(decoder.decode(&old), Ok(payment()));
            let expected = Payment {
                card: 1,
                amount: 1.5,
                note: None,
                tags: Vec::new(),
            };
            assert_eq!(decoder.decode(&new), Ok(expected));
        }
        assert_eq!(server.requests().len(), 3, "each schema is asked for once");
    }

    #[test]
    fn a_payload_without_its_schema_is_a_dead_letter() {
        let server = HttpServer::start([Answer::Body(404, "{}".to_owned())]);
        let mut decoder = AvroDecoder::confluent(registry(&server));
        let bad = Decode::<Payment>::decode(&mut decoder, b"\0\0\0\0\x09x").unwrap_err();
        assert!(
            bad.reason.contains("/schemas/ids/9 with status 404"),
            "{}",
            bad.reason
        );
        let bad = Decode::<Payment>::decode(&mut decoder, b"{}").unwrap_err();
        assert!(
            bad.reason.contains("Confluent wire format"),
            "{}",
            bad.reason
        );
        assert!(AvroDecoder::of_schema("{").is_err());
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut decoder = AvroDecoder::of_schema("\"bytes\"").unwrap();
        // A length of 2^40 bytes.
        let bytes = b"\x80\x80\x80\x80\x80\x40";
        assert!(Decode::<Vec<u8>>::decode(&mut decoder, bytes).is_err());
    }

    /// A list that holds itself.
    const LIST: &str = r#"{"type": "record", "name": "List", "fields": [
        {"name": "next", "type": ["null", "List"]}
    ]}"#;

    #[derive(Debug, Deserialize, PartialEq)]
    struct List {
        next: Option<Box<List>>,
    }

    /// A payload of so many records in each other.
    fn list(depth: usize) -> Vec<u8> {
        let mut payload = vec![2; depth - 1];
        payload.push(0);
        payload
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_not_decoded() {
        let mut decoder = AvroDecoder::of_schema(LIST).unwrap();
        let mut list_of = |depth| Decode::<List>::decode(&mut decoder, &list(depth));
        let deep = list_of(128).unwrap();
        let (mut whole, mut length) = (&deep, 1);
        while let Some(next) = &whole.next {
            (whole, length) = (next, length + 1);
        }
        assert_eq!(length, 128);
        for depth in [129, 1_000_000] {
            let bad = list_of(depth).unwrap_err();
            assert!(bad.reason.contains("more than 128 deep"), "{}", bad.reason);
            assert_eq!(bad.raw, list(depth));
        }
        let read = AvroDecoder::of_schema(LIST).unwrap();
        let mut read = read.reader_schema(LIST).unwrap().depth_max(3);
        Decode::<List>::decode(&mut read, &list(3)).unwrap();
        let bad = Decode::<List>::decode(&mut read, &list(4)).unwrap_err();
        assert!(bad.reason.contains("more than 3 deep"), "{}", bad.reason);
    }

    #[test]
    fn what_claims_to_hold_more_than_it_has_bytes_for_is_refused() {
        let array = r#"{"type": "array", "items": "string"}"#;
        let mut decoder = AvroDecoder::of_schema(array).unwrap();
        // 60 million texts, of which there is none.
        let bad = Decode::<Vec<String>>::decode(&mut decoder, b"\x80\x98\x9c\x39").unwrap_err();
        assert!(bad.reason.contains("breaks off"), "{}", bad.reason);
    }
}
