//! How a program is deployed, in its settings: the cluster it belongs to, who restarts it, where it
//! can be asked how it is.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use thalweg_engine::cluster::hosts::{self, Host};
use thalweg_engine::cluster::{ClusterOptions, TlsFiles};
use thalweg_engine::time::{millis, secs};

use crate::value;

/// The keys of these settings.
pub(crate) const KEYS: [&str; 18] = [
    "processes",
    "process",
    "hosts",
    "listen",
    "cluster",
    "generation",
    "insecure-cluster",
    "certificate",
    "certificate-key",
    "authority",
    "connect-timeout",
    "peer-timeout",
    "stall-timeout",
    "start-timeout",
    "supervise",
    "restarts",
    "admin",
    "admin-token",
];

/// How often a program that breaks down is started again, if nothing is said.
const RESTARTS: usize = 20;

/// The options of a program's deployment.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Cluster and operation")]
pub(crate) struct DeploymentArgs {
    /// Run in a cluster of so many processes, each with so many --workers
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    processes: Option<OsString>,
    /// Which of them this is, from 0; the number at the end of the host's name unless said
    #[arg(long, value_name = "I", allow_hyphen_values = true)]
    process: Option<OsString>,
    /// Where they are, host:port separated by commas, or a file of them, or one with {} for the
    /// process's number [default: this machine, ports from 2101 on]
    #[arg(long, value_name = "HOSTS|FILE")]
    hosts: Option<OsString>,
    /// Where this process listens for the others, if not at its place among the hosts
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<OsString>,
    /// What the cluster is called in its certificates [default: the pipeline's name]
    #[arg(long, value_name = "NAME")]
    cluster: Option<OsString>,
    /// Number of this deployment: processes of different ones refuse each other
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    generation: Option<OsString>,
    /// Let records go over the network unprotected
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    insecure_cluster: Option<OsString>,
    /// This process's certificate (PEM), for process-I.NAME.thalweg.internal
    #[arg(long, value_name = "FILE")]
    certificate: Option<OsString>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    certificate_key: Option<OsString>,
    /// Certificates of the authority that signed those of all processes (PEM)
    #[arg(long, value_name = "FILE")]
    authority: Option<OsString>,
    /// How long to wait for the other processes at the start [default: 60s]
    #[arg(long, value_name = "TIME")]
    connect_timeout: Option<OsString>,
    /// After how long without a word another process is given up [default: 4s]
    #[arg(long, value_name = "TIME")]
    peer_timeout: Option<OsString>,
    /// After how long without progress the cluster is given up [default: 30s]
    #[arg(long, value_name = "TIME")]
    stall_timeout: Option<OsString>,
    /// How long to wait at the start for a broker that is away [default: 3m]
    #[arg(long, value_name = "TIME")]
    start_timeout: Option<OsString>,
    /// Start the program again when it breaks down
    #[arg(long, value_name = "SWITCH", num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    supervise: Option<OsString>,
    /// How often in a row to do so [default: 20]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    restarts: Option<OsString>,
    /// Serve /metrics, /livez and /readyz here
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<OsString>,
}

impl DeploymentArgs {
    /// What is given, by key. A token is a secret, which has no place on a command line.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        let values = [
            &self.processes,
            &self.process,
            &self.hosts,
            &self.listen,
            &self.cluster,
            &self.generation,
            &self.insecure_cluster,
            &self.certificate,
            &self.certificate_key,
            &self.authority,
            &self.connect_timeout,
            &self.peer_timeout,
            &self.stall_timeout,
            &self.start_timeout,
            &self.supervise,
            &self.restarts,
            &self.admin,
        ];
        let given = KEYS.into_iter().zip(values);
        given.filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What one place says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeploymentLayer {
    processes: Option<usize>,
    process: Option<usize>,
    hosts: Option<String>,
    listen: Option<Host>,
    cluster: Option<String>,
    generation: Option<u64>,
    insecure_cluster: Option<bool>,
    certificate: Option<PathBuf>,
    certificate_key: Option<PathBuf>,
    authority: Option<PathBuf>,
    connect_timeout: Option<Duration>,
    peer_timeout: Option<Duration>,
    stall_timeout: Option<Duration>,
    pub(crate) start_timeout: Option<Duration>,
    supervise: Option<bool>,
    restarts: Option<usize>,
    admin: Option<SocketAddr>,
    admin_token: Option<Secret>,
}

