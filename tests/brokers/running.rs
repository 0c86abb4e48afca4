//! A real Kafka or Pulsar for tests, which `tests/brokers/start` starts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

/// Where the broker is not to be had, `tests/brokers/start` exits with this.
const UNAVAILABLE: i32 = 3;

/// A running broker.
pub(crate) struct Broker {
    /// `kafka` or `pulsar`.
    name: &'static str,
    addresses: BTreeMap<String, String>,
    /// Where a broker of a test's own lives.
    folder: Option<TempDir>,
}

/// The broker that tests share, unless it is to be skipped.
pub(crate) fn shared(name: &'static str) -> Option<&'static Broker> {
    static SHARED: OnceLock<Result<Broker, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        let address = format!("THALWEG_TEST_{}", name.to_uppercase());
        let addresses: BTreeMap<_, _> = std::env::vars()
            .filter(|(name, _)| name.starts_with(&address))
            .collect();
        if addresses.contains_key(&address) {
            let folder = None;
            return Ok(Broker {
                name,
                addresses,
                folder,
            });
        }
        // Its folder goes with the broker, which the script stops after this process has ended.
        let mut broker = start(name)?;
        let _path = broker.folder.take().unwrap().keep();
        Ok(broker)
    });
    started.as_ref().map_err(|reason| skip(name, reason)).ok()
}

/// A broker of the test's own, which it may stop and start again.
pub(crate) fn own(name: &'static str) -> Option<Broker> {
    start(name).map_err(|reason| skip(name, &reason)).ok()
}

fn start(name: &'static str) -> Result<Broker, String> {
    let prefix = format!("thalweg-{name}-");
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
    let addresses = start_in(name, folder.path())?;
    Ok(Broker {
        name,
        addresses,
        folder: Some(folder),
    })
}

fn start_in(name: &str, folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let output = Command::new(scripts().join("start"))
        .args([name, "--while", &std::process::id().to_string(), "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ").to_owned();
    if output.status.code() == Some(UNAVAILABLE) {
        return Err(said);
    }
    assert!(output.status.success(), "the broker did not start: {said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/brokers")
}

/// Says that the test of this thread is skipped, where `tests/run` hears it.
fn skip(name: &str, reason: &str) {
    let is_set = |name, value| std::env::var(name).is_ok_and(|set| set == value);
    let required = is_set("CI", "true") || is_set("THALWEG_REQUIRE_BROKERS", "1");
    assert!(!required, "a broker is required: {reason}");
    let thread = std::thread::current();
    let line = format!("{name}::{}: {reason}", thread.name().unwrap_or("?"));
    eprintln!("skipped {line}");
    if let Ok(list) = std::env::var("THALWEG_SKIPPED") {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(list).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

impl Broker {
    /// One of the addresses that `tests/brokers/start` prints.
    pub(crate) fn address(&self, name: &str) -> &str {
        &self.addresses[name]
    }

    /// What one of Kafka's own tools says.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let mut tool = Command::new("java")
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}/*", self.address("THALWEG_TEST_KAFKA_JARS")))
            .arg(class)
            .args(["--bootstrap-server", self.address("THALWEG_TEST_KAFKA")])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = tool.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = tool.wait_with_output().unwrap();
        let (said, complained) = (output.stdout, output.stderr);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&complained)
        );
        String::from_utf8(said).unwrap()
    }

    /// The last lines that a broker of the test's own has logged.
    pub(crate) fn last_words(&self) -> String {
        let folder = self.folder.as_ref().expect("a broker of one's own");
        let log = std::fs::read_to_string(folder.path().join("server.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Kills a broker of the test's own, and waits until it is gone: as long as it is still ending, it would
    /// be taken for one that runs and need not be started. What it has written stays.
    pub(crate) fn kill(&self) {
        let folder = self.folder.as_ref().expect("a broker of one's own");
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.unwrap().success());
        let process = Path::new("/proc").join(pid.trim()).join("stat");
        let is_there =
            || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
        while is_there() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it again, at its old address.
    pub(crate) fn start_again(&self) {
        let again = start_in(self.name, self.folder.as_ref().unwrap().path()).unwrap();
        assert_eq!(again, self.addresses);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let stopped = Command::new(scripts().join("stop"))
                .args([self.name, "--dir"])
                .arg(folder.path())
                .status();
            assert!(stopped.unwrap().success());
        }
    }
}
