//! Crashes between any two durable steps, and stores that fail.

use super::rig::{Rig, check_newest, leftovers, open};
use crate::checkpoint::{CheckpointError, Checkpoints, Epoch, StartFrom};
use crate::testing::{SimulatedStore, StoreFaults, StoreStop};

/// A generation that seals some epochs, or ends where the store does; gives what it knows to be sealed.
fn run(checkpoints: &Checkpoints, workers: usize, epochs: u64) -> Epoch {
    let mut sealed = Epoch(0);
    let mut job = || -> Result<(), CheckpointError> {
        let generation = checkpoints.begin(&StartFrom::Newest)?;
        sealed = generation
            .restored()
            .map_or(Epoch(0), |restored| restored.epoch);
        let mut rig = Rig::new(checkpoints.clone(), generation, workers)?;
        for _ in 0..epochs {
            let draft = rig.try_draft()?;
            sealed = rig.generation.seal(&draft)?.epoch;
            rig.generation
                .published("alerts", Epoch(sealed.0.saturating_sub(1)));
            rig.generation.tidy()?;
        }
        Ok(())
    };
    // What stops it is the store.
    let ended = job();
    assert!(ended.is_ok() || ended.is_err_and(|error| error.is_transient()));
    sealed
}

#[test]
fn after_a_crash_at_any_point_the_newest_sealed_epoch_is_there_and_whole() {
    let mut points = 0;
    for happens in [false, true] {
        for change in 0.. {
            let store = SimulatedStore::new(1);
            let checkpoints = open(&store).expect("opened");
            run(&checkpoints, 2, 9);
            store.set_stop(Some(StoreStop { change, happens }));
            let sealed = run(&checkpoints, 3, 7);
            let is_done = store.changes() <= change;
            store.set_stop(None);

            let newest = check_newest(&open(&store).expect("opened"));
            assert!(newest.0 >= 9.max(sealed.0) && newest.0 <= sealed.0.max(9) + 1);
            let next = run(&checkpoints, 1, 1);
            assert_eq!(next.0, newest.0 + 1);
            assert_eq!(check_newest(&checkpoints), next);
            assert_eq!(leftovers(&store, &checkpoints), Vec::<String>::new());
            points += 1;
            if is_done {
                break;
            }
        }
    }
    assert!(points > 100, "only {points} points");
}

#[test]
fn a_store_that_fails_in_every_way_loses_nothing() {
    for seed in 0..60 {
        let store = SimulatedStore::new(seed);
        let checkpoints = open(&store).expect("opened");
        let faults = StoreFaults {
            fails: 0.1,
            loses_reply: 0.1,
            delays: 0.1,
            is_full: 0.1,
        };
        store.set_faults(faults);
        let mut sealed = 0;
        for epochs in [6, 3, 8] {
            let generation = loop {
                match checkpoints.begin(&StartFrom::Newest) {
                    Ok(generation) => break generation,
                    // A fence of an earlier try has come late: as when two start at once, another start
                    // helps.
                    Err(CheckpointError::Superseded { .. }) => {}
                    Err(error) => assert!(error.is_transient(), "seed {seed}: {error}"),
                }
            };
            let mut rig = Rig::patient(checkpoints.clone(), generation, 2);
            for _ in 0..epochs {
                match rig.epoch() {
                    Ok(manifest) => {
                        sealed += 1;
                        assert_eq!(manifest.epoch, Epoch(sealed), "seed {seed}");
                    }
                    // The late fence came even later.
                    Err(CheckpointError::Superseded { .. }) => break,
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
        }
        store.set_faults(StoreFaults::default());
        assert_eq!(check_newest(&checkpoints).0, sealed, "seed {seed}");
    }
}

#[test]
fn a_full_store_says_that_waiting_helps() {
    let store = SimulatedStore::new(1);
    let checkpoints = open(&store).expect("opened");
    let generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
    let mut rig = Rig::new(checkpoints, generation, 1).expect("restored");
    let draft = rig.draft().expect("written");
    store.set_faults(StoreFaults {
        is_full: 1.0,
        ..StoreFaults::default()
    });
    let error = rig.generation.seal(&draft).expect_err("there is no room");
    assert!(error.is_transient());
    let expected = "cannot write `simulated/log/00000000000000000002.json`: there is no room; free \
                    some room there";
    assert_eq!(error.to_string(), expected);
    let mut other = draft.clone();
    other.workers += 1;
    let error = rig.generation.seal(&other).expect_err("another draft");
    assert!(matches!(error, CheckpointError::Draft { .. }), "{error}");
    store.set_faults(StoreFaults::default());
    rig.generation.seal(&draft).expect("there is room again");
    assert_eq!(check_newest(&rig.checkpoints), Epoch(1));
}