impl DeploymentLayer {
    /// Takes in the value of a key.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "processes" => self.processes = Some(value::processes(text)?),
            "process" => self.process = Some(number(text, "the number of a process")?),
            "hosts" => self.hosts = Some(text.to_owned()),
            "listen" => self.listen = Some(text.parse()?),
            "cluster" => self.cluster = Some(text.to_owned()),
            "generation" => self.generation = Some(number(text, "a generation")?),
            "insecure-cluster" => self.insecure_cluster = Some(value::switch(text)?),
            "certificate" => self.certificate = Some(text.into()),
            "certificate-key" => self.certificate_key = Some(text.into()),
            "authority" => self.authority = Some(text.into()),
            "connect-timeout" => self.connect_timeout = Some(value::duration(text)?),
            "peer-timeout" => self.peer_timeout = Some(patience(text)?),
            "stall-timeout" => self.stall_timeout = Some(patience(text)?),
            "start-timeout" => self.start_timeout = Some(value::duration(text)?),
            "supervise" => self.supervise = Some(value::switch(text)?),
            "restarts" => self.restarts = Some(number(text, "a number of restarts")?),
            "admin" => self.admin = Some(address(text)?),
            "admin-token" => self.admin_token = Some(token(text)?),
            _ => unreachable!("invariant: only known keys are set"),
        }
        Ok(())
    }

    /// This layer on top of another: what it leaves open, the other decides.
    pub(crate) fn over(self, lower: Self) -> Self {
        Self {
            processes: self.processes.or(lower.processes),
            process: self.process.or(lower.process),
            hosts: self.hosts.or(lower.hosts),
            listen: self.listen.or(lower.listen),
            cluster: self.cluster.or(lower.cluster),
            generation: self.generation.or(lower.generation),
            insecure_cluster: self.insecure_cluster.or(lower.insecure_cluster),
            certificate: self.certificate.or(lower.certificate),
            certificate_key: self.certificate_key.or(lower.certificate_key),
            authority: self.authority.or(lower.authority),
            connect_timeout: self.connect_timeout.or(lower.connect_timeout),
            peer_timeout: self.peer_timeout.or(lower.peer_timeout),
            stall_timeout: self.stall_timeout.or(lower.stall_timeout),
            start_timeout: self.start_timeout.or(lower.start_timeout),
            supervise: self.supervise.or(lower.supervise),
            restarts: self.restarts.or(lower.restarts),
            admin: self.admin.or(lower.admin),
            admin_token: self.admin_token.or(lower.admin_token),
        }
    }

    /// How often a program that breaks down is to be started again, if it is.
    pub(crate) fn restarts(&self) -> Option<usize> {
        let is_supervised = self.supervise.unwrap_or(false);
        is_supervised.then(|| self.restarts.unwrap_or(RESTARTS))
    }

    /// Where the program can be asked how it is, and the word it wants to hear.
    ///
    /// # Errors
    /// When the address can be reached from elsewhere, and there is no such word.
    pub(crate) fn admin(&self) -> Result<Option<(SocketAddr, Option<Secret>)>, String> {
        match self.admin {
            Some(address) if !address.ip().is_loopback() && self.admin_token.is_none() => {
                Err(format!(
                    "`admin`: {address} can be reached from other machines: give a token \
                     (THALWEG_ADMIN_TOKEN, or `token` under [admin]), or an address of this \
                     machine such as 127.0.0.1:{}",
                    address.port()
                ))
            }
            Some(address) => Ok(Some((address, self.admin_token.clone()))),
            None => Ok(None),
        }
    }

    /// The cluster that the program belongs to, if it belongs to one.
    ///
    /// # Errors
    /// With what is wrong or missing.
    pub(crate) fn cluster(
        &self,
        pipeline: &str,
        host_name: Option<&str>,
    ) -> Result<Option<ClusterOptions>, String> {
        let Some(hosts) = self.hosts()? else {
            return Ok(None);
        };
        let processes = hosts.len();
        let process = self.process.or_else(|| host_name.and_then(hosts::ordinal));
        let process = process.ok_or_else(|| {
            format!(
                "there are {processes} processes, and which of them this is has not been said: \
                 give --process with a number from 0 to {}",
                processes - 1
            )
        })?;
        let usual = ClusterOptions::local(pipeline, process, processes);
        let name = self
            .cluster
            .clone()
            .unwrap_or_else(|| pipeline.replace('_', "-"));
        Ok(Some(ClusterOptions {
            name,
            hosts,
            listen: self.listen.clone(),
            tls: self.tls()?,
            insecure: self.insecure_cluster.unwrap_or(false),
            generation: self.generation.unwrap_or(usual.generation),
            connect_timeout: self.connect_timeout.unwrap_or(usual.connect_timeout),
            peer_timeout: self.peer_timeout.unwrap_or(usual.peer_timeout),
            stall_timeout: self.stall_timeout.unwrap_or(usual.stall_timeout),
            ..usual
        }))
    }

    /// The addresses of all processes, if there are several.
    fn hosts(&self) -> Result<Option<Vec<Host>>, String> {
        let Some(given) = &self.hosts else {
            let processes = self.processes.filter(|processes| *processes > 1);
            return Ok(processes.map(hosts::local));
        };
        let (text, place) = if Path::new(given).is_file() {
            let read = std::fs::read_to_string(given);
            let text =
                read.map_err(|error| format!("cannot read the file of hosts `{given}`: {error}"))?;
            (text, format!("file of hosts `{given}`"))
        } else {
            (given.clone(), "`hosts`".to_owned())
        };
        let hosts = hosts::read(&text, self.processes);
        let hosts = hosts.map_err(|error| format!("{place}: {error}"))?;
        Ok(Some(hosts).filter(|hosts| hosts.len() > 1))
    }

    fn tls(&self) -> Result<Option<TlsFiles>, String> {
        match (&self.certificate, &self.certificate_key, &self.authority) {
            (None, None, None) => Ok(None),
            (Some(certificate), Some(key), Some(authority)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: authority.clone(),
            })),
            _ => Err(
                "`certificate`, `certificate-key` and `authority` belong together: give all \
                      of them, or none"
                    .to_owned(),
            ),
        }
    }
}

