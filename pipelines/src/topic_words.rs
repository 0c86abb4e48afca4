//! What settings say of topics, in words: the kinds of what holds them, where to begin, how they are shared, and
//! how much of them is decoded.

#[cfg(feature = "kafka")]
use thalweg_connectors::kafka;
use thalweg_connectors::log::LogStart;
#[cfg(feature = "pulsar")]
use thalweg_connectors::pulsar;
use thalweg_engine::time::EventTime;

use crate::value;

/// What holds the topics that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SourceKind {
    #[default]
    Log,
    #[cfg(feature = "kafka")]
    Kafka,
    #[cfg(feature = "pulsar")]
    Pulsar,
}

impl SourceKind {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::named(text).unwrap_or_else(|| {
            Err(format!(
                "`{text}` is not a source of topics: give `log`, `kafka` or `pulsar`"
            ))
        })
    }

    /// The kind of this name, or that the program was built without it; none where there is no such kind.
    fn named(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "log" => Ok(Self::Log),
            #[cfg(feature = "kafka")]
            "kafka" => Ok(Self::Kafka),
            #[cfg(not(feature = "kafka"))]
            "kafka" => Err(NO_KAFKA.to_owned()),
            #[cfg(feature = "pulsar")]
            "pulsar" => Ok(Self::Pulsar),
            #[cfg(not(feature = "pulsar"))]
            "pulsar" => Err(NO_PULSAR.to_owned()),
            _ => return None,
        })
    }
}

#[cfg(not(feature = "kafka"))]
pub(crate) const NO_KAFKA: &str =
    "this program was built without Kafka: build it with `--features kafka`, which wants g++";

#[cfg(not(feature = "pulsar"))]
pub(crate) const NO_PULSAR: &str =
    "this program was built without Pulsar: build it with `--features pulsar`";

/// What holds the topics that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SinkKind {
    #[default]
    Log,
    #[cfg(feature = "kafka")]
    Kafka,
    #[cfg(feature = "pulsar")]
    Pulsar,
    /// A JSON-lines file for each, in the folder to write to.
    File,
}

impl SinkKind {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "file" {
            return Ok(Self::File);
        }
        let kind = SourceKind::named(text).unwrap_or_else(|| {
            Err(format!(
                "`{text}` is not a sink of topics: give `log`, `kafka`, `pulsar` or `file`"
            ))
        });
        kind.map(|kind| match kind {
            SourceKind::Log => Self::Log,
            #[cfg(feature = "kafka")]
            SourceKind::Kafka => Self::Kafka,
            #[cfg(feature = "pulsar")]
            SourceKind::Pulsar => Self::Pulsar,
        })
    }
}

/// Where to begin with topics that have not been read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TopicStart {
    #[default]
    Oldest,
    Newest,
    /// Where the pipeline's group has got to: in Kafka only.
    Committed,
    /// In Kafka by the records' Kafka timestamps, in the log by their event times.
    At(EventTime),
}

impl TopicStart {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => Ok(Self::Oldest),
            "newest" => Ok(Self::Newest),
            "committed" => Ok(Self::Committed),
            _ => value::instant(text).map(Self::At).ok_or_else(|| {
                format!(
                    "`{text}` is not where to begin: give `oldest`, `newest`, `committed` or an \
                     instant such as 2026-01-31T12:00:00Z"
                )
            }),
        }
    }

    pub(crate) fn in_log(self) -> LogStart {
        match self {
            Self::Oldest | Self::Committed => LogStart::Beginning,
            Self::Newest => LogStart::End,
            Self::At(time) => LogStart::At(time),
        }
    }

    #[cfg(feature = "pulsar")]
    pub(crate) fn in_pulsar(self) -> pulsar::Start {
        match self {
            Self::Oldest | Self::Committed => pulsar::Start::Beginning,
            Self::Newest => pulsar::Start::End,
            Self::At(time) => pulsar::Start::At(time),
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn in_kafka(self) -> kafka::Start {
        match self {
            Self::Oldest => kafka::Start::Beginning,
            Self::Newest => kafka::Start::End,
            Self::Committed => kafka::Start::Committed,
            Self::At(time) => kafka::Start::At(time),
        }
    }
}

/// How topics of Pulsar are shared with others that read with the pipeline's subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Exclusive,
    Failover,
    KeyShared,
}

impl Sharing {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "exclusive" => Ok(Self::Exclusive),
            "failover" => Ok(Self::Failover),
            "key-shared" => Ok(Self::KeyShared),
            _ => Err(format!(
                "`{text}` is no kind of subscription: give `exclusive`, `failover` or `key-shared`"
            )),
        }
    }

    #[cfg(feature = "pulsar")]
    pub(crate) fn in_pulsar(self) -> pulsar::SubscriptionKind {
        match self {
            Self::Exclusive => pulsar::SubscriptionKind::Exclusive,
            Self::Failover => pulsar::SubscriptionKind::Failover,
            Self::KeyShared => pulsar::SubscriptionKind::KeyShared,
        }
    }
}

/// How much of what topics hold is decoded, where that is set: beyond it, records are dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) value_bytes: Option<usize>,
    pub(crate) json_depth: Option<usize>,
    /// Of a message or a batch of them, in Pulsar only.
    pub(crate) decompressed_bytes: Option<usize>,
}

impl Limits {
    /// These on top of others: what they leave open, the others decide.
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            value_bytes: self.value_bytes.or(lower.value_bytes),
            json_depth: self.json_depth.or(lower.json_depth),
            decompressed_bytes: self.decompressed_bytes.or(lower.decompressed_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_taken_as_documented() {
        assert_eq!(SourceKind::parse("log"), Ok(SourceKind::Log));
        assert_eq!(SinkKind::parse("file"), Ok(SinkKind::File));
        for error in [
            SourceKind::parse("fax").expect_err("no kind"),
            SinkKind::parse("fax").expect_err("no kind"),
        ] {
            assert!(error.starts_with("`fax` is not a s") && error.contains("give `log`"));
        }
    }

    #[test]
    fn where_to_begin_is_a_word_or_an_instant() {
        let start = |text| TopicStart::parse(text);
        assert_eq!(start("newest"), Ok(TopicStart::Newest));
        let at = EventTime::from_seconds(1_357_034_400);
        assert_eq!(start("2013-01-01T10:00:00Z"), Ok(TopicStart::At(at)));
        assert_eq!(start("2013-01-01T11:00:00+01:00"), Ok(TopicStart::At(at)));
        let error = start("yesterday").expect_err("no place");
        assert!(error.contains("give `oldest`"), "{error}");
    }
}
