//! Settings that one place gives: the command line, the environment or a settings file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thalweg_engine::job::{Order, Pace};
use thalweg_engine::sink::Deliveries;
use toml::Table;
use tracing::level_filters::LevelFilter;

use crate::deployment::{self, DeploymentLayer};
use crate::settings_file::nearest;
use crate::supervise;
use crate::topic_words::{Limits, Sharing, SinkKind, SourceKind, TopicStart};
use crate::value;

/// The keys of the settings; as options `--key`, as variables `THALWEG_KEY`.
pub(crate) const KEYS: [&str; 27] = [
    "out",
    "data",
    "model",
    "workers",
    "rate",
    "order",
    "batch",
    "keep-features",
    "quiet",
    "log-level",
    "source",
    "sink",
    "log",
    "until-end",
    "start",
    "subscription",
    "value-bytes-max",
    "json-depth-max",
    "decompressed-bytes-max",
    "kafka",
    "pulsar",
    "checkpoint",
    "checkpoint-interval",
    "checkpoint-retain",
    "from",
    "allow-dropped-state",
    "delivery",
];

/// All keys: those here, and those of the deployment.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(deployment::KEYS)
}

/// What one place says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Layer {
    pub(crate) out: Option<PathBuf>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) model: Option<PathBuf>,
    pub(crate) workers: Option<usize>,
    pub(crate) rate: Option<Pace>,
    pub(crate) order: Option<Order>,
    pub(crate) batch: Option<usize>,
    pub(crate) keep_features: Option<bool>,
    pub(crate) quiet: Option<bool>,
    pub(crate) log_level: Option<LevelFilter>,
    pub(crate) source: Option<SourceKind>,
    pub(crate) sink: Option<SinkKind>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) until_end: Option<bool>,
    pub(crate) start: Option<TopicStart>,
    /// How topics of Pulsar are shared with others.
    pub(crate) subscription: Option<Sharing>,
    /// How much of what topics hold is decoded.
    pub(crate) limits: Limits,
    /// Brokers of Kafka.
    pub(crate) kafka: Option<String>,
    /// Where checkpoints are kept: a path or a URL.
    pub(crate) checkpoint: Option<String>,
    pub(crate) checkpoint_interval: Option<Duration>,
    pub(crate) checkpoint_retain: Option<usize>,
    /// The epoch or savepoint to start from.
    pub(crate) from: Option<String>,
    pub(crate) allow_dropped_state: Option<bool>,
    pub(crate) delivery: Option<Deliveries>,
    /// All that a settings file says of Kafka.
    pub(crate) kafka_section: Option<Section>,
    pub(crate) deployment: DeploymentLayer,
    /// The service URL of Pulsar.
    pub(crate) pulsar: Option<String>,
    /// All that a settings file says of Pulsar.
    pub(crate) pulsar_section: Option<Section>,
}

/// A section of a settings file that is read where it is needed. It may hold secrets.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Section(pub(crate) Table);

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.0.keys().collect();
        write!(f, "Section({keys:?})")
    }
}

impl Layer {
    /// Reads the environment through `lookup`; empty variables count as unset.
    pub(crate) fn from_environment(
        lookup: &dyn Fn(&str) -> Option<OsString>,
        errors: &mut Vec<String>,
    ) -> Self {
        let mut layer = Self::default();
        for key in keys() {
            let variable = variable(key);
            if let Some(value) = lookup(&variable).filter(|value| !value.is_empty()) {
                layer.set(key, &value, &variable, errors);
            }
        }
        layer
    }

    /// Takes in the value of a known key; `place` names it in an error.
    pub(crate) fn set(&mut self, key: &str, value: &OsStr, place: &str, errors: &mut Vec<String>) {
        if let Err(error) = self.try_set(key, value) {
            errors.push(format!("{place}: {error}"));
        }
    }