fn number<N: std::str::FromStr>(text: &str, what: &str) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not {what}: give a whole number from 0 on"))
}

/// A time that is long enough to tell one who is gone from one who is busy.
fn patience(text: &str) -> Result<Duration, String> {
    let duration = value::duration(text)?;
    if (millis(500)..=secs(3_600)).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!(
            "`{text}` is too short or too long: give a time from 500ms to 3600s"
        ))
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.replace("localhost:", "127.0.0.1:");
    text.parse().map_err(|_| {
        format!("`{text}` is not an address to listen at: give one such as 127.0.0.1:9090")
    })
}

fn token(text: &str) -> Result<Secret, String> {
    let is_word = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_word {
        Ok(Secret(text.to_owned()))
    } else {
        Err("a token has at least 16 characters of ASCII, and no spaces".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(settings: &[(&str, &str)]) -> DeploymentLayer {
        let mut layer = DeploymentLayer::default();
        for (key, text) in settings {
            layer.set(key, text).expect("the setting is good");
        }
        layer
    }

    #[test]
    fn a_cluster_is_made_of_what_is_said_of_it() {
        let alone = layer(&[]).cluster("fraud", Some("fraud-2"));
        assert!(matches!(alone, Ok(None)));
        let cluster = |settings: &[(&str, &str)], host_name| {
            let cluster = layer(settings).cluster("fraud", host_name);
            let cluster = cluster.expect("it is a good one").expect("it is one");
            let hosts: Vec<_> = cluster.hosts.iter().map(ToString::to_string).collect();
            (cluster.process, hosts.join(","))
        };
        let local = (1, "127.0.0.1:2101,127.0.0.1:2102".to_owned());
        assert_eq!(
            cluster(&[("processes", "2"), ("process", "1")], None),
            local
        );
        assert_eq!(cluster(&[("processes", "2")], Some("fraud-1")), local);
        assert_eq!(
            cluster(&[("hosts", "a:1,b:1"), ("process", "0")], None),
            (0, "a:1,b:1".to_owned())
        );
        let pods = [("processes", "2"), ("hosts", "fraud-{}.fraud:7")];
        assert_eq!(
            cluster(&pods, Some("fraud-1")),
            (1, "fraud-0.fraud:7,fraud-1.fraud:7".to_owned())
        );
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("hosts");
        std::fs::write(&file, "# two\na:1\nb:1\n").expect("the folder is writable");
        let file = file.to_str().expect("a path of the test is UTF-8");
        assert_eq!(
            cluster(&[("hosts", file), ("process", "1")], None),
            (1, "a:1,b:1".to_owned())
        );
    }

    #[test]
    fn what_is_missing_of_a_cluster_is_named() {
        let check = |settings: &[(&str, &str)], expected: &str| {
            let error = layer(settings)
                .cluster("fraud", Some("laptop"))
                .expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        };
        check(
            &[("processes", "3")],
            "there are 3 processes, and which of them this is",
        );
        check(
            &[("processes", "3"), ("hosts", "a:1,b:1")],
            "`hosts`: 2 addresses for 3 processes",
        );
        check(
            &[
                ("processes", "2"),
                ("process", "0"),
                ("certificate", "c.pem"),
            ],
            "`certificate`, `certificate-key` and `authority` belong together",
        );
    }

    #[test]
    fn off_this_machine_the_admin_endpoint_wants_a_token() {
        assert_eq!(layer(&[]).admin(), Ok(None));
        let local = layer(&[("admin", "localhost:9090")])
            .admin()
            .expect("no token is needed");
        assert_eq!(
            local.map(|(address, _)| address.to_string()).as_deref(),
            Some("127.0.0.1:9090")
        );
        let error = layer(&[("admin", "0.0.0.0:9090")])
            .admin()
            .expect_err("there is no token");
        assert!(error.contains("THALWEG_ADMIN_TOKEN"), "{error}");
        let away = layer(&[
            ("admin", "0.0.0.0:9090"),
            ("admin-token", "0123456789abcdef"),
        ]);
        assert!(away.admin().is_ok_and(|admin| admin.is_some()));
        assert!(!format!("{away:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn values_are_taken_as_documented() {
        for (key, text) in [
            ("processes", "0"),
            ("process", "-1"),
            ("listen", "here"),
            ("peer-timeout", "10ms"),
            ("connect-timeout", "soon"),
            ("admin", "9090"),
            ("admin-token", "short"),
            ("restarts", "many"),
        ] {
            let error = DeploymentLayer::default().set(key, text).expect_err(key);
            assert!(
                error.contains("give") || error.contains("at least"),
                "{key}: {error}"
            );
        }
        assert_eq!(layer(&[]).restarts(), None);
        assert_eq!(layer(&[("supervise", "true")]).restarts(), Some(RESTARTS));
        assert_eq!(
            layer(&[("supervise", "1"), ("restarts", "3")]).restarts(),
            Some(3)
        );
        assert_eq!(layer(&[("restarts", "3")]).restarts(), None);
    }
}
