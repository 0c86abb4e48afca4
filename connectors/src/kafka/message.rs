//! Records with what Kafka knows of them.

use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use serde::{Deserialize, Serialize};
use thalweg_engine::source::Undecodable;
use thalweg_engine::time::EventTime;

use crate::codec::Decode;

/// A record as Kafka keeps it, its value decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<T> {
    /// The topic it was read from.
    pub topic: String,
    /// The topic's partition.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: u64,
    /// When it was made, or when the broker took it in, as the topic is set up.
    pub timestamp: Option<EventTime>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, in their order.
    pub headers: Vec<Header>,
    /// Its value.
    pub value: T,
}

/// A header of a message. Several may have one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The header's name.
    pub name: String,
    /// The header's value.
    pub value: Option<Vec<u8>>,
}

impl<T> Message<T> {
    /// The value of the last header of this name, if it has one.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut named = self.headers.iter().rev();
        named.find(|header| header.name == name)?.value.as_deref()
    }
}

/// Makes a `T` of a message, whatever that takes.
pub(super) type Make<T> = Box<dyn FnMut(&BorrowedMessage<'_>) -> Result<T, Undecodable> + Send>;

/// Decodes a message's value, which must not be longer than `bytes_max`.
pub(super) fn decode<T>(
    decoder: &mut dyn Decode<T>,
    message: &BorrowedMessage<'_>,
    bytes_max: usize,
) -> Result<T, Undecodable> {
    let undecodable = |reason: String, raw: &[u8]| Undecodable {
        reason,
        raw: raw.to_vec(),
    };
    match message.payload() {
        None => Err(undecodable(
            "the record has no value: it is a tombstone".to_owned(),
            message.key().unwrap_or_default(),
        )),
        Some(value) if value.len() > bytes_max => Err(undecodable(
            format!(
                "the value has {} bytes, more than the limit of {bytes_max}; raise it with \
                 `value_bytes_max`",
                value.len()
            ),
            &value[..bytes_max],
        )),
        Some(value) => decoder.decode(value),
    }
}

/// The message around a decoded value.
pub(super) fn with_metadata<T>(message: &BorrowedMessage<'_>, value: T) -> Message<T> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    Message {
        topic: message.topic().to_owned(),
        partition: message.partition().unsigned_abs(),
        offset: message.offset().unsigned_abs(),
        timestamp: message.timestamp().to_millis().map(EventTime::from_millis),
        key: message.key().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| Header {
                name: header.key.to_owned(),
                value: header.value.map(<[u8]>::to_vec),
            })
            .collect(),
        value,
    }
}