    fn try_set(&mut self, key: &str, value: &OsStr) -> Result<(), String> {
        match key {
            "out" => self.out = Some(folder(value)?),
            "data" => self.data = Some(folder(value)?),
            "model" => self.model = Some(folder(value)?),
            "workers" => self.workers = Some(value::workers(text(value)?)?),
            "rate" => self.rate = Some(value::rate(text(value)?)?),
            "order" => self.order = Some(value::order(text(value)?)?),
            "batch" => self.batch = Some(value::batch(text(value)?)?),
            "keep-features" => self.keep_features = Some(value::switch(text(value)?)?),
            "quiet" => self.quiet = Some(value::switch(text(value)?)?),
            "log-level" => self.log_level = Some(value::log_level(text(value)?)?),
            "source" => self.source = Some(SourceKind::parse(text(value)?)?),
            "sink" => self.sink = Some(SinkKind::parse(text(value)?)?),
            "log" => self.log = Some(folder(value)?),
            "until-end" => self.until_end = Some(value::switch(text(value)?)?),
            "start" => self.start = Some(TopicStart::parse(text(value)?)?),
            "subscription" => self.subscription = Some(Sharing::parse(text(value)?)?),
            "value-bytes-max" => self.limits.value_bytes = Some(value::bytes(text(value)?)?),
            "json-depth-max" => self.limits.json_depth = Some(value::json_depth(text(value)?)?),
            "decompressed-bytes-max" => {
                self.limits.decompressed_bytes = Some(value::bytes(text(value)?)?);
            }
            "kafka" => self.kafka = Some(text(value)?.to_owned()),
            key if deployment::KEYS.contains(&key) => self.deployment.set(key, text(value)?)?,
            "pulsar" => self.pulsar = Some(text(value)?.to_owned()),
            "checkpoint" => self.checkpoint = Some(value::location(text(value)?)?),
            "checkpoint-interval" => {
                self.checkpoint_interval = Some(value::interval(text(value)?)?);
            }
            "checkpoint-retain" => self.checkpoint_retain = Some(value::retain(text(value)?)?),
            "from" => self.from = Some(text(value)?.to_owned()),
            "allow-dropped-state" => {
                self.allow_dropped_state = Some(value::switch(text(value)?)?);
            }
            "delivery" => self.delivery = Some(value::deliveries(text(value)?)?),
            _ => {
                let known: Vec<_> = keys().collect();
                return Err(format!(
                    "there is no setting of this name: it may be {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// The settings of topics that it says something of.
    pub(crate) fn topic_keys(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("source", self.source.is_some()),
            ("sink", self.sink.is_some()),
            ("log", self.log.is_some()),
            ("until-end", self.until_end.is_some()),
            ("start", self.start.is_some()),
            ("subscription", self.subscription.is_some()),
            ("value-bytes-max", self.limits.value_bytes.is_some()),
            ("json-depth-max", self.limits.json_depth.is_some()),
            (
                "decompressed-bytes-max",
                self.limits.decompressed_bytes.is_some(),
            ),
            (
                "kafka",
                self.kafka.is_some() || self.kafka_section.is_some(),
            ),
            (
                "pulsar",
                self.pulsar.is_some() || self.pulsar_section.is_some(),
            ),
        ];
        given
            .into_iter()
            .filter_map(|(key, is_given)| is_given.then_some(key))
    }

    /// This layer on top of another: what it leaves open, the other decides.
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            out: self.out.or(lower.out),
            data: self.data.or(lower.data),
            model: self.model.or(lower.model),
            workers: self.workers.or(lower.workers),
            rate: self.rate.or(lower.rate),
            order: self.order.or(lower.order),
            batch: self.batch.or(lower.batch),
            keep_features: self.keep_features.or(lower.keep_features),
            quiet: self.quiet.or(lower.quiet),
            log_level: self.log_level.or(lower.log_level),
            source: self.source.or(lower.source),
            sink: self.sink.or(lower.sink),
            log: self.log.or(lower.log),
            until_end: self.until_end.or(lower.until_end),
            start: self.start.or(lower.start),
            subscription: self.subscription.or(lower.subscription),
            limits: self.limits.over(lower.limits),
            kafka: self.kafka.or(lower.kafka),
            kafka_section: self.kafka_section.or(lower.kafka_section),
            deployment: self.deployment.over(lower.deployment),
            pulsar: self.pulsar.or(lower.pulsar),
            pulsar_section: self.pulsar_section.or(lower.pulsar_section),
            checkpoint: self.checkpoint.or(lower.checkpoint),
            checkpoint_interval: self.checkpoint_interval.or(lower.checkpoint_interval),
            checkpoint_retain: self.checkpoint_retain.or(lower.checkpoint_retain),
            from: self.from.or(lower.from),
            allow_dropped_state: self.allow_dropped_state.or(lower.allow_dropped_state),
            delivery: self.delivery.or(lower.delivery),
        }
    }
}

const PREFIX: &str = "THALWEG_";

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('-', "_").to_uppercase())
}

/// Errors about variables of nearly the name of a setting. Others are somebody else's: Kubernetes sets
/// `THALWEG_PORT` where there is a service of that name.
pub(crate) fn misspelt(variables: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let variables = variables.into_iter();
    let names = variables.filter_map(|name| name.into_string().ok());
    let mut errors: Vec<_> = names
        .filter(|name| !supervise::OWN_VARIABLES.contains(&name.as_str()))
        .filter_map(|name| {
            let key = name.strip_prefix(PREFIX)?;
            let known = nearest(key, keys().chain(["settings"]))?;
            let known = variable(known);
            let edits = strsim::damerau_levenshtein(&name, &known);
            let edits_max = if key.len() < 6 { 1 } else { 2 };
            (1..=edits_max).contains(&edits).then(|| {
                format!("unknown variable `{name}`: the nearest known variable is `{known}`")
            })
        })
        .collect();
    errors.sort();
    errors
}

