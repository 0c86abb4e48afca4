//! The options of pipelines that read and write topics.

use std::ffi::{OsStr, OsString};

use clap::Args;

/// What these options are called among clap's arguments.
pub(crate) const TOPIC_OPTIONS: [&str; 11] = [
    "source",
    "sink",
    "log",
    "until_end",
    "start",
    "subscription",
    "value_bytes_max",
    "json_depth_max",
    "decompressed_bytes_max",
    "kafka",
    "pulsar",
];

/// Where topics are, and how they are read.
#[derive(Debug, Default, Args)]
pub(crate) struct TopicArgs {
    /// What holds the topics to read: log, kafka or pulsar
    #[arg(long, value_name = "KIND")]
    source: Option<OsString>,
    /// What holds the topics to write: log, kafka, pulsar, or file for JSON lines in the folder to write to
    #[arg(long, value_name = "KIND")]
    sink: Option<OsString>,
    /// Folder of the embedded log
    #[arg(long, value_name = "DIR")]
    log: Option<OsString>,
    /// Read topics to the end they have at the start, instead of following them, as a backfill does unless this
    /// is false
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    until_end: Option<OsString>,
    /// Where to begin with topics: oldest, newest, committed (where the group of Kafka has got to), or an
    /// instant such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "PLACE")]
    start: Option<OsString>,
    /// Read topics of Pulsar with a subscription of the pipeline's name, which keeps what is not done:
    /// exclusive, failover or key-shared
    #[arg(long, value_name = "KIND")]
    subscription: Option<OsString>,
    /// Bytes of a record beyond which it is a dead letter, such as 64KiB [default: 1MiB]
    #[arg(long, value_name = "BYTES")]
    value_bytes_max: Option<OsString>,
    /// How deep JSON may be nested, 1 to 128 [default: 128]
    #[arg(long, value_name = "N")]
    json_depth_max: Option<OsString>,
    /// Bytes, decompressed, beyond which a message of Pulsar or a batch of them is a dead letter
    /// [default: 32MiB]
    #[arg(long, value_name = "BYTES")]
    decompressed_bytes_max: Option<OsString>,
    /// Brokers of Kafka, host:port separated by commas
    #[arg(long, value_name = "BROKERS")]
    kafka: Option<OsString>,
    /// Service URL of Pulsar, such as pulsar://localhost:6650
    #[arg(long, value_name = "URL")]
    pulsar: Option<OsString>,
}

impl TopicArgs {
    /// What is given, by key.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let given = [
            ("source", &self.source),
            ("sink", &self.sink),
            ("log", &self.log),
            ("until-end", &self.until_end),
            ("start", &self.start),
            ("subscription", &self.subscription),
            ("value-bytes-max", &self.value_bytes_max),
            ("json-depth-max", &self.json_depth_max),
            ("decompressed-bytes-max", &self.decompressed_bytes_max),
            ("kafka", &self.kafka),
            ("pulsar", &self.pulsar),
        ];
        let given = given.into_iter();
        given.filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}
