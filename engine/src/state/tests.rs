use proptest::prelude::*;

use super::*;

fn contents(state: &KeyedState<u64, u32>) -> BTreeMap<u64, u32> {
    state.iter().map(|(key, value)| (*key, *value)).collect()
}

#[test]
fn changed_keys_restore_elsewhere_and_only_the_changed_ones_are_taken() {
    let mut state = KeyedState::<u64, u32>::default();
    (0..100).for_each(|key| *state.entry(&key) += 1);
    let base = state.take_changed().unwrap();
    *state.entry(&7) += 10;
    assert_eq!(state.retain(|key, _| *key != 8), 1);
    let delta = state.take_changed().unwrap();
    assert_eq!(
        delta.values().map(|bytes| bytes.len()).sum::<usize>(),
        3 + 2
    );

    let mut restored = KeyedState::<u64, u32>::default();
    for bytes in base.values().chain(delta.values()) {
        restored.restore("count", bytes).unwrap();
    }
    assert_eq!(contents(&restored), contents(&state));
    assert_eq!(restored.get(&7), Some(&11));
    assert_eq!(restored.get(&8), None);
    assert!(restored.take_changed().unwrap().is_empty());
}

#[test]
fn changes_are_noted_only_once_somebody_asks() {
    let mut state = KeyedState::<u64, u32>::default();
    (0..100).for_each(|key| *state.entry(&key) += 1);
    state.retain(|key, _| key % 2 == 0);
    state.remove(&98);
    assert!(state.changes.is_none(), "a key is kept for nobody");
    let mut restored = KeyedState::<u64, u32>::default();
    for bytes in state.take_changed().unwrap().values() {
        restored.restore("count", bytes).unwrap();
    }
    assert_eq!(contents(&restored), contents(&state));
    assert!(state.take_changed().unwrap().is_empty());
    (0..3).for_each(|_| *restored.entry(&4) += 1);
    let changed = restored.take_changed().unwrap();
    assert_eq!(changed.values().map(Vec::len).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_key_that_goes_and_comes_back_between_two_takes_is_restored_as_it_is() {
    let mut state = KeyedState::<u64, u32>::default();
    *state.entry(&1) = 10;
    *state.entry(&2) = 20;
    let base = state.take_changed().unwrap();
    assert_eq!(state.remove(&1), Some(10));
    *state.entry(&1) += 11;
    *state.entry(&2) += 1;
    assert_eq!(state.remove(&2), Some(21));
    assert_eq!(state.remove(&3), None);
    let delta = state.take_changed().unwrap();

    let mut restored = KeyedState::<u64, u32>::default();
    for bytes in base.values().chain(delta.values()) {
        restored.restore("count", bytes).unwrap();
    }
    assert_eq!(contents(&restored), BTreeMap::from([(1, 11)]));
}

#[test]
fn many_keys_come_and_go_as_in_a_map() {
    let (mut state, mut map) = (KeyedState::<u64, u32>::default(), BTreeMap::new());
    let mut base = BTreeMap::new();
    let mut random = 1u64;
    for step in 0..60_000u32 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let key = (random >> 33) % 5_000;
        match (random >> 60, step) {
            (0..9, _) => {
                *state.entry(&key) += step;
                *map.entry(key).or_default() += step;
            }
            (9..15, _) => assert_eq!(state.remove(&key), map.remove(&key)),
            (_, _) if step % 40 == 0 => {
                let kept = |key: &u64| key % 7 != u64::from(step) % 7;
                let before = map.len();
                map.retain(|key, _| kept(key));
                assert_eq!(state.retain(|key, _| kept(key)), before - map.len());
            }
            _ => assert_eq!(state.get(&key), map.get(&key)),
        }
        if step % 20_000 == 9_999 {
            for (group, bytes) in state.take_changed().unwrap() {
                base.entry(group).or_insert_with(Vec::new).extend(bytes);
            }
            let mut restored = KeyedState::<u64, u32>::default();
            for bytes in base.values() {
                restored.restore("count", bytes).unwrap();
            }
            assert_eq!(contents(&restored), map);
            assert!(restored.take_changed().unwrap().is_empty());
        }
    }
    assert_eq!((contents(&state), state.len()), (map.clone(), map.len()));
    assert!(map.len() > 1_000);
}

#[test]
fn merged_pieces_restore_what_they_do_one_after_the_other() {
    let mut state = KeyedState::<u64, u32>::default();
    let mut taken = BTreeMap::<_, Vec<Piece>>::new();
    for round in 0..5 {
        (0..50).for_each(|key| *state.entry(&(key * (round + 1) % 70)) += 1);
        state.retain(|key, _| key % 11 != round);
        for (group, bytes) in state.take_changed().unwrap() {
            taken.entry(group).or_default().push(Piece {
                state_version: 1,
                fingerprint: 0,
                bytes,
            });
        }
    }
    let mut restored = KeyedState::<u64, u32>::default();
    for pieces in taken.values() {
        let merged = merge_pieces::<u64, u32>("count", pieces).unwrap();
        let bytes: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
        assert!(merged.len() <= bytes);
        restored.restore("count", &merged).unwrap();
    }
    assert_eq!(contents(&restored), contents(&state));
}

#[test]
fn foreign_bytes_are_refused_by_name() {
    let mut state = KeyedState::<String, u32>::default();
    let error = state.restore("count", &[250, 1, 2]).unwrap_err();
    assert!(error.to_string().contains("`count`"));
}

/// What happens to a state, or is asked of it.
#[derive(Clone, Debug)]
enum Step {
    Add(u64),
    Remove(u64),
    /// Drops the keys with this remainder by seven.
    Drop(u64),
    /// Begins to take, if need be, as a base or not, and takes up to so many keys.
    Take(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..40_u64).prop_map(Step::Add),
        2 => (0..40_u64).prop_map(Step::Remove),
        1 => (0..7_u64).prop_map(Step::Drop),
        4 => (0..5_usize, any::<bool>()).prop_map(|(most, as_base)| Step::Take(most, as_base)),
    ]
}

