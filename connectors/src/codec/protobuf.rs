//! Protocol Buffers, of message types that prost knows.

use std::marker::PhantomData;

use prost::Message;
use thalweg_engine::source::Undecodable;

use super::decode::{Decode, undecodable};
use super::encode::Encode;

/// Decodes and encodes the messages of one type, which derives `prost::Message`: written by hand, or
/// made of a `.proto` file by whatever tool; none is needed here.
///
/// Messages are nested at most 100 deep below the outermost one, as prost has it: one that is deeper is refused.
///
/// ```
/// use thalweg_connectors::codec::{Decode, Encode, ProtobufCodec};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Payment {
///     #[prost(uint64, tag = "1")]
///     card: u64,
///     #[prost(double, tag = "2")]
///     amount: f64,
/// }
///
/// let mut codec = ProtobufCodec::<Payment>::default();
/// let payment = Payment { card: 7, amount: 9.5 };
/// let mut bytes = Vec::new();
/// codec.encode(&payment, &mut bytes).unwrap();
/// assert_eq!(codec.decode(&bytes), Ok(payment));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ProtobufCodec<M>(PhantomData<fn() -> M>);

impl<M> Default for ProtobufCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M: Message + Default> Decode<M> for ProtobufCodec<M> {
    fn decode(&mut self, line: &[u8]) -> Result<M, Undecodable> {
        M::decode(line).map_err(|error| undecodable(error.to_string(), line))
    }
}

impl<M: Message> Encode<M> for ProtobufCodec<M> {
    fn encode(&mut self, value: &M, out: &mut Vec<u8>) -> Result<(), String> {
        value.encode(out).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct Old {
        #[prost(uint64, tag = "1")]
        card: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct New {
        #[prost(uint64, tag = "1")]
        card: u64,
        #[prost(string, optional, tag = "2")]
        note: Option<String>,
    }

    #[test]
    fn a_new_field_is_passed_over_by_the_old_type_and_missing_for_the_new() {
        let mut bytes = Vec::new();
        let new = New {
            card: 300,
            note: Some("x".to_owned()),
        };
        ProtobufCodec::default().encode(&new, &mut bytes).unwrap();
        assert_eq!(bytes, b"\x08\xac\x02\x12\x01x");
        let old = ProtobufCodec::<Old>::default().decode(&bytes);
        assert_eq!(old, Ok(Old { card: 300 }));
        let new = ProtobufCodec::<New>::default().decode(b"\x08\x01");
        assert_eq!(
            new,
            Ok(New {
                card: 1,
                note: None
            })
        );
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        for bytes in [&b"\x08"[..], b"\x0a\x05ab", b"\xff\xff\xff\xff\xff\xff"] {
            let bad = ProtobufCodec::<Old>::default().decode(bytes).unwrap_err();
            assert!(!bad.reason.is_empty());
            assert_eq!(bad.raw, bytes);
        }
    }

    #[derive(Clone, PartialEq, Message)]
    struct Nested {
        #[prost(message, optional, boxed, tag = "1")]
        inner: Option<Box<Nested>>,
    }

    /// So many messages in each other, below the outermost.
    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let mut outer = vec![0x0a];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        bytes
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let mut codec = ProtobufCodec::<Nested>::default();
        codec.decode(&nested(100)).unwrap();
        // Groups of a field that the type does not know, too.
        for bytes in [nested(101), nested(5_000), vec![0x13; 100_000]] {
            let bad = codec.decode(&bytes).unwrap_err();
            assert!(bad.reason.contains("recursion limit"), "{}", bad.reason);
            assert_eq!(bad.raw, bytes);
        }
    }
}
