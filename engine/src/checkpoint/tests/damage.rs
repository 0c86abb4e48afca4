//! Damaged, truncated and missing files.

use proptest::prelude::*;

use super::rig::{PIPELINE, Rig, States, expected, load, open, options, simulated};
use crate::checkpoint::{CheckpointError, Checkpoints, Epoch, StartFrom, Verified};
use crate::testing::SimulatedStore;

fn sealed() -> SimulatedStore {
    let store = SimulatedStore::new(1);
    let checkpoints = open(&store).expect("opened");
    for workers in [2, 1] {
        let generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
        let mut rig = Rig::new(checkpoints.clone(), generation, workers).expect("restored");
        (0..7).for_each(|_| drop(rig.epoch().expect("sealed")));
    }
    store
}

/// What a restart finds.
fn restored(store: &SimulatedStore) -> Result<(Option<Epoch>, States), CheckpointError> {
    let checkpoints = open(store)?;
    let generation = checkpoints.begin(&StartFrom::Newest)?;
    let epoch = generation.restored().map(|manifest| manifest.epoch);
    Ok((epoch, Rig::new(checkpoints, generation, 2)?.states))
}

/// Does something to a file, and checks that a restart either finds what it would have found, or names
/// the file.
fn check(store: &SimulatedStore, file: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let before = restored(&store.copy()).expect("nothing is wrong yet");
    let hurt = store.copy();
    let content = store.objects().remove(file).expect("a known file");
    hurt.put(file, change(content));
    match restored(&hurt.copy()) {
        Ok(found) => assert_eq!(found, before, "{file}"),
        Err(error) => {
            assert!(!error.is_transient(), "{error}");
            assert!(error.to_string().contains(file), "{file}: {error}");
        }
    }
    let problems = verify(&hurt).problems;
    let is_named = |problem: &String| problem.contains(file);
    assert!(problems.iter().any(is_named), "{file}: {problems:?}");
}

fn verify(store: &SimulatedStore) -> Verified {
    let checkpoints = Checkpoints::unread(&options(simulated(store)), PIPELINE).expect("a store");
    checkpoints.verify().expect("the store is there")
}

/// The files that a restart or somebody who asks for an older epoch needs.
fn needed(store: &SimulatedStore) -> Vec<String> {
    let checkpoints = open(store).expect("opened");
    let kept = checkpoints.list().expect("a list");
    let mut files: Vec<_> = kept
        .iter()
        .flat_map(|manifest| manifest.parts())
        .map(|part| part.file.clone())
        .collect();
    files.extend(
        kept.iter()
            .map(|manifest| format!("log/{:020}.json", manifest.entry)),
    );
    files.sort_unstable();
    files.dedup();
    files
}

#[test]
fn a_missing_or_empty_file_is_named() {
    let store = sealed();
    let newest = open(&store)
        .expect("opened")
        .newest()
        .expect("read")
        .expect("sealed");
    let newest = format!("log/{:020}.json", newest.entry);
    for file in needed(&store) {
        // That the newest of all is not there, nobody can know.
        if file != newest {
            check(&store, &file, |_| None);
        }
        check(&store, &file, |_| Some(Vec::new()));
    }
}

#[test]
fn a_part_in_the_place_of_another_is_named() {
    let store = sealed();
    let parts: Vec<_> = needed(&store)
        .into_iter()
        .filter(|file| file.starts_with("parts"))
        .collect();
    for pair in parts.windows(2) {
        let other = store.objects().remove(&pair[1]).expect("a known file");
        check(&store, &pair[0], |_| Some(other));
    }
}

#[test]
fn a_gap_in_the_log_is_named() {
    let store = sealed();
    let checkpoints = open(&store).expect("opened");
    let kept = checkpoints.list().expect("a list");
    let gap = format!("log/{:020}.json", kept[1].entry);
    store.put(&gap, None);
    let error = checkpoints.list().expect_err("there is a gap").to_string();
    assert!(
        error.starts_with(&format!("`simulated/{gap}` is missing")),
        "{error}"
    );
    assert!(
        checkpoints
            .newest()
            .is_ok_and(|newest| newest == kept.last().cloned())
    );
}

#[test]
fn a_fence_that_was_sealed_upon_is_enough_when_nothing_else_is_left() {
    let store = SimulatedStore::new(1);
    let checkpoints = open(&store).expect("opened");
    checkpoints.begin(&StartFrom::Newest).expect("begun");
    checkpoints.begin(&StartFrom::Newest).expect("begun");
    assert_eq!(checkpoints.newest().expect("read"), None);
    store.put("log/00000000000000000001.json", None);
    let error = checkpoints.newest().expect_err("a gap");
    assert!(matches!(error, CheckpointError::Missing { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed(place in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8u32, cut in any::<bool>()) {
        let store = SEALED.with(SimulatedStore::copy);
        let files = needed(&store);
        let file = place.get(&files);
        check(&store, file, |mut content| {
            let at = at.index(content.len());
            if cut {
                content.truncate(at);
            } else {
                content[at] ^= 1 << bit;
            }
            Some(content)
        });
    }
}

thread_local! {
    static SEALED: SimulatedStore = sealed();
}

#[test]
fn what_is_loaded_is_what_was_sealed() {
    let store = sealed();
    let checkpoints = open(&store).expect("opened");
    for manifest in checkpoints.list().expect("a list") {
        let states = load(&checkpoints, &manifest).expect("whole");
        assert_eq!(states, expected(manifest.epoch));
    }
}
