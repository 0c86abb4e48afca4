//! Messages with what Pulsar knows of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thalweg_engine::source::Undecodable;
use thalweg_engine::time::EventTime;

use super::entry::Raw;
use super::position::Position;
use crate::codec::Decode;

/// A message as Pulsar keeps it, its value decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<T> {
    /// The topic it was read from; of a partitioned one, the partition's own.
    pub topic: String,
    /// Where it stands there.
    pub position: Position,
    /// When it happened, as its producer says.
    pub event_time: Option<EventTime>,
    /// When it was sent.
    pub publish_time: EventTime,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its properties, in their order.
    pub properties: Vec<(String, String)>,
    /// Its value.
    pub value: T,
}

impl<T> Message<T> {
    /// The value of the last property of this name.
    pub fn property(&self, name: &str) -> Option<&str> {
        let mut named = self.properties.iter().rev();
        named
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Makes a `T` of a message, whatever that takes.
pub(super) type Make<T> = Box<dyn FnMut(&Raw<'_>) -> Result<T, Undecodable> + Send>;

/// Decodes a message's value, which must not be longer than `bytes_max`.
pub(super) fn decode<T>(
    decoder: &mut dyn Decode<T>,
    message: &Raw<'_>,
    bytes_max: usize,
) -> Result<T, Undecodable> {
    let undecodable = |reason: String, raw: &[u8]| Undecodable {
        reason,
        raw: raw.to_vec(),
    };
    match message.value {
        None => Err(undecodable(
            "the message has no value: it is a tombstone".to_owned(),
            message.key.unwrap_or_default().as_bytes(),
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
pub(super) fn with_metadata<T>(message: &Raw<'_>, value: T) -> Message<T> {
    let time = |millis: u64| EventTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
    let key = message.key.map(|key| match message.is_key_encoded {
        true => STANDARD.decode(key).unwrap_or_else(|_| key.into()),
        false => key.into(),
    });
    let properties = message.properties.iter();
    Message {
        topic: message.topic.to_owned(),
        position: message.position,
        event_time: message.event_time_ms.filter(|millis| *millis > 0).map(time),
        publish_time: time(message.publish_time_ms),
        key,
        properties: properties
            .map(|property| (property.key.clone(), property.value.clone()))
            .collect(),
        value,
    }
}
