//! What a process has to know of the cluster that it belongs to.

use std::path::PathBuf;
use std::time::Duration;

use super::hosts::{self, Host};
use crate::key::KEY_GROUPS;
use crate::time::secs;

/// The cluster that a job runs in, and this process's place in it.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// What the cluster is called. Certificates are bound to this name, so it must be fit for a part of
    /// a host's name: letters, digits and hyphens.
    pub name: String,
    /// What the pipeline is called.
    pub pipeline: String,
    /// Which process this is, from 0.
    pub process: usize,
    /// Where each process is to be reached, in their order.
    pub hosts: Vec<Host>,
    /// Where this process listens; at its own place among the hosts unless set.
    pub listen: Option<Host>,
    /// With what processes prove to each other who they are, and encrypt what they say.
    pub tls: Option<TlsFiles>,
    /// Whether records may go over a network unprotected.
    pub insecure: bool,
    /// Which start of the cluster this is: processes of different ones refuse each other.
    pub generation: u64,
    /// A fingerprint of the program and its settings, the same in all processes.
    pub fingerprint: u64,
    /// How long to wait for the others at the start.
    pub connect_timeout: Duration,
    /// After how long without a word another process is given up, and this one if one of its
    /// workers has not come round.
    pub peer_timeout: Duration,
    /// After how long the cluster is given up when nothing goes on although all processes are alive.
    pub stall_timeout: Duration,
}

/// Files in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// This process's certificate, with those that lead to the authority's after it. It names
    /// `process-<i>.<cluster name>.thalweg.internal` among its alternative names.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// The certificates of the authority that has signed those of all processes.
    pub authority: PathBuf,
}

impl ClusterOptions {
    /// A cluster of so many processes on this machine.
    pub fn local(pipeline: &str, process: usize, processes: usize) -> Self {
        Self {
            name: pipeline.to_owned(),
            pipeline: pipeline.to_owned(),
            process,
            hosts: hosts::local(processes),
            listen: None,
            tls: None,
            insecure: false,
            generation: 0,
            fingerprint: 0,
            connect_timeout: secs(60),
            peer_timeout: secs(4),
            stall_timeout: secs(30),
        }
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.hosts.len()
    }

    /// The name that the certificate of a process bears.
    pub fn certificate_name(&self, process: usize) -> String {
        format!("process-{process}.{}.thalweg.internal", self.name)
    }

    /// All that is wrong with the options, for so many workers in each process.
    pub fn check(&self, workers: usize) -> Vec<String> {
        let mut errors = Vec::new();
        let processes = self.processes();
        if self.process >= processes {
            errors.push(format!(
                "there is no process {} of {processes}: give a number from 0 to {}",
                self.process,
                processes.saturating_sub(1)
            ));
        }
        if workers.saturating_mul(processes) > KEY_GROUPS {
            errors.push(format!(
                "{processes} processes of {workers} workers cannot share {KEY_GROUPS} key groups: \
                 let there be at most {KEY_GROUPS} workers in all"
            ));
        }
        let is_label = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.name.is_empty() || self.name.len() > 63 || !self.name.chars().all(is_label) {
            errors.push(format!(
                "`{}` is not a name for a cluster: give up to 63 letters, digits and hyphens",
                self.name
            ));
        }
        let all = self.hosts.iter().chain(&self.listen);
        let is_local = all.clone().all(Host::is_loopback);
        if !is_local && self.tls.is_none() && !self.insecure {
            let away = all
                .filter(|host| !host.is_loopback())
                .map(ToString::to_string);
            errors.push(format!(
                "records would go unprotected over a network, to {}: give the processes \
                 certificates (`certificate`, `key` and `authority` under [cluster]), or say that \
                 it may be so with --insecure-cluster",
                away.collect::<Vec<_>>().join(", ")
            ));
        }
        if self.tls.is_some() && cfg!(not(feature = "cluster-tls")) {
            errors.push(
                "certificates are given, but this program was built without the feature \
                 `cluster-tls`: build it with that"
                    .to_owned(),
            );
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut ClusterOptions), expected: &str) {
        let mut options = ClusterOptions::local("fraud", 1, 3);
        change(&mut options);
        let errors = options.check(2);
        assert!(errors.concat().contains(expected), "{errors:?}");
        assert_eq!(errors.is_empty(), expected.is_empty(), "{errors:?}");
    }

    #[test]
    fn wrong_options_are_told_with_the_remedy() {
        check(|_| {}, "");
        check(|o| o.process = 3, "there is no process 3 of 3");
        check(
            |o| o.hosts = hosts::local(200),
            "200 processes of 2 workers",
        );
        check(
            |o| o.name = "my.cluster".to_owned(),
            "not a name for a cluster",
        );
    }

    #[test]
    fn off_this_machine_it_wants_certificates_or_a_word() {
        let away = || "10.0.0.1:2101".parse().expect("an address");
        check(
            |o| o.hosts[0] = away(),
            "unprotected over a network, to 10.0.0.1:2101",
        );
        check(|o| o.listen = Some(away()), "unprotected over a network");
        let insecure = |o: &mut ClusterOptions| (o.hosts[0], o.insecure) = (away(), true);
        check(insecure, "");
    }
}
