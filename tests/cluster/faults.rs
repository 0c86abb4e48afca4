//! A process that is lost or stopped is noticed by all others, which end with a reason.

use std::net::SocketAddr;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, free_addresses, free_hosts, generate, wait_until_ready};

/// A running cluster of three.
struct Cluster {
    folder: TempDir,
    all: Vec<Process>,
}

fn start() -> Cluster {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 20_000);
    let (hosts, admins) = (free_hosts(3), free_addresses(3));
    let process = |(index, admin): (usize, &SocketAddr)| {
        let admin = admin.to_string();
        let more = ["--admin", &admin, "--peer-timeout", "3s", "--workers", "2"];
        Process::fraud(folder.path(), &log, &hosts, index, &more)
    };
    let all = admins.iter().enumerate().map(process).collect();
    let all: Vec<_> = all;
    for (process, admin) in all.iter().zip(admins) {
        wait_until_ready(process, admin);
    }
    Cluster { folder, all }
}

#[test]
fn a_killed_process_ends_the_others_with_a_reason() {
    let Cluster { folder, all } = start();
    let [first, second, third] = all.try_into().ok().unwrap();
    second.signal("KILL");
    assert_eq!(second.end().0, None);
    first.ends_with(3, "process 1 is gone");
    third.ends_with(3, "process 1 ");
    drop(folder);
}

#[test]
fn a_stopped_process_ends_the_others_and_itself_when_it_goes_on() {
    let Cluster { folder, all } = start();
    let [first, second, third] = all.try_into().ok().unwrap();
    third.signal("STOP");
    let ends = [first.end(), second.end()];
    assert!(ends.iter().all(|(code, _)| *code == Some(3)), "{ends:?}");
    // Whichever notices first tells the other one.
    let has_noticed =
        |said: &str| said.contains("process 2 is gone: nothing has come from 127.0.0.1:");
    assert!(ends.iter().any(|(_, said)| has_noticed(said)), "{ends:?}");
    assert!(
        ends.iter()
            .all(|(_, said)| said.contains("process 2 is gone")),
        "{ends:?}"
    );
    third.signal("CONT");
    third.ends_with(3, "process ");
    drop(folder);
}

#[test]
fn a_terminated_process_has_all_of_them_finish() {
    let Cluster { folder, all } = start();
    all[1].signal("TERM");
    for process in all {
        process.ends_with(0, "");
    }
    let summary = std::fs::read(folder.path().join("out/summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(
        (&summary["stopped"], &summary["processes"]),
        (&true.into(), &3.into())
    );
}
