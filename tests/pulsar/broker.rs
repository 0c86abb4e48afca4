//! A real broker, and what tests do with it behind the connectors' backs.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;
use thalweg_connectors::pulsar::Pulsar;

use crate::running;
pub(crate) use crate::running::Broker;

pub(crate) fn shared() -> Option<&'static Broker> {
    running::shared("pulsar")
}

pub(crate) fn own() -> Option<Broker> {
    running::own("pulsar")
}

impl Broker {
    pub(crate) fn pulsar(&self) -> Pulsar {
        // A broker that has just been started takes its time.
        Pulsar::at(self.address("THALWEG_TEST_PULSAR")).patience(Duration::from_secs(30))
    }

    /// Makes a topic whose name begins with `name`; with no partitions it is not divided.
    pub(crate) fn topic(&self, name: &str, partitions: u32) -> String {
        let unique = RandomState::new().build_hasher().finish();
        let topic = format!("{name}-{unique:x}");
        self.create_topic(&topic, partitions);
        topic
    }

    pub(crate) fn add_partitions(&self, topic: &str, partitions: u32) {
        self.admin(
            "POST",
            &format!("{topic}/partitions"),
            &partitions.to_string(),
        );
    }

    /// What Pulsar's own client says.
    fn onlooker(&self, arguments: &[&str]) -> String {
        let jars = format!("{}/*", self.address("THALWEG_TEST_PULSAR_JARS"));
        let output = Command::new("java")
            .args([
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Xmx256m",
                "-cp",
            ])
            .arg(format!("{}:{jars}", compiled(&jars).display()))
            .args([
                "Onlooker",
                arguments[0],
                self.address("THALWEG_TEST_PULSAR"),
            ])
            .args(&arguments[1..])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends events with these ids, in batches.
    pub(crate) fn produce(&self, topic: &str, ids: std::ops::Range<u64>, compression: &str) {
        let (from, until) = (ids.start.to_string(), ids.end.to_string());
        self.onlooker(&["produce", topic, &from, &until, compression]);
    }

    /// Sends events with these ids one by one, with all that messages can carry.
    pub(crate) fn produce_alone(&self, topic: &str, ids: std::ops::Range<u64>, compression: &str) {
        let (from, until) = (ids.start.to_string(), ids.end.to_string());
        self.onlooker(&["unbatch", topic, &from, &until, compression]);
    }

    /// Everything that is in a topic now.
    pub(crate) fn contents(&self, topic: &str) -> Vec<Stored> {
        let text = self.onlooker(&["read", topic]);
        let lines = text.lines().filter(|line| line.matches('\t').count() == 5);
        lines.map(Stored::parse).collect()
    }
}

/// A message as Pulsar's own client gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) event_time_ms: i64,
    pub(crate) properties: String,
    pub(crate) value: String,
}

impl Stored {
    fn parse(line: &str) -> Self {
        let parts: Vec<_> = line.split('\t').collect();
        Self {
            topic: parts[0].to_owned(),
            key: parts[2].to_owned(),
            event_time_ms: parts[3].parse().unwrap(),
            properties: parts[4].to_owned(),
            value: parts[5].to_owned(),
        }
    }
}

/// The folder of the class that uses Pulsar's own client.
fn compiled(jars: &str) -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let compiled = Command::new("javac")
            .args(["-cp", jars, "-d"])
            .arg(folder.path())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/pulsar/Onlooker.java"))
            .status();
        assert!(
            compiled.unwrap().success(),
            "Onlooker.java does not compile"
        );
        folder
    });
    folder.path()
}
