//! A file has one writer at a time: whoever writes it holds its lock, which the operating system takes
//! back when the process ends.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// How often, and after which pause, to try again for a lock that somebody has.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// Locks a file for as long as it is open.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] when another writer has it.
pub(crate) fn take(file: &File) -> io::Result<()> {
    // It may be a check, which looks for a moment only.
    for _ in 0..TRIES {
        match settle(file, file.try_lock()) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            settled => return settled,
        }
    }
    settle(file, file.try_lock())
}

/// Shows that no writer has the file. Any number of checks may look at once.
///
/// # Errors
/// As [`take`].
pub(crate) fn check(file: &File) -> io::Result<()> {
    settle(file, file.try_lock_shared())?;
    match file.unlock() {
        Err(error) if error.kind() != ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}

/// A pipe or a device may have many writers, and some file systems know no locks.
fn settle(file: &File, outcome: Result<(), TryLockError>) -> io::Result<()> {
    match outcome {
        Err(TryLockError::WouldBlock) if file.metadata()?.is_file() => {
            Err(ErrorKind::ResourceBusy.into())
        }
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(error),
        _ => Ok(()),
    }
}
