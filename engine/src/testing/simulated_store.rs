//! A store in memory that can fail in every way that a real one can.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::store::{Object, Store};
use crate::checkpoint::{StoreError, StoreErrorKind};

/// How often what goes wrong, each from 0 (never, which is the default) to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFaults {
    /// Any call: it fails, and nothing has happened.
    pub fails: f64,
    /// A change: it happens, and the call fails nevertheless.
    pub loses_reply: f64,
    /// The making of an object: the call fails, and it happens later, some calls on.
    pub delays: f64,
    /// The making of an object: there is no room for it.
    pub is_full: f64,
}

/// A store in memory whose faults come from a seed: the same calls give the same faults. Clones share it.
#[derive(Clone, Debug)]
pub struct SimulatedStore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// What is yet to happen, each with the number of the call before which it does.
    delayed: Vec<(u64, String, Vec<u8>)>,
    faults: StoreFaults,
    random: u64,
    calls: u64,
    changes: u64,
    stop: Option<StoreStop>,
}

/// When a store stops answering, as it looks to a process that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreStop {
    /// At which change, from 0.
    pub change: u64,
    /// Whether this change still happens.
    pub happens: bool,
}

/// Over how many further calls a delayed change may be late.
const DELAY_CALLS_MAX: u64 = 20;

impl SimulatedStore {
    /// An empty store without faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            delayed: Vec::new(),
            faults: StoreFaults::default(),
            random: seed,
            calls: 0,
            changes: 0,
            stop: None,
        })))
    }

    /// Sets how often what goes wrong from now on.
    pub fn set_faults(&self, faults: StoreFaults) {
        self.state().faults = faults;
    }

    /// Sets when it stops, counting changes from now on; or has it answer again.
    pub fn set_stop(&self, stop: Option<StoreStop>) {
        let mut state = self.state();
        state.changes = 0;
        state.stop = stop;
    }

    /// How many changes were asked for since the store was made or [`SimulatedStore::set_stop`] called.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// A store with the same objects and no faults, which goes its own way from now on.
    pub fn copy(&self) -> Self {
        let copy = Self::new(0);
        copy.state().objects = self.state().objects.clone();
        copy
    }

    /// The objects, by name.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().objects.clone()
    }

    /// Changes an object behind everybody's back, or takes it away with `None`.
    pub fn put(&self, name: &str, content: Option<Vec<u8>>) {
        let mut state = self.state();
        match content {
            Some(content) => state.objects.insert(name.to_owned(), content),
            None => state.objects.remove(name),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the simulated store is away")
}

impl State {
    /// A number from 0 to below 1 (splitmix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.random() < share
    }

    /// Begins a call: what was delayed until now happens first.
    fn begin(&mut self) -> Result<(), StoreError> {
        self.calls += 1;
        let (due, later) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|(call, ..)| *call <= self.calls);
        self.delayed = later;
        let due: Vec<_> = due;
        for (_, name, content) in due {
            self.objects.entry(name).or_insert(content);
        }
        let is_stopped = self.stop.is_some_and(|stop| self.changes > stop.change);
        if is_stopped || self.chance(self.faults.fails) {
            return Err(away());
        }
        Ok(())
    }

    /// Begins a change, and says whether the reply to it gets lost.
    fn begin_change(&mut self) -> Result<bool, StoreError> {
        let change = self.changes;
        let begun = self.begin();
        self.changes += 1;
        begun?;
        match self.stop {
            Some(stop) if stop.change == change && !stop.happens => Err(away()),
            Some(stop) if stop.change == change => Ok(true),
            _ => Ok(self.chance(self.faults.loses_reply)),
        }
    }
}

impl Store for SimulatedStore {
    fn describe(&self) -> String {
        "simulated".to_owned()
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        let is_lost = state.begin_change()?;
        let StoreFaults {
            is_full, delays, ..
        } = state.faults;
        if state.chance(is_full) {
            return Err(StoreError::new(StoreErrorKind::Full, "there is no room"));
        }
        if state.chance(delays) {
            let late = (state.random() * DELAY_CALLS_MAX as f64) as u64 + 1;
            let call = state.calls + late;
            state
                .delayed
                .push((call, name.to_owned(), content.to_vec()));
            return Err(away());
        }
        let made = if state.objects.contains_key(name) {
            Err(StoreError::new(
                StoreErrorKind::AlreadyExists,
                "it is there",
            ))
        } else {
            state.objects.insert(name.to_owned(), content.to_vec());
            Ok(())
        };
        if is_lost { Err(away()) } else { made }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut state = self.state();
        state.begin()?;
        let object = state.objects.get(name).cloned();
        object.ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, "it is not there"))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut object = self.read(name)?;
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(object.len());
        let (first, last) = (place(range.start), place(range.end));
        object.truncate(last);
        Ok(object.split_off(first.min(last)))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let mut state = self.state();
        state.begin()?;
        let is_in = |name: &str| {
            let rest = name.strip_prefix(folder);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let objects = state.objects.iter().filter(|(name, _)| is_in(name));
        let object = |(name, content): (&String, &Vec<u8>)| Object {
            name: name.clone(),
            bytes: content.len() as u64,
        };
        Ok(objects.map(object).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let mut state = self.state();
        let is_lost = state.begin_change()?;
        state.objects.remove(name);
        if is_lost { Err(away()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance::check_store;

    #[test]
    fn without_faults_it_is_a_store() {
        check_store(&SimulatedStore::new(1));
    }

    #[test]
    fn it_stops_at_a_change_before_or_after_it() {
        for happens in [false, true] {
            let store = SimulatedStore::new(1);
            store.set_stop(Some(StoreStop { change: 1, happens }));
            store.create("log/1", b"a").expect("made");
            for name in ["log/2", "log/3"] {
                let error = store.create(name, b"b").expect_err("it has stopped");
                assert!(error.is_transient());
            }
            assert!(store.read("log/1").is_err());
            store.set_stop(None);
            assert_eq!(
                store.list("log").expect("a list").len(),
                1 + usize::from(happens)
            );
        }
    }

    #[test]
    fn what_was_late_comes_unless_another_was_first() {
        let store = SimulatedStore::new(1);
        store.set_faults(StoreFaults {
            delays: 1.0,
            ..StoreFaults::default()
        });
        assert!(store.create("log/1", b"late").is_err());
        assert!(store.create("log/2", b"late").is_err());
        store.set_faults(StoreFaults::default());
        assert!(
            store.create("log/2", b"first").is_ok(),
            "it is later than this call"
        );
        (0..DELAY_CALLS_MAX).for_each(|_| drop(store.list("log")));
        assert_eq!(store.read("log/1").expect("it has come"), b"late");
        assert_eq!(store.read("log/2").expect("it was first"), b"first");
    }
}