fn folder(value: &OsStr) -> Result<PathBuf, String> {
    if value.is_empty() {
        return Err("the path is empty: name a folder".to_owned());
    }
    Ok(PathBuf::from(value))
}

fn text(value: &OsStr) -> Result<&str, String> {
    value
        .to_str()
        .ok_or_else(|| format!("{value:?} is not text: give it in UTF-8"))
}

#[cfg(test)]
mod tests {
    use thalweg_engine::sink::Delivery;

    use super::*;

    #[test]
    fn the_upper_layer_decides_and_leaves_the_rest_to_the_lower() {
        let upper = Layer {
            workers: Some(4),
            ..Layer::default()
        };
        let lower = Layer {
            workers: Some(2),
            batch: Some(7),
            ..Layer::default()
        };
        let expected = Layer {
            workers: Some(4),
            batch: Some(7),
            ..Layer::default()
        };
        assert_eq!(upper.over(lower), expected);
    }

    #[test]
    fn every_key_can_be_set_by_its_variable() {
        let values = [
            "o",
            "d",
            "m",
            "3",
            "10x",
            "arrival",
            "64",
            "true",
            "true",
            "debug",
            "log",
            "file",
            "l",
            "true",
            "newest",
            "failover",
            "64KiB",
            "5",
            "1MiB",
            "k:9092",
            "pulsar://p:6650",
            "s3://b/c",
            "200ms",
            "5",
            "7",
            "true",
            "immediate",
        ];
        let lookup = |name: &str| {
            let place = KEYS.iter().position(|key| variable(key) == name)?;
            Some(OsString::from(values[place]))
        };
        let mut errors = Vec::new();
        let layer = Layer::from_environment(&lookup, &mut errors);
        assert_eq!(errors, Vec::<String>::new());
        let expected = Layer {
            out: Some("o".into()),
            data: Some("d".into()),
            model: Some("m".into()),
            workers: Some(3),
            rate: Some(Pace::Times(10.0)),
            order: Some(Order::Arrival),
            batch: Some(64),
            keep_features: Some(true),
            quiet: Some(true),
            log_level: Some(LevelFilter::DEBUG),
            source: Some(SourceKind::Log),
            sink: Some(SinkKind::File),
            log: Some("l".into()),
            until_end: Some(true),
            start: Some(TopicStart::Newest),
            subscription: Some(Sharing::Failover),
            limits: Limits {
                value_bytes: Some(65_536),
                json_depth: Some(5),
                decompressed_bytes: Some(1_048_576),
            },
            kafka: Some("k:9092".into()),
            kafka_section: None,
            deployment: DeploymentLayer::default(),
            pulsar: Some("pulsar://p:6650".into()),
            pulsar_section: None,
            checkpoint: Some("s3://b/c".into()),
            checkpoint_interval: Some(Duration::from_millis(200)),
            checkpoint_retain: Some(5),
            from: Some("7".into()),
            allow_dropped_state: Some(true),
            delivery: Some(Deliveries {
                all: Some(Delivery::Immediate),
                ..Deliveries::default()
            }),
        };
        assert_eq!(layer, expected);
    }

    #[test]
    fn a_variable_of_nearly_the_name_of_a_setting_is_refused() {
        let names = [
            "THALWEG_WOKERS",
            "THALWEG_SETTING",
            "THALWEG_WORKERS",
            "THALWEG_SETTINGS",
            "THALWEG_SUPERVISED",
            "THALWEG_SUPERVISED_SEALED",
            "THALWEG_PORT",
            "THALWEG_PORT_9090_TCP_ADDR",
            "THALWEG_SERVICE_HOST",
            "THALWEG_TEST_KAFKA",
            "THALWEG_",
            "WOKERS",
        ];
        let expected = [
            "unknown variable `THALWEG_SETTING`: the nearest known variable is `THALWEG_SETTINGS`",
            "unknown variable `THALWEG_WOKERS`: the nearest known variable is `THALWEG_WORKERS`",
        ];
        assert_eq!(misspelt(names.map(OsString::from)), expected);
    }

    #[test]
    fn errors_name_the_variable_and_empty_ones_are_unset() {
        let lookup = |name: &str| match name {
            "THALWEG_WORKERS" => Some(OsString::from("many")),
            "THALWEG_LOG_LEVEL" => Some(OsString::new()),
            _ => None,
        };
        let mut errors = Vec::new();
        assert_eq!(
            Layer::from_environment(&lookup, &mut errors),
            Layer::default()
        );
        let expected = "THALWEG_WORKERS: `many` is not a number of workers: give a whole number \
                        from 1 to 256";
        assert_eq!(errors, [expected]);
    }
}
