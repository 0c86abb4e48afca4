//! Parts: files that hold a piece of a step's state, or of a sink's outbox.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::checkpoints::Checkpoints;
use super::envelope::{self, Flaw, Header};
use super::error::{CheckpointError, StoreError, StoreErrorKind};
use super::generation::GenerationId;
use super::groups::KeyGroups;
use super::log::{shown, store_error};
use super::manifest::Epoch;
use super::store::Store;
use crate::key::KeyGroup;
use crate::turns::{self, Defect};

pub(super) const FOLDER: &str = "parts";
/// How long a piece of a file's name is at most, but for its hash.
const SEGMENT_CHARS: usize = 80;

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// All that a worker keeps: earlier parts no longer count for its groups, those without content
    /// included.
    Base,
    /// What has changed in an epoch: goes over what earlier parts say.
    Delta,
    /// A base made from earlier parts, as they stood at the end of its epoch.
    Merged,
    /// What a sink has to publish.
    Outbox,
}

impl PartKind {
    /// Whether earlier parts no longer count.
    pub fn is_base(self) -> bool {
        matches!(self, Self::Base | Self::Merged)
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Delta => "delta",
            Self::Merged => "merged",
            Self::Outbox => "outbox",
        }
    }
}

/// What a part is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSpec {
    /// The epoch at whose end it was taken.
    pub epoch: Epoch,
    /// The id of the step or sink.
    pub step: String,
    /// Which of the step's contents it is, such as `keys` or `waiting`; each has bases and changes of
    /// its own.
    pub content: String,
    /// The worker, counted over all processes.
    pub worker: usize,
    /// The worker's process.
    pub process: usize,
    /// What it is.
    pub kind: PartKind,
    /// The key groups that a base is for; those of any other part are those with content.
    pub groups: KeyGroups,
    /// The version of the form in which the content is written.
    pub state_version: u32,
    /// Tells states of different types apart.
    pub fingerprint: u64,
}

/// The content of a part: bytes by key group, or by slot for an outbox.
pub type PartContent = BTreeMap<KeyGroup, Vec<u8>>;

/// A part that is durable, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRef {
    /// Its file in the store.
    pub file: String,
    /// The size of the file.
    pub bytes: u64,
    /// The hash of the file (xxh3).
    #[serde(with = "super::entry::hex")]
    pub xxh3: u64,
    /// What it is.
    pub kind: PartKind,
    /// Which of the step's contents it is.
    pub content: String,
    /// The epoch at whose end it was taken.
    pub epoch: Epoch,
    /// The worker that wrote it.
    pub worker: usize,
    /// The key groups it is for.
    pub groups: KeyGroups,
    /// The version of the form in which the content is written.
    pub state_version: u32,
    /// Tells states of different types apart.
    #[serde(with = "super::entry::hex")]
    pub fingerprint: u64,
}

impl PartSpec {
    /// The name of its file in the folder of its generation.
    fn file_name(&self) -> String {
        format!(
            "e{:020}-w{:04}-{}.{}.{}",
            self.epoch.0,
            self.worker,
            segment(&self.step),
            segment(&self.content),
            self.kind.word()
        )
    }

    /// The groups that count: a base is for all of its own, anything else for those with content.
    fn groups_with(&self, content: impl Iterator<Item = KeyGroup>) -> KeyGroups {
        if self.kind.is_base() {
            self.groups
        } else {
            content.collect()
        }
    }
}

/// The folder of a generation's parts.
pub(super) fn folder(generation: u64) -> String {
    format!("{FOLDER}/g{generation:010}")
}

/// The generation that a file is of, by its name.
pub(super) fn generation_of(file: &str) -> Option<u64> {
    let (number, _) = file.strip_prefix("parts/g")?.split_once('/')?;
    number.parse().ok()
}

/// A text as a piece of a file's name: what is not plain is written in hexadecimal, and the end of what
/// is long as a hash.
fn segment(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("_{byte:02x}")),
        }
    }
    if name.len() > SEGMENT_CHARS {
        name.truncate(SEGMENT_CHARS);
        name.push_str(&format!("_{:016x}", xxh3_64(text.as_bytes())));
    }
    name
}

/// Writes the parts of one generation. Cheap to clone; any number of threads may write at once.
#[derive(Clone, Debug)]
pub struct PartWriter {
    store: Arc<dyn Store>,
    pipeline: String,
    generation: GenerationId,
    level: i32,
}

impl PartWriter {
    pub(super) fn new(checkpoints: &Checkpoints, generation: GenerationId) -> Self {
        Self {
            store: Arc::clone(&checkpoints.store),
            pipeline: checkpoints.pipeline.clone(),
            generation,
            level: checkpoints.options.compression_level,
        }
    }

    /// Writes a part. It is durable when the call returns, and counts once a manifest names it.
    ///
    /// # Errors
    /// When the store does not take it; see [`CheckpointError::is_transient`]. Writing the same again
    /// is no error.
    pub fn write(
        &self,
        spec: &PartSpec,
        content: &PartContent,
    ) -> Result<PartRef, CheckpointError> {
        let name = spec.file_name();
        let file = format!("{}/{name}", folder(self.generation.number));
        let bytes = envelope::encode(&self.pipeline, self.generation, spec, content, self.level);
        create_same(&*self.store, &file, &bytes)?;
        Ok(PartRef {
            file,
            bytes: bytes.len() as u64,
            xxh3: xxh3_64(&bytes),
            kind: spec.kind,
            content: spec.content.clone(),
            epoch: spec.epoch,
            worker: spec.worker,
            groups: spec.groups_with(content.keys().copied()),
            state_version: spec.state_version,
            fingerprint: spec.fingerprint,
        })
    }
}

