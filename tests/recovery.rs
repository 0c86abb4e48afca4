//! The fraud job with checkpoints, killed at random times: what it has written in the end is what a
//! job writes that nobody kills.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "place.rs"]
mod place;

use std::fs;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use place::{Place, Random, assert_done, text, walk};

/// Kills the job after a while; whether it had not come to its end by then.
fn kill_after(mut job: Child, time: Duration) -> bool {
    std::thread::sleep(time);
    let ended = job.try_wait().unwrap();
    if ended.is_some() {
        assert_done(&job.wait_with_output().unwrap());
        return false;
    }
    // SIGKILL: nothing is finished, nothing is written any more.
    job.kill().unwrap();
    job.wait().unwrap();
    true
}

/// How often the job is killed, unless the environment says otherwise.
const KILLS: u64 = 8;

#[test]
fn a_job_that_is_killed_at_random_writes_everything_once() {
    let kills = std::env::var("THALWEG_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().unwrap());
    let folder = TempDir::new().unwrap();
    let events = 150_000;
    let whole = Place::new(folder.path(), "whole", events);
    assert_done(&whole.run(&[]).output().unwrap());
    let place = Place::new(folder.path(), "killed", events);
    let (mut random, mut killed) = (Random(7), 0);
    for _ in 0..kills {
        let job = place.run_with_checkpoints(1 + random.below(3));
        let time = Duration::from_millis(300 + random.below(2_000));
        killed += u64::from(kill_after({ job }.spawn().unwrap(), time));
    }
    let output = place.run_with_checkpoints(2).output().unwrap();
    assert_done(&output);
    place.assert_same(&whole, &format!("after {killed} of {kills} kills"));
    let summary = place.summary();
    let epoch = summary["checkpoint"]["epoch"].as_u64();
    assert!(epoch.is_some_and(|epoch| epoch > 1), "{summary}");
    let ends = ["processed", "late", "dead_letters", "filtered", "held"];
    let sum: u64 = ends.iter().map(|end| summary[end].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), summary["records_in"].as_u64(), "{summary}");
}

#[test]
fn a_part_that_is_damaged_is_named_and_nothing_starts() {
    let folder = TempDir::new().unwrap();
    let place = Place::new(folder.path(), "one", 5_000);
    assert_done(&place.run_with_checkpoints(1).output().unwrap());
    let parts = walk(&place.checkpoints);
    let part = parts.iter().find(|path| text(path).contains("keys"));
    let part = part.unwrap_or_else(|| panic!("no part among {parts:?}"));
    let mut bytes = fs::read(part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(part, bytes).unwrap();
    let output = place.run_with_checkpoints(1).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    let name = part.file_name().unwrap().to_str().unwrap();
    assert!(complaint.contains(name), "{complaint}");
}

#[test]
fn records_that_are_gone_from_the_log_are_named_and_not_passed_over() {
    let folder = TempDir::new().unwrap();
    let place = Place::new(folder.path(), "one", 5_000);
    assert_done(&place.run_with_checkpoints(1).output().unwrap());
    let partition = place.log.join("payments/1");
    for file in walk(&partition) {
        fs::remove_file(file).unwrap();
    }
    let output = place.run_with_checkpoints(2).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{complaint}");
    let is_named = complaint.contains("source `payments`") && complaint.contains("partition 1");
    assert!(is_named && !complaint.contains("panicked"), "{complaint}");
}

#[test]
fn processes_that_do_not_share_the_checkpoints_do_not_begin() {
    let folder = TempDir::new().unwrap();
    let place = Place::new(folder.path(), "one", 1_000);
    let listeners = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let hosts = listeners.map(|listener| listener.local_addr().unwrap().to_string());
    let hosts = hosts.join(",");
    let processes = ["0", "1"].map(|process| {
        let own = folder.path().join(process);
        let arguments = ["--hosts", &hosts, "--process", process, "--checkpoint"];
        let mut process = place.run(&[&arguments[..], &[text(&own)]].concat());
        process.spawn().unwrap()
    });
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        let is_named = complaint.contains("name one that they share");
        assert!(is_named, "{complaint}");
    }
}
