//! How much a topic takes at once.

use super::admin;
use super::settings::Kafka;

/// The bytes of a batch of records beyond which the brokers refuse it, where they tell: that takes the
/// right to describe the topic's configuration.
pub(super) fn batch_bytes_max(kafka: &Kafka, topic: &str) -> Option<usize> {
    admin::setting(kafka, topic, "max.message.bytes")?
        .parse()
        .ok()
}
