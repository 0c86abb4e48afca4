//! A job that stops at a checkpoint and goes on with other numbers of workers writes what it writes
//! when it runs through.

use tempfile::TempDir;

use crate::job::Job;

/// At this rate of event time, the job takes a minute or more to its end.
fn check(job: &Job, rate: &str) {
    let whole = job.whole();
    let stopped = job.place("stopped");
    let process = job.start_with_checkpoints(&stopped, &["--workers", "2", "--rate", rate]);
    stopped.wait_for_checkpoints();
    process.signal("TERM");
    process.ends_with(0, "");
    let (made, all) = (
        stopped.read("predictions.jsonl"),
        whole.read("predictions.jsonl"),
    );
    assert!(
        made.len() < all.len(),
        "it has come to its end before it was stopped"
    );
    for workers in ["3", "1"] {
        let resumed = job.place(&format!("resumed-{workers}"));
        stopped.copy_to(&resumed);
        job.start_with_checkpoints(&resumed, &["--workers", workers])
            .ends_with(0, "");
        Job::assert_same(&resumed, &whole);
    }
}

#[test]
fn fraud_goes_on_from_a_checkpoint_with_any_number_of_workers() {
    let folder = TempDir::new().unwrap();
    check(&Job::fraud(folder.path(), 150_000), "5000x");
}

#[test]
fn flights_goes_on_from_a_checkpoint_with_any_number_of_workers() {
    let folder = TempDir::new().unwrap();
    check(&Job::flights(folder.path()), "200000x");
}
