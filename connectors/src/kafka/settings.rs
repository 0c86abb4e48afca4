//! Which cluster, how to get in, and what to set at the client.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::context::Context;
use super::problem::{Problem, in_words};
use super::scrubber::{Scrubber, is_secret};
use super::security::{Sasl, Tls};
use crate::broker::{Reports, without_users};

/// A Kafka cluster, and how to get in.
///
/// The same as settings:
///
/// ```
/// # use serde::Deserialize;
/// use thalweg_connectors::kafka::Kafka;
///
/// let kafka: Kafka = serde_json::from_str(
///     r#"{
///         "brokers": "one.example:9093,two.example:9093",
///         "tls": {},
///         "sasl": { "mechanism": "SCRAM-SHA-512", "username": "fraud", "password": "hunter2" },
///         "properties": { "fetch.wait.max.ms": 50 }
///     }"#,
/// )?;
/// assert!(!format!("{kafka:?}").contains("hunter2"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    brokers: String,
    #[serde(default, deserialize_with = "table")]
    tls: Option<Tls>,
    #[serde(default, deserialize_with = "table")]
    sasl: Option<Sasl>,
    #[serde(default, deserialize_with = "texts")]
    properties: BTreeMap<String, String>,
    #[serde(
        default = "patience_ms",
        rename = "patience_ms",
        deserialize_with = "millis"
    )]
    patience: Duration,
}

fn patience_ms() -> Duration {
    Duration::from_secs(5)
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let millis = u64::deserialize(deserializer).map(Duration::from_millis);
    millis.map_err(|_| D::Error::custom("`patience_ms` is a whole number of milliseconds"))
}

/// A table. A text in its place may be a secret, and is not shown.
fn table<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Table<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }

        fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<Option<T>, E> {
            let error = "`tls` and `sasl` are tables, such as `tls = { ca = \"ca.pem\" }`";
            Err(E::custom(error))
        }
    }
    deserializer.deserialize_any(Table(PhantomData))
}

/// Values that may be given as numbers and truth values, too.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Text(String),
        Truth(bool),
        Integer(i64),
        Number(f64),
    }
    let values = BTreeMap::<String, Value>::deserialize(deserializer).map_err(|_| {
        D::Error::custom("`properties` is a table of texts, numbers and truth values")
    })?;
    let text = |value| match value {
        Value::Text(text) => text,
        Value::Truth(truth) => truth.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Number(number) => number.to_string(),
    };
    Ok(values
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect())
}

/// What the connectors stand on, and what is set by other means.
const MANAGED: [(&str, &str); 12] = [
    ("bootstrap.servers", "set `brokers`"),
    ("metadata.broker.list", "set `brokers`"),
    ("group.id", "name the group at the source"),
    ("group.instance.id", "partitions are assigned by the engine"),
    (
        "enable.auto.commit",
        "offsets are committed when everything before them is done",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed when everything before them is done",
    ),
    ("auto.offset.reset", "say at the source where to start"),
    ("enable.partition.eof", "say at the source whether it ends"),
    ("enable.idempotence", "a sink is always idempotent"),
    ("acks", "a sink always waits for all replicas"),
    (
        "request.required.acks",
        "a sink always waits for all replicas",
    ),
    ("transactional.id", "a sink sees to it"),
];

