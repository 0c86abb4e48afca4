//! Stores: where the files of checkpoints are kept.

#[cfg(feature = "cloud")]
mod cloud;
mod local;
mod within;

use std::fmt::Debug;
use std::ops::Range;

use super::error::StoreError;

#[cfg(feature = "cloud")]
pub use cloud::Cloud;
pub use local::Local;
pub(super) use local::random;
pub(super) use within::Within;

/// An object in a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// A store of objects that are made once and never changed.
///
/// What one call has made, every later call of anybody sees, and it outlasts a crash of the machine.
/// Names are path segments of `A-Z a-z 0-9 . _ -`, joined by `/`.
pub trait Store: Debug + Send + Sync + 'static {
    /// Where it is, for messages.
    fn describe(&self) -> String;

    /// Makes an object, unless there is one of this name. It is durable when the call returns, and
    /// nobody ever sees a part of it.
    ///
    /// # Errors
    /// [`AlreadyExists`](super::StoreErrorKind::AlreadyExists) when there is one, even of the same
    /// content: it is durable, too. After any other error it may have been made or not, or may yet be.
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError>;

    /// Reads an object.
    ///
    /// # Errors
    /// [`NotFound`](super::StoreErrorKind::NotFound) when there is none, and others.
    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError>;

    /// Reads the bytes in `range`, as many of them as there are.
    ///
    /// # Errors
    /// As [`Store::read`].
    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError>;

    /// The objects whose names begin with `folder` and `/`, ordered by name.
    ///
    /// # Errors
    /// When they cannot be listed; a folder in which there is nothing is no error.
    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError>;

    /// Deletes an object; one that is not there is no error.
    ///
    /// # Errors
    /// When it may still be there.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Deletes what calls that were killed have left half done, where the store has such a thing.
    ///
    /// # Errors
    /// When it cannot.
    fn sweep(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
