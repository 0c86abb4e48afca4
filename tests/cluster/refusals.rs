//! Who does not belong to a cluster is told so, and who is missing is named.

use tempfile::TempDir;

use crate::process::{FLIGHTS, Process, free_addresses, free_hosts, generate, wait_until_ready};

#[test]
fn wrong_processes_are_refused_with_the_reason_and_the_right_one_still_comes_in() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 2_000);
    let hosts = free_hosts(2);
    let first = Process::fraud(folder.path(), &log, &hosts, 0, &["--until-end"]);
    let wrong = |more: &[&str], words: &str| {
        let more = [&["--until-end"], more].concat();
        Process::fraud(folder.path(), &log, &hosts, 1, &more).ends_with(2, words);
    };
    wrong(&["--workers", "4"], "process 1 has 4 workers, process 0 1");
    wrong(
        &["--generation", "3"],
        "process 1 is of generation 3, process 0 of 0",
    );
    wrong(
        &["--cluster", "other"],
        "process 1 belongs to cluster other, process 0 to fraud",
    );
    wrong(
        &["--order", "arrival"],
        "process 1 has another configuration than process 0",
    );
    wrong(
        &["--rate", "1000x"],
        "process 1 has another configuration than process 0",
    );
    let spare = format!("{hosts},{}", free_hosts(1));
    Process::fraud(folder.path(), &log, &spare, 1, &["--until-end"])
        .ends_with(2, "process 1 knows of 3 processes, process 0 of 2");
    let flights = [
        "run",
        "--hosts",
        &hosts,
        "--process",
        "1",
        "--cluster",
        "fraud",
        "--out",
    ];
    let out = folder.path().join("flights");
    let flights = [&flights[..], &[out.to_str().unwrap()]].concat();
    Process::start(FLIGHTS, folder.path(), "flights", &flights)
        .ends_with(2, "process 1 runs pipeline flights, process 0 fraud");
    let second = Process::fraud(folder.path(), &log, &hosts, 1, &["--until-end"]);
    second.ends_with(0, "");
    first.ends_with(0, "process 1 runs pipeline flights, process 0 fraud");
}

#[test]
fn a_missing_process_is_named_and_so_is_one_that_is_there_twice() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 2_000);
    let hosts = free_hosts(2);
    let soon = ["--connect-timeout", "1s"];
    let at = |index: usize| hosts.split(',').nth(index).unwrap().to_owned();
    Process::fraud(folder.path(), &log, &hosts, 0, &soon).ends_with(
        3,
        &format!("process 1 at {}: nothing has come from it", at(1)),
    );
    Process::fraud(folder.path(), &log, &hosts, 1, &soon)
        .ends_with(3, &format!("process 0 at {}: it cannot be reached", at(0)));

    let admin = free_addresses(1)[0];
    let first = ["--admin", &admin.to_string()];
    let first = Process::fraud(folder.path(), &log, &hosts, 0, &first);
    let second = Process::fraud(folder.path(), &log, &hosts, 1, &[]);
    wait_until_ready(&first, admin);
    Process::fraud(folder.path(), &log, &hosts, 1, &soon).ends_with(
        3,
        &format!("cannot listen at {} for the other processes", at(1)),
    );
    let elsewhere = free_hosts(1);
    let twin = [&soon[..], &["--listen", &elsewhere]].concat();
    Process::fraud(folder.path(), &log, &hosts, 1, &twin).ends_with(
        3,
        "there is a process 1 already, and the cluster is running",
    );
    second.signal("TERM");
    second.ends_with(0, "");
    first.ends_with(0, "");
}

#[test]
fn records_do_not_leave_the_machine_unprotected_unasked() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 2_000);
    let away = "192.0.2.1:2101,192.0.2.2:2101";
    Process::fraud(folder.path(), &log, away, 0, &[]).ends_with(
        2,
        "records would go unprotected over a network, to 192.0.2.1:2101",
    );
    let arguments = ["run", "--processes", "2", "--log", log.to_str().unwrap()];
    Process::start(crate::process::FRAUD, folder.path(), "nameless", &arguments)
        .ends_with(2, "which of them this is has not been said");
}
