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
    let mut process = job.start_with_checkpoints(&place, "2");
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
    let mut process = job.start_with_checkpoints(&place, "2");
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
