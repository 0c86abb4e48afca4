//! A cluster of supervised processes comes back by itself.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{
    FRAUD, Process, free_addresses, free_hosts, generate, get, send, wait_until, wait_until_ready,
};

/// The numbers of the children that a supervisor has started.
pub(crate) fn children(supervisor: &Process) -> Vec<u32> {
    let said = supervisor.said();
    let ids = said.split("process_id=").skip(1);
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    ids.map(|text| digits(text).parse().unwrap()).collect()
}

#[test]
fn a_cluster_comes_back_after_a_kill_and_after_a_stop() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 10_000);
    let (hosts, admins) = (free_hosts(3), free_addresses(3));
    let process = |(index, admin): (usize, &SocketAddr)| {
        let admin = admin.to_string();
        let more = ["--supervise", "--admin", &admin, "--peer-timeout", "3s"];
        Process::fraud(folder.path(), &log, &hosts, index, &more)
    };
    let all: Vec<_> = admins.iter().enumerate().map(process).collect();
    for (victim, signal) in [(1, "KILL"), (2, "STOP")] {
        all.iter()
            .zip(&admins)
            .for_each(|(process, admin)| wait_until_ready(process, *admin));
        let before: Vec<_> = all
            .iter()
            .map(|supervisor| children(supervisor).len())
            .collect();
        let child = *children(&all[victim]).last().unwrap();
        send(signal, child);
        wait_until("all have come back", || {
            (0..3).all(|index| children(&all[index]).len() > before[index])
        });
    }
    all.iter()
        .zip(&admins)
        .for_each(|(process, admin)| wait_until_ready(process, *admin));
    wait_until("everything has been read again", || {
        let read = |address: &SocketAddr| {
            let (_, page) = get(*address, "/metrics", "")?;
            let line = page
                .lines()
                .find(|line| line.starts_with("thalweg_step_records_in_total{step=\"payments\""))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        admins.iter().filter_map(read).sum::<f64>() == 10_000.0
    });
    all.iter().for_each(|supervisor| supervisor.signal("TERM"));
    for supervisor in all {
        supervisor.ends_with(0, "starting it again");
    }
    let summary = fs::read(folder.path().join("out/summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["processes"], 3);
    // The last ones wait for a watermark that never comes.
    let made = summary["predictions"].as_u64();
    assert!(made > Some(9_000), "{summary}");
    let predictions = fs::read_to_string(folder.path().join("out/predictions.jsonl")).unwrap();
    assert_eq!(Some(predictions.lines().count() as u64), made);
}

#[test]
fn a_child_does_not_outlive_its_supervisor() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 2_000);
    let admin = free_addresses(1)[0];
    let supervised = ["--supervise", "--admin", &admin.to_string()];
    let supervisor = Process::fraud(folder.path(), &log, &free_hosts(1), 0, &supervised);
    wait_until_ready(&supervisor, admin);
    supervisor.signal("KILL");
    wait_until("the child has ended", || get(admin, "/livez", "").is_none());
    assert!(supervisor.said().contains("the supervisor is gone"));
}

#[test]
fn a_program_that_cannot_start_is_not_started_again_and_one_that_keeps_failing_not_for_ever() {
    let folder = TempDir::new().unwrap();
    let start = |name: &str, arguments: &[&str]| {
        let out = folder.path().join(name);
        let arguments = [
            &["run", "--supervise", "--out", out.to_str().unwrap()],
            arguments,
        ]
        .concat();
        Process::start(FRAUD, folder.path(), name, &arguments)
    };
    let missing = folder.path().join("missing");
    let (code, said) = start("refused", &["--log", missing.to_str().unwrap()]).end();
    assert_eq!(code, Some(2), "{said}");
    assert!(!said.contains("starting it again"), "{said}");
    let log = generate(folder.path(), 2_000);
    let hosts = free_hosts(2);
    let failing = [
        "--log",
        log.to_str().unwrap(),
        "--hosts",
        &hosts,
        "--process",
        "1",
        "--connect-timeout",
        "500ms",
        "--restarts",
        "2",
    ];
    let (code, said) = start("failing", &failing).end();
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(said.matches("starting it again").count(), 2, "{said}");
    assert!(said.contains("too often in a row"), "{said}");
}
