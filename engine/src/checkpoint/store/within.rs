//! A folder of another store, as a store.

use std::ops::Range;
use std::sync::Arc;

use super::{Object, Store};
use crate::checkpoint::error::StoreError;

/// The objects of a store whose names begin with a folder, without it.
#[derive(Debug)]
pub(in crate::checkpoint) struct Within {
    store: Arc<dyn Store>,
    folder: String,
}

impl Within {
    /// The objects of `store` in `folder`.
    pub(in crate::checkpoint) fn new(store: Arc<dyn Store>, folder: String) -> Self {
        Self { store, folder }
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }
}

impl Store for Within {
    fn describe(&self) -> String {
        format!("{}/{}", self.store.describe(), self.folder)
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        self.store.create(&self.name(name), content)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.store.read(&self.name(name))
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        self.store.read_range(&self.name(name), range)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let mut objects = self.store.list(&self.name(folder))?;
        for object in &mut objects {
            object.name.drain(..=self.folder.len());
        }
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete(&self.name(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SimulatedStore;
    use crate::testing::conformance::check_store;

    #[test]
    fn a_folder_of_a_store_is_a_store() {
        let store = Arc::new(SimulatedStore::new(1));
        check_store(&Within::new(store, "savepoints/friday".to_owned()));
    }
}
