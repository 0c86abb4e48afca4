//! A store of checkpoints that is away, or full, for a while: the job waits, says why, and loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::job::Job;
use crate::process::wait_until;

#[test]
fn a_store_that_is_away_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let job = Job::fraud(folder.path(), 150_000);
    let whole = job.whole();
    let place = job.place("away");
    let mut process = job.start_with_checkpoints(&place, &["--workers", "2"]);
    place.wait_for_checkpoints();
    let away = folder.path().join("elsewhere");
    fs::rename(&place.checkpoints, &away).unwrap();
    wait_until("it says what it waits for", || {
        process.said().contains("a checkpoint waits: ")
    });
    // However long it takes, the job does not come to its end, and no other folder is begun.
    thread::sleep(Duration::from_secs(3));
    assert!(!process.has_ended(), "{}", process.said());
    assert!(!place.checkpoints.exists());
    assert!(place.read("predictions.jsonl").len() < whole.read("predictions.jsonl").len());
    fs::rename(&away, &place.checkpoints).unwrap();
    process.ends_with(0, "see that the store can be reached");
    Job::assert_same(&place, &whole);
}

/// A small file system of memory, where that is allowed.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "thalweg"])
            .arg(at)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self(at.to_owned()))
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,{size}");
        let grown = Command::new("mount")
            .args(["-o", &options])
            .arg(&self.0)
            .status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let job = Job::fraud(folder.path(), 150_000);
    let place = job.place("full");
    let Some(disk) = Small::mount(&place.checkpoints, "size=600k") else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let whole = job.whole();
    let mut process = job.start_with_checkpoints(&place, &["--workers", "2"]);
    wait_until("it says what it waits for", || {
        process.said().contains("free some room there")
    });
    thread::sleep(Duration::from_secs(3));
    assert!(!process.has_ended(), "{}", process.said());
    assert!(place.read("predictions.jsonl").len() < whole.read("predictions.jsonl").len());
    disk.grow("size=2g");
    process.ends_with(0, "a checkpoint waits: ");
    Job::assert_same(&place, &whole);
}

#[test]
fn a_disk_that_is_full_at_the_start_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let job = Job::fraud(folder.path(), 20_000);
    let place = job.place("full-at-start");
    let Some(disk) = Small::mount(&place.checkpoints, "size=64k") else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let filler = place.checkpoints.join("filler");
    // As much as there is room for.
    let _ = fs::write(&filler, vec![0; 64 << 10]);
    let whole = job.whole();
    let mut process = job.start_with_checkpoints(&place, &["--workers", "2"]);
    wait_until("it says what it waits for", || {
        process.said().contains("the start waits: ")
    });
    thread::sleep(Duration::from_secs(2));
    assert!(!process.has_ended(), "{}", process.said());
    disk.grow("size=2g");
    process.ends_with(0, "free some room there");
    Job::assert_same(&place, &whole);
}

#[test]
fn a_place_of_checkpoints_that_is_missing_at_the_start_is_missed() {
    let folder = TempDir::new().unwrap();
    let job = Job::fraud(folder.path(), 20_000);
    let place = job.place("unmounted");
    job.start_with_checkpoints(&place, &["--workers", "2"])
        .ends_with(0, "");
    let before = place.read("predictions.jsonl");
    let away = folder.path().join("elsewhere");
    fs::rename(&place.checkpoints, &away).unwrap();
    let refused = job.start_with_checkpoints(&place, &["--workers", "2"]);
    refused.ends_with(2, "but there are no checkpoints in");
    assert!(!place.checkpoints.exists(), "nothing is begun");
    assert_eq!(place.read("predictions.jsonl"), before);
    fs::rename(&away, &place.checkpoints).unwrap();
    job.start_with_checkpoints(&place, &["--workers", "2"])
        .ends_with(0, "");
    assert_eq!(place.read("predictions.jsonl"), before);
}
