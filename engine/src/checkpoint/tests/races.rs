//! Generations that run at once.

use std::sync::Barrier;
use std::thread;

use super::rig::{PIPELINE, Rig, check_newest, open, options};
use crate::checkpoint::{CheckpointError, Checkpoints, Epoch, Location, StartFrom};
use crate::testing::{SimulatedStore, StoreFaults};

#[test]
fn the_older_generation_ends_at_its_next_append_and_certifies_nothing() {
    let store = SimulatedStore::new(1);
    let checkpoints = open(&store).expect("opened");
    let begin = |workers| {
        let generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
        Rig::new(checkpoints.clone(), generation, workers).expect("restored")
    };
    let mut older = begin(2);
    older.epoch().expect("sealed");
    let draft = older.draft().expect("written");
    let mut newer = begin(1);
    // However much later: by now everything from before the fence has gone.
    for later in 0..12 {
        let error = older.generation.seal(&draft).expect_err("it is fenced off");
        let CheckpointError::Superseded {
            generation, other, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*generation, *other), (1, 2), "{later} epochs later");
        older.generation.tidy().expect("it may tidy up");
        newer.epoch().expect("sealed");
        assert_eq!(check_newest(&checkpoints), Epoch(later + 2));
    }
}

#[test]
fn of_many_that_begin_and_seal_at_once_each_entry_goes_to_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = options(Location::folder(folder.path()));
    let checkpoints = Checkpoints::open(&options, PIPELINE).expect("opened");
    let barrier = Barrier::new(3);
    let race = |_| {
        let mut sealed = Vec::new();
        for _ in 0..6 {
            barrier.wait();
            let Ok(generation) = checkpoints.begin(&StartFrom::Newest) else {
                continue;
            };
            let Ok(mut rig) = Rig::new(checkpoints.clone(), generation, 1) else {
                // Whoever has begun after it may have tidied up what it was to restore.
                continue;
            };
            while let Ok(manifest) = rig.epoch() {
                sealed.push((manifest.epoch, manifest.generation));
                if sealed.len() % 4 == 0 {
                    break;
                }
            }
        }
        sealed
    };
    let mut sealed: Vec<_> = thread::scope(|scope| {
        let race = &race;
        let threads: Vec<_> = (0..3).map(|i| scope.spawn(move || race(i))).collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread fails"));
        joined.flatten().collect()
    });
    sealed.sort_unstable_by_key(|(epoch, _)| *epoch);
    let epochs: Vec<_> = sealed.iter().map(|(epoch, _)| epoch.0).collect();
    assert_eq!(
        epochs,
        (1..=epochs.len() as u64).collect::<Vec<_>>(),
        "each is sealed by one"
    );
    assert!(epochs.len() >= 6, "only {} epochs", epochs.len());
    assert!(sealed.is_sorted_by_key(|(_, generation)| generation.number));
    assert_eq!(check_newest(&checkpoints).0, epochs.len() as u64);
}

/// Two generations take turns in an order that comes from a seed, on a store that fails.
#[test]
fn whatever_the_turns_and_the_faults_no_epoch_is_sealed_twice() {
    for seed in 0..200u64 {
        let store = SimulatedStore::new(seed);
        let checkpoints = open(&store).expect("opened");
        store.set_faults(StoreFaults {
            loses_reply: 0.1,
            delays: 0.15,
            fails: 0.1,
            ..StoreFaults::default()
        });
        let mut jobs = [None, None];
        let mut sealed = std::collections::BTreeMap::new();
        let mut random = seed;
        for _ in 0..120 {
            random = random
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(0x1405_7b7e_f767_814f);
            let job = &mut jobs[usize::from(random >> 63 == 1)];
            let is_start = (random >> 40).is_multiple_of(16);
            turn(&checkpoints, job, is_start, &mut sealed);
        }
        store.set_faults(StoreFaults::default());
        let newest = check_newest(&checkpoints);
        assert!(sealed.keys().all(|epoch| *epoch <= newest), "seed {seed}");
        for manifest in checkpoints.list().expect("a list") {
            // It may have been sealed by a call that has never heard of it.
            if let Some(generation) = sealed.get(&manifest.epoch) {
                assert_eq!(*generation, manifest.generation, "seed {seed}");
            }
        }
    }
}

type Sealed = std::collections::BTreeMap<Epoch, crate::checkpoint::GenerationId>;

struct Job {
    rig: Rig,
    draft: Option<crate::checkpoint::ManifestDraft>,
}

/// One call of a job: to begin, to write, to seal or to tidy up. Trouble is met again in a later turn.
fn turn(checkpoints: &Checkpoints, slot: &mut Option<Job>, is_start: bool, sealed: &mut Sealed) {
    let Some(job) = slot.as_mut().filter(|_| !is_start) else {
        let begun = checkpoints.begin(&StartFrom::Newest).ok();
        let rig = begun.and_then(|generation| Rig::new(checkpoints.clone(), generation, 1).ok());
        *slot = rig.map(|rig| Job { rig, draft: None });
        return;
    };
    let Some(draft) = job.draft.take() else {
        match job.rig.draft() {
            Ok(draft) => job.draft = Some(draft),
            Err(_) => *slot = None,
        }
        return;
    };
    match job.rig.generation.seal(&draft) {
        Ok(manifest) => {
            let other = sealed.insert(manifest.epoch, manifest.generation);
            assert_eq!(other, None, "epoch {} is sealed twice", manifest.epoch);
            // Whatever it does not get done now it does later.
            let _ = job.rig.generation.tidy();
        }
        Err(error) if error.is_transient() => job.draft = Some(draft),
        Err(CheckpointError::Superseded { .. }) => *slot = None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_place_that_is_merely_called_so_is_not_the_one_of_the_cluster() {
    let (store, other) = (SimulatedStore::new(1), SimulatedStore::new(2));
    let (own, away) = (open(&store).expect("opened"), open(&other).expect("opened"));
    let first = own.begin(&StartFrom::Newest).expect("begun").id();
    own.check_shared(first).expect("it is the same place");
    let empty = away.check_shared(first).expect_err("it is another one");
    away.begin(&StartFrom::Newest).expect("begun");
    let used = away.check_shared(first).expect_err("it is another one");
    for error in [empty, used] {
        assert!(error.to_string().contains("that they share"), "{error}");
    }
    // Whoever begins later has seen this one.
    own.begin(&StartFrom::Newest).expect("begun");
    own.check_shared(first).expect("it is the same place");
}
