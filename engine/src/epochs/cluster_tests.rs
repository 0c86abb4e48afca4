//! Clusters that are ended at every durable step, and go on with other numbers of processes and
//! workers: what they publish is what a job publishes that is never interrupted.

use std::sync::Arc;
use std::thread;

use super::Failpoint;
use super::tests::{FAILPOINTS, Outputs, ended, options, to_end};
use crate::RunError;
use crate::checkpoint::{CheckpointOptions, Checkpoints, Location};
use crate::cluster::ClusterOptions;
use crate::cluster::tests::free_hosts;
use crate::job::{JobOptions, Order, StopHandle};
use crate::ledger::Fates;
use crate::testing::SimulatedStore;
use crate::time::{millis, secs};

type Outcome = (Result<(), RunError>, Fates);

/// Runs a cluster of so many processes and workers, each with the options that `change` makes.
fn cluster(
    (processes, workers): (usize, usize),
    outputs: &Outputs,
    store: &SimulatedStore,
    change: impl Fn(usize, &mut JobOptions),
) -> Vec<Outcome> {
    let hosts = free_hosts(processes);
    let all = (0..processes).map(|process| {
        let mut options = options(workers, Order::EventTime, Some(store));
        options.cluster = Some(ClusterOptions {
            hosts: hosts.clone(),
            connect_timeout: secs(20),
            ..ClusterOptions::local("test", process, processes)
        });
        change(process, &mut options);
        let outputs = outputs.clone();
        thread::spawn(move || ended(options, &outputs, &StopHandle::default(), false))
    });
    let all: Vec<_> = all.collect();
    let end = |process: thread::JoinHandle<Outcome>| process.join().expect("it does not panic");
    all.into_iter().map(end).collect()
}

/// Ends clusters at points in one of their processes, and then has one come to its end.
fn check(ends: &[(&'static str, u64, usize)], sizes: &[(usize, usize)]) {
    let whole = Outputs::default();
    to_end(options(1, Order::EventTime, None), &whole);
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    let mut hits = 0;
    for ((failpoint, times, victim), size) in ends.iter().zip(sizes.iter().cycle()) {
        let point = Failpoint::at(failpoint, *times);
        let outcomes = cluster(*size, &outputs, &store, |process, options| {
            if let (Some(checkpoints), true) =
                (&mut options.checkpoints, process == victim % size.0)
            {
                checkpoints.failpoint = point.clone();
            }
        });
        let failed = outcomes
            .iter()
            .filter_map(|(outcome, _)| outcome.as_ref().err());
        let mut failed: Vec<_> = failed.map(ToString::to_string).collect();
        failed.retain(|reason| !reason.contains("failpoint"));
        assert!(failed.is_empty(), "{failed:?}");
        let is_hit = |(outcome, _): &&Outcome| matches!(outcome, Err(RunError::Failed(_)));
        hits += outcomes.iter().filter(is_hit).count();
    }
    for (outcome, fates) in cluster((2, 1), &outputs, &store, |_, _| {}) {
        outcome.unwrap();
        assert!(fates.balance(), "{fates:?}");
    }
    outputs.assert_same(&whole, &format!("after {hits} interruptions at {ends:?}"));
}

#[test]
fn clusters_of_any_size_that_are_ended_anywhere_publish_everything_once() {
    let sizes = [(2, 1), (3, 2), (1, 1), (1, 3), (2, 2)];
    for (index, failpoint) in FAILPOINTS.into_iter().enumerate() {
        let ends = [
            (failpoint, 4, index),
            (failpoint, 7, index + 1),
            (failpoint, 3, 0),
            (failpoint, 5, 0),
            (failpoint, 6, 1),
        ];
        check(&ends, &sizes);
    }
}

#[test]
fn a_cluster_is_told_of_as_a_whole_in_its_manifest() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    for (outcome, _) in cluster((3, 2), &outputs, &store, |_, _| {}) {
        outcome.unwrap();
    }
    let location = Location::store(Arc::new(store.clone()));
    let kept = Checkpoints::open(&CheckpointOptions::new(location), "test").unwrap();
    let newest = kept.newest().unwrap().unwrap();
    assert_eq!((newest.processes, newest.workers), (3, 6));
    let mut owners = newest.parts().map(|part| part.worker);
    assert!(owners.any(|worker| worker >= 4), "{newest:?}");
    let partitions = newest.source("facts").unwrap().partitions.len();
    assert_eq!(partitions, 3);
}

#[test]
fn of_two_clusters_at_once_the_older_one_ends_and_nothing_is_published_twice() {
    let whole = Outputs::default();
    to_end(options(1, Order::EventTime, None), &whole);
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    let older = {
        let (outputs, store) = (outputs.clone(), store.clone());
        thread::spawn(move || cluster((2, 1), &outputs, &store, |_, _| {}))
    };
    while store.objects().len() < 8 {
        thread::sleep(millis(1));
    }
    let newer = cluster((2, 2), &outputs, &store, |_, _| {});
    let older = older.join().expect("it does not panic");
    for (outcome, fates) in newer {
        outcome.unwrap();
        assert!(fates.balance(), "{fates:?}");
    }
    for (outcome, _) in older {
        // It may have come to its end just before.
        let is_over = matches!(outcome, Ok(()) | Err(RunError::Superseded(_)));
        assert!(is_over, "{outcome:?}");
    }
    outputs.assert_same(&whole, "after the older one has ended");
}

#[test]
fn what_one_process_finds_damaged_no_process_begins_with() {
    let (store, outputs) = (SimulatedStore::new(1), Outputs::default());
    cluster((2, 1), &outputs, &store, |_, _| {});
    let location = Location::store(Arc::new(store.clone()));
    let kept = Checkpoints::open(&CheckpointOptions::new(location), "test").unwrap();
    let newest = kept.newest().unwrap().unwrap();
    let part = newest.parts().find(|part| part.worker == 1).unwrap();
    let mut bytes = store.objects()[&part.file].clone();
    *bytes.last_mut().expect("a part has bytes") ^= 1;
    store.put(&part.file, Some(bytes));
    for (outcome, _) in cluster((3, 1), &outputs, &store, |_, _| {}) {
        let error = outcome.expect_err("a part is damaged");
        assert!(matches!(error, RunError::Plan(_)), "{error:?}");
        assert!(error.to_string().contains(&part.file), "{error}");
    }
}