/// Makes a file, which may be there with the same content already.
pub(super) fn create_same(
    store: &dyn Store,
    file: &str,
    bytes: &[u8],
) -> Result<(), CheckpointError> {
    match store.create(file, bytes) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind == StoreErrorKind::AlreadyExists => {}
        Err(error) => return Err(store_error("write", store, file)(error)),
    }
    let there = store.read(file).map_err(store_error("read", store, file))?;
    if there == bytes {
        Ok(())
    } else {
        Err(CheckpointError::Taken(shown(store, file)))
    }
}

/// Reads parts.
pub(super) struct PartReader<'s> {
    pub(super) store: &'s dyn Store,
    pub(super) pipeline: &'s str,
}

impl PartReader<'_> {
    /// The whole file, checked against what the manifest says of it.
    pub(super) fn file(&self, part: &PartRef) -> Result<Vec<u8>, CheckpointError> {
        let file = self.store.read(&part.file);
        let file = file.map_err(|error| self.trouble(part, error))?;
        if file.len() as u64 != part.bytes {
            return Err(self.damaged(part, &has_other_length(file.len() as u64, part)));
        }
        if xxh3_64(&file) != part.xxh3 && !turns::is_planted(Defect::ChecksumIgnored) {
            return Err(self.damaged(part, "its hash is not the one that the manifest names"));
        }
        Ok(file)
    }

    /// The content in some groups; reads no more than it has to.
    pub(super) fn content(
        &self,
        part: &PartRef,
        groups: KeyGroups,
    ) -> Result<PartContent, CheckpointError> {
        let wanted = groups.intersection(part.groups);
        if wanted.is_empty() {
            return Ok(PartContent::new());
        }
        let is_whole = wanted == part.groups;
        let mut file = if is_whole {
            self.file(part)?
        } else {
            self.range(part, 0..envelope::HEADER_GUESS_BYTES as u64)?
        };
        if let Err(Flaw::Short(bytes)) = Header::read(&file)
            && bytes <= part.bytes
            && !is_whole
        {
            file = self.range(part, 0..bytes)?;
        }
        let (header, start) = Header::read(&file).map_err(|flaw| self.flawed(part, flaw))?;
        self.check(part, &header, start)?;
        let is_wanted = |group| wanted.contains(group);
        let range = header.range(is_wanted);
        let body = if is_whole {
            let start = usize::try_from(start).expect("invariant: the file is in memory");
            file.split_off(start)
        } else {
            self.range(part, start + range.start..start + range.end)?
        };
        let first = if is_whole { 0 } else { range.start };
        let content = header.content(is_wanted, first, &body);
        content.map_err(|flaw| self.flawed(part, flaw))
    }

    fn range(&self, part: &PartRef, range: Range<u64>) -> Result<Vec<u8>, CheckpointError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.store.read_range(&part.file, range);
        bytes.map_err(|error| self.trouble(part, error))
    }

    /// Checks that the file is the one that the manifest means.
    fn check(&self, part: &PartRef, header: &Header, start: u64) -> Result<(), CheckpointError> {
        let spec = &header.spec;
        let is_same = header.pipeline == self.pipeline
            && part.file.ends_with(&spec.file_name())
            && spec.kind == part.kind
            && spec.content == part.content
            && spec.epoch == part.epoch
            && spec.worker == part.worker
            && spec.state_version == part.state_version
            && spec.fingerprint == part.fingerprint
            && spec.groups_with(header.groups()) == part.groups;
        if !is_same {
            return Err(self.damaged(part, "it is another part than the manifest names"));
        }
        let bytes = start.saturating_add(header.body_bytes());
        if bytes != part.bytes {
            return Err(self.damaged(part, &has_other_length(bytes, part)));
        }
        Ok(())
    }

    fn trouble(&self, part: &PartRef, error: StoreError) -> CheckpointError {
        if error.kind == StoreErrorKind::NotFound {
            return CheckpointError::Missing {
                file: shown(self.store, &part.file),
                needed_by: "a manifest".to_owned(),
            };
        }
        store_error("read", self.store, &part.file)(error)
    }

    fn flawed(&self, part: &PartRef, flaw: Flaw) -> CheckpointError {
        match flaw {
            Flaw::Short(bytes) => self.damaged(part, &format!("it ends before byte {bytes}")),
            Flaw::Damaged(reason) => self.damaged(part, reason),
            Flaw::Format(found) => CheckpointError::Format {
                file: shown(self.store, &part.file),
                found,
                known: envelope::FORMAT,
            },
        }
    }

    fn damaged(&self, part: &PartRef, reason: &str) -> CheckpointError {
        CheckpointError::Damaged {
            file: shown(self.store, &part.file),
            reason: reason.to_owned(),
        }
    }
}

fn has_other_length(found: u64, part: &PartRef) -> String {
    format!("it has {found} bytes, not {}", part.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_makes_a_name_of_its_own() {
        assert_eq!(segment("card-7"), "card-7");
        assert_eq!(segment("a/b"), "a_2fb");
        assert_eq!(segment("a_2fb"), "a_5f2fb");
        let long = |end: &str| segment(&("x".repeat(300) + end));
        assert_ne!(long("a"), long("b"));
        assert!(long("a").len() < 120);
        assert_eq!(generation_of(&format!("{}/e", folder(12))), Some(12));
    }
}
