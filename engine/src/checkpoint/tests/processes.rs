//! Real processes, killed at any time.

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::rig::{PIPELINE, Rig, check_newest, options};
use crate::checkpoint::{Checkpoints, Epoch, Location, StartFrom};
use crate::time::millis;

/// Where the process that this test starts keeps its checkpoints.
const FOLDER: &str = "THALWEG_TEST_CHECKPOINTS";

fn open(folder: &Path) -> Checkpoints {
    Checkpoints::open(&options(Location::folder(folder)), PIPELINE).expect("opened")
}

/// What the started process does: seals epochs until it is killed or superseded.
#[test]
#[ignore = "it is started by the test below"]
fn seal_until_killed() {
    let Some(folder) = env::var_os(FOLDER) else {
        return;
    };
    let checkpoints = open(folder.as_ref());
    let Ok(generation) = checkpoints.begin(&StartFrom::Newest) else {
        return;
    };
    let mut rig = Rig::new(checkpoints, generation, 2).expect("restored");
    while rig.epoch().is_ok() {}
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args([
        "--ignored",
        "--exact",
        "checkpoint::tests::processes::seal_until_killed",
    ]);
    command
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("a process")
}

#[test]
fn kill_9_at_any_time_loses_no_sealed_epoch() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut newest = Epoch(0);
    for round in 0..12 {
        let mut processes = vec![start(folder.path())];
        if round % 3 == 2 {
            // A second cluster of the same pipeline, while the first one runs.
            thread::sleep(millis(60));
            processes.push(start(folder.path()));
        }
        thread::sleep(millis(60 + round * 17));
        for process in &mut processes {
            process.kill().expect("killed, or ended before");
            process.wait().expect("ended");
        }
        let found = check_newest(&open(folder.path()));
        assert!(
            found >= newest,
            "epoch {newest} was sealed, and {found} is the newest"
        );
        newest = found;
    }
    assert!(newest.0 >= 12, "only {newest} epochs");
}