impl Kafka {
    /// The cluster that these brokers, `host:port` separated by commas, belong to.
    pub fn at(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            tls: None,
            sasl: None,
            properties: BTreeMap::new(),
            patience: patience_ms(),
        }
    }

    /// Encrypts the connection.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Says who the client is.
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Sets a property of the client, [librdkafka], over what the connectors set themselves.
    ///
    /// A few, on which their guarantees rest, cannot be set: [`Source::check`] and [`Sink::check`]
    /// say so.
    ///
    /// [librdkafka]: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md
    /// [`Source::check`]: thalweg_engine::source::Source::check
    /// [`Sink::check`]: thalweg_engine::sink::Sink::check
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// How long to wait for an answer before the job starts; 5 seconds unless set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The brokers, as they may be shown.
    pub(super) fn brokers(&self) -> String {
        without_users(&self.brokers)
    }

    pub(super) fn how_long_to_wait(&self) -> Duration {
        self.patience
    }

    /// A property as the user has set it.
    pub(super) fn own_property(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    pub(super) fn waits_for_token(&self) -> bool {
        matches!(self.sasl, Some(Sasl::OAuthBearer { .. }))
    }

    /// The client's configuration: what the connector sets, then what the user has set.
    pub(super) fn config(&self, defaults: &[(&str, &str)]) -> Result<ClientConfig, Problem> {
        for (name, instead) in MANAGED {
            if self.properties.contains_key(name) {
                let reason = format!("property `{name}` cannot be set");
                return Err(Problem::new(reason, instead));
            }
        }
        if self.brokers.contains('@') {
            return Err(Problem::new(
                "`brokers` names a user",
                "write host:port, and who the client is under `sasl`",
            ));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        config.set("client.id", "thalweg");
        let protocol = match (&self.sasl, &self.tls) {
            (None, None) => "plaintext",
            (None, Some(_)) => "ssl",
            (Some(_), None) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        for (name, value) in self.security() {
            config.set(name, value);
        }
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        // What is heard at which level is up to the subscriber of the logs.
        config.set_log_level(match self.properties.contains_key("debug") {
            true => RDKafkaLogLevel::Debug,
            false => RDKafkaLogLevel::Info,
        });
        Ok(config)
    }

    fn security(&self) -> Vec<(&'static str, String)> {
        let tls = self.tls.iter().flat_map(Tls::properties);
        tls.chain(self.sasl.iter().flat_map(Sasl::properties))
            .collect()
    }

    /// What the client tells its news to.
    pub(super) fn context(&self, reports: Arc<Reports>) -> Context {
        let token_file = match &self.sasl {
            Some(Sasl::OAuthBearer { token_file }) => Some(token_file.clone()),
            _ => None,
        };
        Context::new(self.scrubber(), token_file, reports)
    }

    /// Why a client cannot be made.
    pub(super) fn unusable(&self, error: &KafkaError) -> Problem {
        let reason = in_words(error);
        let reason = self.scrubber().clean(&reason).into_owned();
        Problem::new(reason, "fix the settings of the client")
    }

    /// Takes out whatever secret the settings hold.
    fn scrubber(&self) -> Scrubber {
        let mut scrubber = Scrubber::default();
        let security = self.security();
        let given = security.iter().map(|(name, value)| (*name, value));
        let own = self.properties.iter();
        for (name, value) in given.chain(own.map(|(name, value)| (name.as_str(), value))) {
            if is_secret(name) {
                scrubber.add(value);
            }
        }
        scrubber
    }
}

impl fmt::Debug for Kafka {
    /// Tells the names of the properties only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("brokers", &self.brokers())
            .field("tls", &self.tls.is_some())
            .field("sasl", &self.sasl.as_ref().map(Sasl::mechanism))
            .field("properties", &self.properties.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_goes_over_what_the_connector_sets() {
        let kafka = Kafka::at("here:1").property("linger.ms", "7");
        let config = kafka
            .config(&[("linger.ms", "5"), ("acks", "all")])
            .unwrap();
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("security.protocol"), Some("plaintext"));
    }

    #[test]
    fn guarantees_cannot_be_set_away() {
        let kafka = Kafka::at("here:1").property("acks", "0");
        let problem = kafka.config(&[]).unwrap_err();
        assert_eq!(problem.reason, "property `acks` cannot be set");
        assert_eq!(problem.remedy, "a sink always waits for all replicas");
    }

    #[test]
    fn a_user_among_the_brokers_is_refused_unseen() {
        let kafka = Kafka::at("me:canary@here:1,there:1");
        let problem = kafka.config(&[]).unwrap_err();
        assert_eq!(problem.reason, "`brokers` names a user");
        assert_eq!(kafka.brokers(), "***@here:1,there:1");
        assert!(!format!("{kafka:?}").contains("canary"));
    }

    #[test]
    fn settings_with_everything_set_show_no_secret() {
        let kafka: Kafka = serde_json::from_str(
            r#"{
                "brokers": "here:1",
                "tls": { "ca": "/ca.pem", "key_password": "canary-1" },
                "sasl": { "mechanism": "PLAIN", "username": "me", "password": "canary-2" },
                "properties": { "ssl.key.pem": "canary-3", "linger.ms": 5, "debug": "all" },
                "patience_ms": 100
            }"#,
        )
        .unwrap();
        let config = kafka.config(&[]).unwrap();
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("ssl.ca.location"), Some("/ca.pem"));
        assert_eq!(config.get("sasl.password"), Some("canary-2"));
        assert_eq!(config.get("linger.ms"), Some("5"));
        let shown = format!("{kafka:?} {:?} {:?}", kafka.tls, kafka.sasl);
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_value_of_another_type_is_refused_unseen_and_named() {
        for (setting, told) in [
            (r#""tls": "canary""#, "`tls` and `sasl` are tables"),
            (r#""sasl": "canary""#, "`tls` and `sasl` are tables"),
            (r#""patience_ms": "5s""#, "`patience_ms` is a whole number"),
            (
                r#""properties": {"a": ["canary"]}"#,
                "`properties` is a table of",
            ),
            (
                r#""sasl": {"mechanism": "PLAIN", "username": "u", "password": 31337}"#,
                "write it in quotes",
            ),
        ] {
            let settings = format!(r#"{{"brokers": "a:1", {setting}}}"#);
            let error = serde_json::from_str::<Kafka>(&settings).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(told), "{error}");
            assert!(
                !error.contains("canary") && !error.contains("31337"),
                "{error}"
            );
        }
        let kafka: Kafka = serde_json::from_str(r#"{"brokers": "a:1", "tls": {}}"#).unwrap();
        assert!(kafka.tls.is_some() && kafka.sasl.is_none());
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        let outcome = serde_json::from_str::<Kafka>(r#"{"brokers": "a:1", "broker": "b"}"#);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("unknown field `broker`"), "{error}");
    }
}
