//! Processes that prove to each other who they are.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::certificates::certify;
use crate::process::{Process, free_hosts, generate};

/// A settings file with a `[cluster]` of two in the folder; gives its path.
fn settings(folder: &Path, process: usize, hosts: &str, certificates: &Path, file: &str) -> String {
    let hosts: Vec<_> = hosts.split(',').collect();
    let at = |name: String| certificates.join(name).display().to_string();
    let text = format!(
        "[cluster]\nprocess = {process}\nhosts = {hosts:?}\nname = \"prod\"\nconnect-timeout = \"5s\"\n\
         certificate = {:?}\nkey = {:?}\nauthority = {:?}\n",
        at(format!("{file}.pem")),
        at(format!("{file}.key")),
        at("authority.pem".to_owned()),
    );
    let path = folder.join(format!("{process}.toml"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn start(folder: &Path, log: &Path, process: usize, settings: &str) -> Process {
    let out = folder.join("out");
    let arguments = [
        "run",
        "--sink",
        "file",
        "--until-end",
        "--log",
        log.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--settings",
        settings,
    ];
    Process::start(
        crate::process::FRAUD,
        folder,
        &process.to_string(),
        &arguments,
    )
}

#[test]
fn only_who_has_the_right_certificate_gets_in() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let log = generate(folder, 5_000);
    let (ours, others) = (folder.join("ours"), folder.join("others"));
    let names = [
        ("zero", "process-0.prod.thalweg.internal"),
        ("one", "process-1.prod.thalweg.internal"),
        ("elsewhere", "process-1.test.thalweg.internal"),
    ];
    certify(&ours, &names);
    certify(&others, &names);

    let hosts = free_hosts(2);
    let zero = settings(folder, 0, &hosts, &ours, "zero");
    for (certificates, file, words) in [
        (
            &ours,
            "elsewhere",
            "its certificate is not that of process-1.prod.thalweg.internal",
        ),
        (
            &ours,
            "zero",
            "its certificate is not that of process-1.prod.thalweg.internal",
        ),
        (&others, "one", "invalid peer certificate"),
    ] {
        let first = start(folder, &log, 0, &zero);
        let one = settings(folder, 1, &hosts, certificates, file);
        start(folder, &log, 1, &one).ends_with(2, words);
        first.ends_with(3, "process 1 at ");
    }
    let first = start(folder, &log, 0, &zero);
    let one = settings(folder, 1, &hosts, &ours, "one");
    start(folder, &log, 1, &one).ends_with(0, "");
    first.ends_with(0, "");
    let predictions = fs::read_to_string(folder.join("out/predictions.jsonl")).unwrap();
    assert_eq!(predictions.lines().count(), 5_000);
}
