//! Two processes that exchange half of their records: with mutual TLS, and plain.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::prelude::*;
use thalweg_engine::cluster::{ClusterOptions, TlsFiles};
use thalweg_engine::job::{JobOptions, StopHandle};
use thalweg_engine::telemetry::Telemetry;

use super::certificates::certify;
use super::counting::Counting;
use super::job::{self, PIPELINE};
use super::payments;
use super::rounds::Rounds;
use super::{SEED, round};

const PROCESSES: usize = 2;
const PAYMENTS: usize = 1_000_000;
const ROUNDS: usize = 6;
/// Runs of each side, in turn; the best of each counts.
const RUNS: usize = 3;
const CHILD: &str = "--cluster-child";

/// Both kinds, in turn.
pub(crate) fn measure() -> Value {
    let folder = TempDir::new().unwrap();
    let certificates = folder.path().join("certificates");
    let names = [0, 1].map(|process| {
        ClusterOptions::local(PIPELINE, process, PROCESSES).certificate_name(process)
    });
    certify(&certificates, &[("0", &names[0]), ("1", &names[1])]);
    let (mut plain, mut tls) = (0.0_f64, 0.0_f64);
    for _ in 0..RUNS {
        plain = plain.max(rate(None));
        tls = tls.max(rate(Some(&certificates)));
    }
    eprintln!("  plain TCP       {plain:>10.0} events/s");
    eprintln!("  mutual TLS      {tls:>10.0} events/s");
    json!({
        "tls_over_plain": round(tls / plain),
        "cluster_events_per_second_plain": plain.round(),
        "cluster_events_per_second_tls": tls.round(),
    })
}

/// Events a second of both processes together.
fn rate(certificates: Option<&Path>) -> f64 {
    // Both are held until they are known, so that they are two.
    let listeners = [(); PROCESSES].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = listeners
        .map(|listener| listener.local_addr().unwrap().to_string())
        .join(",");
    let own = std::env::current_exe().unwrap();
    let children = [0, 1].map(|process: usize| {
        let mut command = Command::new(&own);
        command.args([CHILD, &process.to_string(), &hosts]);
        command
            .args(certificates)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command.spawn().unwrap()
    });
    let rates = children.map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse::<f64>()
            .unwrap()
    });
    rates.iter().sum()
}

/// Runs one of the processes where the arguments ask for it, and prints its events a second.
pub(crate) fn run_if_child(arguments: &[String]) -> bool {
    let Some(at) = arguments.iter().position(|argument| argument == CHILD) else {
        return false;
    };
    let process = arguments[at + 1].parse().unwrap();
    let mut cluster = ClusterOptions::local(PIPELINE, process, PROCESSES);
    cluster.hosts = arguments[at + 2]
        .split(',')
        .map(|host| host.parse().unwrap())
        .collect();
    cluster.tls = arguments.get(at + 3).map(|folder| TlsFiles {
        certificate: Path::new(folder).join(format!("{process}.pem")),
        key: Path::new(folder).join(format!("{process}.key")),
        authority: Path::new(folder).join("authority.pem"),
    });
    let options = JobOptions {
        cluster: Some(cluster),
        ..JobOptions::default()
    };
    let payments = Rounds::new(&payments::generate(PAYMENTS, SEED), PROCESSES, ROUNDS);
    let sink = Counting::default();
    let (counting, telemetry) = (sink.clone(), Arc::new(Telemetry::default()));
    let build = move |flow: &mut Flow<'_>| {
        job::declare(flow, payments.clone(), counting.clone());
        Ok(())
    };
    thalweg_engine::run(options, telemetry, StopHandle::default(), build).unwrap();
    println!("{}", sink.count() as f64 / sink.span().as_secs_f64());
    true
}
