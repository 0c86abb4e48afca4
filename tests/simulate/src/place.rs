//! The store of checkpoints, as one process after the other sees it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_engine::checkpoint::store::{Object, Store};
use thalweg_engine::checkpoint::{StoreError, StoreErrorKind};
use thalweg_engine::simulation::{Defect, Turns, is_killed, is_planted, pass};
use thalweg_engine::testing::SimulatedStore;

/// How many of the newest objects a crash takes with it where nothing is made safe.
const UNSAFE_OBJECTS: usize = 3;

/// A store that a killed process can no longer reach.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) store: SimulatedStore,
    turns: Turns,
    /// What has been made and may not be safe, with a planted defect.
    unsafe_objects: Arc<Mutex<Vec<String>>>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("simulated place")
    }
}

impl Place {
    pub(crate) fn new(store: SimulatedStore, turns: Turns) -> Self {
        Self {
            store,
            turns,
            unsafe_objects: Arc::default(),
        }
    }

    /// What a crash does to the store.
    pub(crate) fn crash(&self) {
        let mut objects = self
            .unsafe_objects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let safe = objects.len().saturating_sub(UNSAFE_OBJECTS);
        objects
            .drain(safe..)
            .for_each(|name| self.store.put(&name, None));
        objects.clear();
    }

    fn call<R>(
        &self,
        what: &str,
        name: &str,
        call: impl FnOnce() -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        pass();
        if is_killed() {
            return Err(StoreError::new(
                StoreErrorKind::Denied,
                "the process was killed",
            ));
        }
        let outcome = call();
        let shown = match &outcome {
            Ok(_) => "done".to_owned(),
            Err(error) => format!("{:?}", error.kind),
        };
        self.turns.note(&format!("{what} {name}: {shown}"));
        outcome
    }
}

impl Store for Place {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let made = self.call("create", name, || self.store.create(name, content));
        if made.is_ok() && is_planted(Defect::SkipFsync) {
            let objects = self.unsafe_objects.lock();
            objects
                .unwrap_or_else(PoisonError::into_inner)
                .push(name.to_owned());
        }
        made
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.call("read", name, || self.store.read(name))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.call("read of", name, || self.store.read_range(name, range))
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        self.call("list", folder, || self.store.list(folder))
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.call("delete", name, || self.store.delete(name))
    }
}
