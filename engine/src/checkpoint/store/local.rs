//! A folder of the machine.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Object, Store};
use crate::checkpoint::error::StoreError;

/// A store in a local folder, which is made when it is first written to.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
}

impl Local {
    /// The store in this folder.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
        }
    }
}

impl Store for Local {
    fn describe(&self) -> String {
        self.folder.display().to_string()
    }

    fn create(&self, _name: &str, _content: &[u8]) -> Result<(), StoreError> {
        unimplemented!()
    }

    fn read(&self, _name: &str) -> Result<Vec<u8>, StoreError> {
        unimplemented!()
    }

    fn read_range(&self, _name: &str, _range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        unimplemented!()
    }

    fn list(&self, _folder: &str) -> Result<Vec<Object>, StoreError> {
        unimplemented!()
    }

    fn delete(&self, _name: &str) -> Result<(), StoreError> {
        unimplemented!()
    }
}
