//! A topic's folder: its description, and the lock that makes a writer the only one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::LogError;
use super::partition::sync_folder;

/// The version of the layout that is written.
const FORMAT: u32 = 1;
const NAME_BYTES_MAX: usize = 200;
const PARTITIONS_MAX: u32 = 10_000;
/// How often, and after which pause, to try again for a lock that somebody has.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// What `topic.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u32,
    partitions: u32,
}

/// A topic of a log, there or not.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) log: PathBuf,
    pub(crate) name: String,
}

/// Held by the one writer of a topic; the operating system takes it back when the process ends.
pub(crate) struct Lock(File);

impl Drop for Lock {
    /// Gives the lock back by itself: a process that is being started by this one may hold the file
    /// open for a moment longer.
    fn drop(&mut self) {
        // Closed, the file is unlocked all the same, if later.
        let _ = self.0.unlock();
    }
}

impl Topic {
    /// The folder of a partition.
    pub(crate) fn partition(&self, partition: u32) -> PathBuf {
        self.folder().join(partition.to_string())
    }

    fn folder(&self) -> PathBuf {
        self.log.join(&self.name)
    }

    fn check_name(&self) -> Result<(), LogError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = &self.name;
        let is_dots = name.chars().all(|c| c == '.');
        if is_dots || name.len() > NAME_BYTES_MAX || !name.chars().all(is_allowed) {
            return Err(LogError::TopicName(name.clone()));
        }
        Ok(())
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// When there is no such topic, too.
    pub(crate) fn partitions(&self) -> Result<u32, LogError> {
        self.find()?.ok_or_else(|| LogError::NoTopic {
            log: self.log.clone(),
            topic: self.name.clone(),
        })
    }

    /// How many partitions the topic has, if it is there.
    pub(crate) fn find(&self) -> Result<Option<u32>, LogError> {
        self.check_name()?;
        let path = self.folder().join("topic.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io(&path)(error)),
        };
        let wrong = |reason: String| LogError::Topic {
            path: path.clone(),
            reason,
        };
        let description: Description =
            serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match description {
            Description {
                format: FORMAT,
                partitions: partitions @ 1..=PARTITIONS_MAX,
            } => Ok(Some(partitions)),
            Description { format: FORMAT, .. } => {
                Err(wrong(format!("it has 1 to {PARTITIONS_MAX} partitions")))
            }
            Description { format, .. } => Err(wrong(format!(
                "its format is {format}, this version reads {FORMAT}"
            ))),
        }
    }

    /// Shows that the topic can be written, leaving it as it is.
    pub(crate) fn check_writable(&self, wanted: Wanted) -> Result<(), LogError> {
        match self.find()? {
            Some(found) => {
                wanted.of(found)?;
                self.check_lock()
            }
            None => {
                wanted.of_new()?;
                crate::probe::folder(&self.log, &self.name).map_err(LogError::io(&self.log))
            }
        }
    }

    /// Locks the topic for writing, making it if there is none, and giving it more partitions if it is to
    /// grow; returns their number.
    pub(crate) fn open_for_writing(&self, wanted: Wanted) -> Result<(u32, Lock), LogError> {
        self.check_name()?;
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(LogError::io(&folder))?;
        let lock = self.lock()?;
        let found = self.find()?;
        let partitions = match found {
            Some(found) => wanted.of(found)?,
            None => wanted.of_new()?,
        };
        if found != Some(partitions) {
            self.describe(partitions)?;
        }
        Ok((partitions, lock))
    }

    fn describe(&self, partitions: u32) -> Result<(), LogError> {
        let folder = self.folder();
        let (path, new) = (folder.join("topic.json"), folder.join("topic.json.new"));
        let description = Description {
            format: FORMAT,
            partitions,
        };
        let write = || {
            let text = serde_json::to_vec(&description)?;
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(LogError::io(&path))?;
        sync_folder(&folder)
    }

    /// Shows that no writer has the topic. Any number of checks may look at once.
    fn check_lock(&self) -> Result<(), LogError> {
        let path = self.folder().join("lock");
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return crate::probe::folder(&self.folder(), "lock").map_err(LogError::io(&path));
            }
            Err(error) => return Err(LogError::io(&path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map_err(LogError::io(&path)),
            Err(TryLockError::WouldBlock) => Err(LogError::Busy {
                holder: holder(&mut file),
            }),
            Err(TryLockError::Error(error)) => Err(LogError::io(&path)(error)),
        }
    }

    fn lock(&self) -> Result<Lock, LogError> {
        let path = self.folder().join("lock");
        let open = || {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(&path)
        };
        let mut file = open().map_err(LogError::io(&path))?;
        let mut tries = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                // It may be a check, which looks for a moment only.
                Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => tries += 1,
                Err(TryLockError::WouldBlock) => {
                    return Err(LogError::Busy {
                        holder: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(LogError::io(&path)(error)),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        let mut note = || {
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "process {}", std::process::id())
        };
        note().map_err(LogError::io(&path))?;
        Ok(Lock(file))
    }
}

/// Who holds the lock, as it has written down.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(64).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes > 0 => text,
        _ => "unknown process".to_owned(),
    }
}

/// How many partitions a topic is to have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) partitions: Option<u32>,
    /// Whether a topic that has fewer is given more.
    pub(crate) grows: bool,
}

impl Wanted {
    /// Of a topic that has `found`.
    fn of(self, found: u32) -> Result<u32, LogError> {
        match self.partitions {
            Some(wanted) if self.grows && (found..=PARTITIONS_MAX).contains(&wanted) => Ok(wanted),
            Some(wanted) if wanted != found => Err(LogError::Partitions { found, wanted }),
            _ => Ok(found),
        }
    }

    /// Of a topic that is not there yet.
    fn of_new(self) -> Result<u32, LogError> {
        let partitions = self.partitions.unwrap_or(1).clamp(1, PARTITIONS_MAX);
        Self {
            grows: false,
            ..self
        }
        .of(partitions)
    }
}

/// The folder of a log, for messages.
pub(crate) fn shown(log: &Path, topic: &str) -> String {
    format!("topic `{topic}` of the log {}", log.display())
}
