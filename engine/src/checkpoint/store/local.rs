//! A folder of the machine.

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::{Object, Store};
use crate::checkpoint::error::{StoreError, StoreErrorKind};
use crate::turns;

/// Where files are written before they get their names.
const UNFINISHED: &str = "unfinished";

/// How often a file is written before it is given up to whoever sweeps it away.
const TRIES: usize = 3;

/// The numbers of "too many open files", in this process and in the system, on every Unix.
const TOO_MANY_OPEN: [i32; 2] = [23, 24];

/// A store in a local folder, which is made when it is first written to.
///
/// A folder that goes away later, perhaps with the disk that it is on, is not made anew, but waited
/// for: a new one would have nothing of what was written before.
///
/// A file is written under another name, synced, and linked to its own, which only one of several can
/// do; then its folder is synced. So the file system must know hard links.
#[derive(Debug)]
pub struct Local {
    folder: PathBuf,
    /// Device and number of the folder that was first written to.
    known: OnceLock<(u64, u64)>,
    /// Folders that are known to be durable: whoever has made one may have ended before it was.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Local {
    /// The store in this folder.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_owned(),
            known: OnceLock::new(),
            durable: Mutex::default(),
        }
    }

    /// Makes a folder of the store, if need be, and sees that it is durable.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.make_folders(folder)?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.contains(folder) {
            return Ok(());
        }
        for made in folder.ancestors().take_while(|made| *made != self.folder) {
            sync_folder(made.parent().unwrap_or(made))?;
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Makes a folder of the store with all those above it.
    fn make_folders(&self, folder: &Path) -> io::Result<()> {
        let Some(known) = self.known.get() else {
            make_folders(&self.folder)?;
            let identity = identity(&self.folder)?;
            self.known.get_or_init(|| identity);
            return make_folders(folder);
        };
        if identity(&self.folder).is_ok_and(|now| now == *known) {
            return make_folders(folder);
        }
        Err(io::Error::new(
            ErrorKind::StaleNetworkFileHandle,
            "the folder is not there any more",
        ))
    }

    /// Links the file to its name, for good.
    fn link(&self, unfinished: &Path, path: &Path) -> Result<(), StoreError> {
        let folder = path.parent().expect("invariant: an object is in a folder");
        self.make_folder(folder).map_err(store_error)?;
        let linked = fs::hard_link(unfinished, path).map_err(link_error);
        // The file that is there already may be one whose writer has not synced the folder yet.
        let is_there = match &linked {
            Ok(()) => true,
            Err(error) => error.kind == StoreErrorKind::AlreadyExists,
        };
        if is_there {
            sync_folder(folder).map_err(store_error)?;
        }
        linked
    }

    /// Writes the content to a file of no name that matters, and syncs it.
    fn write_unfinished(&self, content: &[u8]) -> io::Result<PathBuf> {
        let folder = self.folder.join(UNFINISHED);
        self.make_folders(&folder)?;
        let path = folder.join(format!("{:016x}", random()));
        let mut file = File::create_new(&path)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                // What cannot be deleted now is swept later.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }
}

/// What tells a folder from others that come to stand in its place.
fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes a folder with all those above it, each durable.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    make_folders(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(above)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// A number that no other process draws.
pub(in crate::checkpoint) fn random() -> u64 {
    turns::random().unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

fn store_error(error: io::Error) -> StoreError {
    let kind = match error.kind() {
        ErrorKind::NotFound => StoreErrorKind::NotFound,
        ErrorKind::AlreadyExists => StoreErrorKind::AlreadyExists,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        ErrorKind::TimedOut
        | ErrorKind::Interrupted
        | ErrorKind::ResourceBusy
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::StaleNetworkFileHandle => StoreErrorKind::Unavailable,
        _ if error
            .raw_os_error()
            .is_some_and(|n| TOO_MANY_OPEN.contains(&n)) =>
        {
            StoreErrorKind::Unavailable
        }
        _ => StoreErrorKind::Other,
    };
    StoreError::new(kind, error.to_string())
}

fn link_error(error: io::Error) -> StoreError {
    let mut error = store_error(error);
    match error.kind {
        // Somebody has swept it away: to write it again helps.
        StoreErrorKind::NotFound => error.kind = StoreErrorKind::Unavailable,
        StoreErrorKind::Denied | StoreErrorKind::Other => {
            error.reason += ", and the file system must know hard links";
        }
        _ => {}
    }
    error
}

impl Store for Local {
    fn describe(&self) -> String {
        self.folder.display().to_string()
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        // What another process takes for a killed one's and sweeps away before it is linked is written again.
        let mut tries = 1;
        loop {
            let unfinished = self.write_unfinished(content).map_err(|error| {
                let mut error = store_error(error);
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::AlreadyExists
                ) {
                    // It is not the object that was or was not there.
                    error.kind = StoreErrorKind::Other;
                }
                error
            })?;
            let linked = self.link(&unfinished, &self.folder.join(name));
            let is_swept = linked.is_err() && !unfinished.exists();
            // What cannot be deleted now is swept later.
            let _ = fs::remove_file(&unfinished);
            if !is_swept || tries == TRIES {
                return linked;
            }
            tries += 1;
        }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        fs::read(self.folder.join(name)).map_err(store_error)
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let read = || {
            let mut file = File::open(self.folder.join(name))?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = Vec::new();
            let length = range.end.saturating_sub(range.start);
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(store_error)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let mut objects = Vec::new();
        list_into(&self.folder.join(folder), folder, &mut objects).map_err(store_error)?;
        objects.sort();
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(store_error(error)),
            _ => Ok(()),
        }
    }

    fn sweep(&self) -> Result<(), StoreError> {
        for unfinished in self.list(UNFINISHED)? {
            self.delete(&unfinished.name)?;
        }
        Ok(())
    }
}

/// Adds the files in `path`, whose names begin with `prefix`; what goes away meanwhile is left out.
fn list_into(path: &Path, prefix: &str, objects: &mut Vec<Object>) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{prefix}/{name}");
        if metadata.is_dir() {
            list_into(&entry.path(), &name, objects)?;
        } else {
            let bytes = metadata.len();
            objects.push(Object { name, bytes });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;
    use crate::testing::conformance::check_store;

    #[test]
    fn a_local_folder_is_a_store() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        check_store(&Local::new(folder.path().join("made/on/demand")));
    }

    #[test]
    fn what_a_killed_writer_left_is_no_object_and_is_swept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Local::new(folder.path());
        store.write_unfinished(b"half").expect("a file");
        assert_eq!(store.list("log").expect("a list"), []);
        assert_eq!(store.list(UNFINISHED).expect("a list").len(), 1);
        store.sweep().expect("swept");
        assert_eq!(store.list(UNFINISHED).expect("a list"), []);
    }

    #[test]
    fn what_is_swept_while_it_is_written_is_written_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (own, other) = (Local::new(folder.path()), Local::new(folder.path()));
        let created = AtomicUsize::new(0);
        // Sweeps at most once while each of the files is written.
        let sweep_once = &|number: usize| {
            while created.load(Ordering::Acquire) == number {
                if !other.list(UNFINISHED).expect("a list").is_empty() {
                    return other.sweep().expect("swept");
                }
            }
        };
        thread::scope(|scope| {
            for number in 0..50 {
                let sweeper = scope.spawn(move || sweep_once(number));
                let name = format!("parts/{number}");
                own.create(&name, b"x").expect("written again");
                created.fetch_add(1, Ordering::Release);
                sweeper.join().expect("no panic");
            }
        });
        assert_eq!(own.list("parts").expect("a list").len(), 50);
    }

    #[test]
    fn a_folder_that_goes_away_is_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (here, away) = (folder.path().join("here"), folder.path().join("away"));
        let store = Local::new(&here);
        store.create("log/1", b"x").expect("it is there");
        fs::rename(&here, &away).expect("it can be renamed");
        for in_its_place in [false, true] {
            let error = store.create("log/2", b"x").expect_err("it is away");
            assert!(error.is_transient(), "{error}");
            assert_eq!(here.exists(), in_its_place, "nothing is made anew");
            let _ = fs::create_dir(&here);
        }
        fs::remove_dir(&here).expect("it is empty");
        fs::rename(&away, &here).expect("it can be renamed");
        store.create("log/2", b"x").expect("it is there again");
        assert_eq!(store.list("log").expect("a list").len(), 2);
    }

    #[test]
    fn trouble_says_whether_waiting_helps() {
        let kind = |errno| store_error(io::Error::from_raw_os_error(errno)).kind;
        assert_eq!(kind(2), StoreErrorKind::NotFound);
        assert_eq!(kind(5), StoreErrorKind::Other);
        assert_eq!(kind(13), StoreErrorKind::Denied);
        assert_eq!(kind(24), StoreErrorKind::Unavailable);
        assert_eq!(kind(28), StoreErrorKind::Full);
        assert!(store_error(io::Error::from_raw_os_error(28)).is_transient());
        assert!(!store_error(io::Error::from_raw_os_error(5)).is_transient());
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("file"), b"").expect("a file");
        let store = Local::new(folder.path().join("file"));
        let error = store
            .create("log/1", b"x")
            .expect_err("a file is no folder");
        assert!(!error.is_transient(), "{error}");
    }
}
