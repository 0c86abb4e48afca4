//! Clusters with checkpoints: killed, and gone on with in other numbers, they write what a job writes that
//! nobody kills.

use std::path::Path;

use tempfile::TempDir;

use crate::place::{Place, Random, assert_done, text};
use crate::process::{FRAUD, Process, free_hosts, send, wait_until};
use crate::supervised::children;

const EVENTS: u64 = 60_000;
/// So that the stream lasts longer than all kills together, however fast the machine.
const SLOWLY: [&str; 3] = ["--until-end", "--rate", "30000x"];

/// A job that is done without being killed, and a place where the same is to come of it.
fn places(folder: &Path) -> (Place, Place) {
    let whole = Place::new(folder, "whole", EVENTS);
    assert_done(&whole.run(&[]).output().unwrap());
    (whole, Place::new(folder, "cluster", EVENTS))
}

/// Starts a cluster of so many processes, each with so many workers.
fn start(
    place: &Place,
    folder: &Path,
    name: &str,
    (processes, workers): (usize, usize),
    more: &[&str],
) -> Vec<Process> {
    let (hosts, workers) = (free_hosts(processes), workers.to_string());
    let process = |index: usize| {
        let process = index.to_string();
        let arguments = [
            "run",
            "--log",
            text(&place.log),
            "--out",
            text(&place.out),
            "--checkpoint",
            text(&place.checkpoints),
            "--checkpoint-interval",
            "40ms",
            "--hosts",
            &hosts,
            "--process",
            &process,
            "--workers",
            &workers,
        ];
        let arguments = [&arguments[..], more].concat();
        Process::start(FRAUD, folder, &format!("{name}-{index}"), &arguments)
    };
    (0..processes).map(process).collect()
}

/// The number of the newest entry in the log of checkpoints.
fn newest_entry(place: &Place) -> u64 {
    let entries = std::fs::read_dir(place.checkpoints.join("log"));
    let entries = entries.into_iter().flatten().filter_map(Result::ok);
    let number = |name: String| name.split('.').next()?.parse().ok();
    let numbers = entries.filter_map(|entry| number(entry.file_name().into_string().ok()?));
    numbers.max().unwrap_or(0)
}

/// Waits until so many entries have come after one of this number.
fn wait_for_entries(place: &Place, after: u64, entries: u64) {
    wait_until("some epochs are sealed", || {
        newest_entry(place) >= after + entries
    });
}

#[test]
fn killed_and_gone_on_with_in_other_numbers_a_cluster_writes_everything_once() {
    let folder = TempDir::new().unwrap();
    let (whole, place) = places(folder.path());
    let sizes = [(2, 1), (3, 2), (1, 3), (2, 2)];
    for (turn, size) in sizes.into_iter().enumerate() {
        let before = newest_entry(&place);
        let name = format!("turn-{turn}");
        let all = start(&place, folder.path(), &name, size, &SLOWLY);
        // A fence, and some epochs.
        wait_for_entries(&place, before, 3);
        let victim = turn % size.0;
        all[victim].signal("KILL");
        for (index, process) in all.into_iter().enumerate() {
            let (code, said) = process.end();
            let expected = (index != victim).then_some(3);
            assert_eq!(code, expected, "process {index} says {said}");
        }
    }
    for process in start(&place, folder.path(), "last", (1, 1), &["--until-end"]) {
        process.ends_with(0, "");
    }
    place.assert_same(&whole, "after all kills");
}

#[test]
fn a_supervised_cluster_recovers_by_itself_and_writes_everything_once() {
    let folder = TempDir::new().unwrap();
    let (whole, place) = places(folder.path());
    let more = [&SLOWLY[..], &["--supervise", "--peer-timeout", "3s"]].concat();
    let all = start(&place, folder.path(), "supervised", (3, 2), &more);
    let mut random = Random(5);
    for signal in ["KILL", "KILL", "STOP", "KILL"] {
        let before = newest_entry(&place);
        wait_for_entries(&place, before, 3);
        let victim = random.below(3) as usize;
        let counts: Vec<_> = all.iter().map(|process| children(process).len()).collect();
        send(signal, *children(&all[victim]).last().unwrap());
        wait_until("all have been started again", || {
            let now = all.iter().map(|process| children(process).len());
            now.zip(&counts).all(|(now, before)| now > *before)
        });
    }
    for supervisor in all {
        supervisor.ends_with(0, "starting it again");
    }
    place.assert_same(&whole, "after the cluster has recovered");
}

#[test]
fn of_two_clusters_at_once_the_older_one_ends_and_the_other_writes_everything_once() {
    let folder = TempDir::new().unwrap();
    let (whole, place) = places(folder.path());
    let older = start(&place, folder.path(), "older", (2, 1), &["--supervise"]);
    wait_for_entries(&place, 0, 4);
    let newer = start(&place, folder.path(), "newer", (2, 2), &[]);
    for process in older {
        process.ends_with(4, "has been superseded");
    }
    let before = newest_entry(&place);
    wait_for_entries(&place, before, 1);
    newer[1].signal("TERM");
    for process in newer {
        process.ends_with(0, "");
    }
    for process in start(&place, folder.path(), "last", (1, 2), &["--until-end"]) {
        process.ends_with(0, "");
    }
    place.assert_same(&whole, "after the older one has ended");
}

#[test]
fn a_supervised_job_whose_checkpoints_are_gone_is_given_up_and_does_not_begin_anew() {
    let folder = TempDir::new().unwrap();
    let (whole, place) = places(folder.path());
    let end_without = |place: &Place, delivery: &str, reason: &str| {
        let supervised = ["--supervise", "--restarts", "2", "--delivery", delivery];
        let more = [&SLOWLY[..], &supervised].concat();
        let job = start(place, folder.path(), delivery, (1, 1), &more).remove(0);
        // Long enough for its supervisor to hear of them.
        wait_for_entries(place, 0, 40);
        let away = place.checkpoints.with_extension("away");
        std::fs::rename(&place.checkpoints, &away).unwrap();
        send("KILL", *children(&job).last().unwrap());
        let (code, said) = job.end();
        assert_eq!(code, Some(2), "{said}");
        assert_eq!(said.matches("starting it again").count(), 2, "{said}");
        assert!(said.matches(reason).count() >= 2, "{said}");
        assert!(said.contains("cannot start any more"), "{said}");
        assert!(!place.checkpoints.exists());
        std::fs::rename(&away, &place.checkpoints).unwrap();
    };
    end_without(&place, "exactly_once", "it has been published up to epoch");
    for process in start(&place, folder.path(), "last", (1, 1), &["--until-end"]) {
        process.ends_with(0, "");
    }
    place.assert_same(&whole, "after the checkpoints have come back");
    // Where nothing tells of them outside.
    let immediate = Place::new(folder.path(), "immediate", EVENTS);
    let reason = "epochs have been sealed since this job was started";
    end_without(&immediate, "immediate", reason);
}