proptest! {
    /// A map copied at the moment at which taking began is the oracle of what was taken.
    #[test]
    fn keys_that_are_taken_little_by_little_are_as_they_were_when_that_began(
        steps in proptest::collection::vec(step(), 0..300),
    ) {
        let (mut state, mut map) = (KeyedState::<u64, u32>::default(), BTreeMap::new());
        let (mut taken, mut room) = (EncodedKeys::new(), EncodedKeys::new());
        let mut as_it_was: Option<BTreeMap<u64, u32>> = None;
        for step in steps {
            match step {
                Step::Add(key) => {
                    *state.entry(&key) += 1;
                    *map.entry(key).or_default() += 1;
                }
                Step::Remove(key) => prop_assert_eq!(state.remove(&key), map.remove(&key)),
                Step::Drop(rest) => {
                    state.retain(|key, _| key % 7 != rest);
                    map.retain(|key, _| key % 7 != rest);
                }
                Step::Take(most, as_base) => {
                    if as_it_was.is_none() {
                        let room = std::mem::take(&mut room);
                        if state.begin_taking(TakeHow { as_base, room }) {
                            taken.clear();
                        }
                        as_it_was = Some(map.clone());
                    }
                    let Some(groups) = state.take_some(most).unwrap() else { continue };
                    for (group, mut bytes) in groups {
                        taken.entry(group).or_default().extend_from_slice(&bytes);
                        bytes.clear();
                        room.insert(group, bytes);
                    }
                    let mut restored = KeyedState::<u64, u32>::default();
                    for bytes in taken.values() {
                        restored.restore("count", bytes).unwrap();
                    }
                    prop_assert_eq!(Some(contents(&restored)), as_it_was.take());
                }
            }
        }
        prop_assert_eq!(contents(&state), map);
    }
}

#[test]
fn no_more_keys_are_taken_at_once_than_asked_for() {
    let mut state = KeyedState::<u64, u32>::default();
    (0..100).for_each(|key| *state.entry(&key) += 1);
    assert!(
        state.begin_taking(TakeHow::default()),
        "nobody has asked before"
    );
    for _ in 0..9 {
        assert_eq!(state.take_some(10).unwrap(), None);
    }
    let taken = state.take_some(10).unwrap().expect("a hundred are taken");
    assert_eq!(taken.values().map(Vec::len).sum::<usize>(), 300);
    assert!(!state.begin_taking(TakeHow::default()));
    assert_eq!(state.take_some(0).unwrap(), Some(EncodedKeys::new()));
}

#[test]
fn all_keys_are_taken_where_that_is_wanted_and_most_have_changed() {
    let mut state = KeyedState::<u64, u32>::default();
    (0..100).for_each(|key| *state.entry(&key) += 1);
    state.take_changed().unwrap();
    let mut check = |changed: u64, as_base, expected_keys: usize| {
        (0..changed).for_each(|key| *state.entry(&key) += 1);
        let room = EncodedKeys::new();
        let is_base = state.begin_taking(TakeHow { as_base, room });
        assert_eq!(is_base, expected_keys == 100);
        let taken = state.take_some(usize::MAX).unwrap().expect("all at once");
        assert_eq!(
            taken.values().map(Vec::len).sum::<usize>(),
            3 * expected_keys
        );
    };
    check(60, false, 60);
    check(49, true, 49);
    check(50, true, 100);
    check(0, false, 0);
}
