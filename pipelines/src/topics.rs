//! The settings of topics: where a pipeline's streams come from and go to.

use std::path::PathBuf;

#[cfg(any(feature = "kafka", feature = "pulsar"))]
use serde::de::DeserializeOwned;
#[cfg(feature = "kafka")]
use thalweg_connectors::kafka::Kafka;
#[cfg(feature = "pulsar")]
use thalweg_connectors::pulsar::Pulsar;

use crate::layer::Section;
#[cfg(any(feature = "kafka", feature = "pulsar"))]
use crate::settings_file::nearest;
#[cfg(not(feature = "kafka"))]
use crate::topic_words::NO_KAFKA;
#[cfg(not(feature = "pulsar"))]
use crate::topic_words::NO_PULSAR;
use crate::topic_words::{Limits, Sharing, SinkKind, SourceKind, TopicStart};

/// The settings of topics.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topics {
    pub(crate) source: SourceKind,
    pub(crate) sink: SinkKind,
    pub(crate) log: PathBuf,
    pub(crate) until_end: bool,
    pub(crate) start: TopicStart,
    /// The kind of subscription that topics of Pulsar are read with, if with any.
    pub(crate) subscription: Option<Sharing>,
    pub(crate) limits: Limits,
    /// Where Kafka is, and how to get in.
    pub(crate) kafka: Section,
    /// Where Pulsar is, and how to get in.
    pub(crate) pulsar: Section,
}

impl Topics {
    pub(crate) fn in_log(log: impl Into<PathBuf>) -> Self {
        Self {
            source: SourceKind::default(),
            sink: SinkKind::default(),
            log: log.into(),
            until_end: false,
            start: TopicStart::default(),
            subscription: None,
            limits: Limits::default(),
            kafka: Section::default(),
            pulsar: Section::default(),
        }
    }

    /// Whether what is asked for can be had.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_start()?;
        self.check_pulsar_only()?;
        self.check_kafka()?;
        self.check_pulsar()
    }

    #[cfg(not(feature = "kafka"))]
    fn check_kafka(&self) -> Result<(), String> {
        match self.kafka.0.is_empty() {
            true => Ok(()),
            false => Err(format!("`kafka`: {NO_KAFKA}")),
        }
    }

    #[cfg(feature = "kafka")]
    fn check_kafka(&self) -> Result<(), String> {
        let is_used = self.source == SourceKind::Kafka || self.sink == SinkKind::Kafka;
        if is_used && !self.kafka.0.contains_key("brokers") {
            let error = "topics are in Kafka, but where it is has not been said: give --kafka \
                         HOST:PORT, or `brokers` under [kafka]";
            return Err(error.to_owned());
        }
        check_section::<Kafka>(&self.kafka, "kafka")
    }

    #[cfg(not(feature = "pulsar"))]
    fn check_pulsar(&self) -> Result<(), String> {
        match self.pulsar.0.is_empty() {
            true => Ok(()),
            false => Err(format!("`pulsar`: {NO_PULSAR}")),
        }
    }

    #[cfg(feature = "pulsar")]
    fn check_pulsar(&self) -> Result<(), String> {
        let is_used = self.source == SourceKind::Pulsar || self.sink == SinkKind::Pulsar;
        if is_used && !self.pulsar.0.contains_key("url") {
            let error = "topics are in Pulsar, but where it is has not been said: give --pulsar \
                         pulsar://HOST:6650, or `url` under [pulsar]";
            return Err(error.to_owned());
        }
        check_section::<Pulsar>(&self.pulsar, "pulsar")
    }

    fn check_start(&self) -> Result<(), String> {
        let without_groups = match self.source {
            SourceKind::Log => "the log has no groups",
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar if self.subscription.is_some() => return Ok(()),
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar => "topics in Pulsar are read without a subscription",
            #[cfg(feature = "kafka")]
            SourceKind::Kafka => return Ok(()),
        };
        if self.start == TopicStart::Committed {
            return Err(format!(
                "topics are to be read from where a group has got to, but {without_groups}: give \
                 --start oldest, newest or an instant"
            ));
        }
        Ok(())
    }

    /// Refuses what has a meaning in Pulsar only, where topics are not read from there.
    fn check_pulsar_only(&self) -> Result<(), String> {
        #[cfg(feature = "pulsar")]
        if self.source == SourceKind::Pulsar {
            return Ok(());
        }
        if self.subscription.is_some() {
            return Err(
                "a subscription is set, but topics are not read from Pulsar: leave --subscription \
                 out, or give --source pulsar"
                    .to_owned(),
            );
        }
        if self.limits.decompressed_bytes.is_some() {
            return Err(
                "a limit on decompressed bytes is set, but topics are not read from Pulsar: leave \
                 --decompressed-bytes-max out, as the log compresses nothing, and the client of Kafka \
                 has no such limit: what brokers take in compressed is for `max.message.bytes` to say"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// The cluster, of settings that were checked.
    #[cfg(feature = "kafka")]
    pub(crate) fn kafka(&self) -> Kafka {
        let kafka = self.kafka.0.clone().try_into();
        kafka.expect("invariant: the settings have been checked")
    }

    /// The cluster, of settings that were checked.
    #[cfg(feature = "pulsar")]
    pub(crate) fn pulsar(&self) -> Pulsar {
        let pulsar = self.pulsar.0.clone().try_into();
        pulsar.expect("invariant: the settings have been checked")
    }
}

/// Whether a section says how to get into a cluster. What is wrong is told without its values.
#[cfg(any(feature = "kafka", feature = "pulsar"))]
fn check_section<C: DeserializeOwned>(section: &Section, name: &str) -> Result<(), String> {
    if section.0.is_empty() {
        return Ok(());
    }
    let cluster = section.0.clone().try_into::<C>();
    cluster
        .map(|_| ())
        .map_err(|error| format!("settings of [{name}]: {}", with_nearest(error.message())))
}

/// An error about a section, with the nearest known key in place of all where there is none of this
/// name.
#[cfg(any(feature = "kafka", feature = "pulsar"))]
fn with_nearest(error: &str) -> String {
    let unknown = error.strip_prefix("unknown field `");
    let unknown = unknown.and_then(|rest| rest.split_once('`'));
    let found = unknown.and_then(|(key, rest)| {
        let known = rest.split('`').skip(1).step_by(2);
        Some((key, nearest(key, known)?))
    });
    match found {
        Some((key, nearest)) => {
            format!("unknown key `{key}`: the nearest known key is `{nearest}`")
        }
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_one_kind_only_is_refused_for_the_others() {
        let mut topics = Topics::in_log("log");
        topics.start = TopicStart::Committed;
        let error = topics.check().expect_err("the log has no groups");
        assert!(error.contains("the log has no groups"), "{error}");
        topics.start = TopicStart::Oldest;
        topics.subscription = Some(Sharing::Failover);
        let error = topics.check().expect_err("the log has no subscriptions");
        assert!(error.contains("give --source pulsar"), "{error}");
        topics.subscription = None;
        topics.limits.decompressed_bytes = Some(1);
        let error = topics.check().expect_err("nothing is compressed");
        assert!(error.contains("--decompressed-bytes-max"), "{error}");
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn an_unknown_key_of_a_section_is_refused_with_the_nearest_known_one() {
        let mut topics = Topics::in_log("log");
        let mut refusal = |text: &str| {
            topics.kafka = Section(text.parse().expect("it is TOML"));
            topics.check().expect_err("a key is unknown")
        };
        assert_eq!(
            refusal("brokers = \"b:1\"\nPatience-ms = 5"),
            "settings of [kafka]: unknown key `Patience-ms`: the nearest known key is `patience_ms`"
        );
        let sasl =
            "brokers = \"b:1\"\n[sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword = \"p\"";
        assert_eq!(
            refusal(sasl),
            "settings of [kafka]: unknown key `user`: the nearest known key is `username`"
        );
        assert_eq!(
            refusal("brokers = \"b:1\"\n[tls]\nca_file = \"p\""),
            "settings of [kafka]: unknown key `ca_file`: the nearest known key is `ca`"
        );
    }
}
