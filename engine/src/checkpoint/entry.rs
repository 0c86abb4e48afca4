//! The form of a log entry's file: a line of JSON with format, length and hash, and then the entry,
//! as JSON that a person can read.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::error::CheckpointError;
use super::generation::GenerationId;
use super::manifest::Manifest;

/// The version that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// What a log entry is: of a start, or of a sealed epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Entry {
    Fence(Fence),
    Manifest(Box<Manifest>),
}

/// The first thing that a generation does: whoever wrote to the log before it cannot go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fence {
    pub(super) pipeline: String,
    pub(super) generation: GenerationId,
    pub(super) entry: u64,
    pub(super) engine: String,
}

/// The first line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    thalweg: String,
    format: u32,
    bytes: usize,
    #[serde(with = "hex")]
    xxh3: u64,
}

impl Header {
    fn of(body: &[u8]) -> Self {
        Self {
            thalweg: "checkpoint log".to_owned(),
            format: FORMAT,
            bytes: body.len(),
            xxh3: xxh3_64(body),
        }
    }

    fn line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: a header is JSON")
    }
}

impl Entry {
    pub(super) fn generation(&self) -> GenerationId {
        match self {
            Self::Fence(fence) => fence.generation,
            Self::Manifest(manifest) => manifest.generation,
        }
    }

    pub(super) fn pipeline(&self) -> &str {
        match self {
            Self::Fence(fence) => &fence.pipeline,
            Self::Manifest(manifest) => &manifest.pipeline,
        }
    }

    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Fence(fence) => fence.entry,
            Self::Manifest(manifest) => manifest.entry,
        }
    }

    /// The whole file.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut body = serde_json::to_vec_pretty(self).expect("invariant: an entry is JSON");
        body.push(b'\n');
        let mut file = Header::of(&body).line();
        file.push(b'\n');
        file.extend_from_slice(&body);
        file
    }

    /// Reads a file back; `name` is its name for an error.
    pub(super) fn parse(file: &[u8], name: &str) -> Result<Self, CheckpointError> {
        let damaged = |reason: &str| CheckpointError::Damaged {
            file: name.to_owned(),
            reason: reason.to_owned(),
        };
        let end = file.iter().position(|byte| *byte == b'\n');
        let (line, body) = file.split_at(end.ok_or_else(|| damaged("it has no whole line"))?);
        let body = &body[1..];
        let header: Header = serde_json::from_slice(line)
            .map_err(|_| damaged("its first line is not that of a log entry"))?;
        if header.format > FORMAT {
            return Err(CheckpointError::Format {
                file: name.to_owned(),
                found: header.format,
                known: FORMAT,
            });
        }
        if Header::of(body).line() != line {
            return Err(damaged("its first line does not fit the rest"));
        }
        serde_json::from_slice(body).map_err(|error| damaged(&error.to_string()))
    }
}

/// Numbers as 16 hexadecimal digits, for what people compare rather than count.
pub(super) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).ok();
        number
            .filter(|number| format!("{number:016x}") == text)
            .ok_or_else(|| de::Error::custom(format_args!("`{text}` are no 16 hexadecimal digits")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::checkpoint::groups::KeyGroups;
    use crate::checkpoint::manifest::{
        Epoch, OutboxRecord, SourcePartition, SourceRecord, StepRecord,
    };
    use crate::checkpoint::part::{PartKind, PartRef};
    use crate::time::EventTime;
    use crate::watermark::Watermark;

    const GENERATION: GenerationId = GenerationId {
        number: 2,
        token: 0xabc,
    };

    fn part(kind: PartKind, content: &str) -> PartRef {
        PartRef {
            file: format!("parts/g0000000002/{}", kind.word()),
            bytes: 1_234,
            xxh3: u64::MAX,
            kind,
            content: content.to_owned(),
            epoch: Epoch(7),
            worker: 1,
            groups: KeyGroups::of_worker(1, 2),
            state_version: 1,
            fingerprint: 5,
        }
    }

    fn manifest() -> Entry {
        Entry::Manifest(Box::new(Manifest {
            epoch: Epoch(7),
            pipeline: "fraud".to_owned(),
            generation: GENERATION,
            entry: 9,
            engine: "0.1.0".to_owned(),
            sealed_at: EventTime::from_seconds(1_700_000_000),
            workers: 2,
            processes: 1,
            restored_from: Some(Epoch(5)),
            oldest_kept: Epoch(3),
            sources: vec![SourceRecord {
                id: "payments".to_owned(),
                kind: "topic `payments`".to_owned(),
                partitions: vec![SourcePartition {
                    name: "payments-0".to_owned(),
                    number: 0,
                    offset: 4_711,
                    watermark: Watermark::START,
                }],
                notes: BTreeMap::new(),
            }],
            steps: vec![StepRecord {
                id: "card".to_owned(),
                kind: "features".to_owned(),
                parts: vec![part(PartKind::Base, "keys"), part(PartKind::Delta, "keys")],
                notes: BTreeMap::from([("columns".to_owned(), json!(3))]),
            }],
            outboxes: vec![OutboxRecord {
                sink: "alerts".to_owned(),
                epoch: Epoch(7),
                parts: vec![part(PartKind::Outbox, "records")],
            }],
            notes: BTreeMap::from([("model".to_owned(), json!({"name": "fraud", "version": "3"}))]),
        }))
    }

    fn fence() -> Entry {
        Entry::Fence(Fence {
            pipeline: "fraud".to_owned(),
            generation: GENERATION,
            entry: 8,
            engine: "0.1.0".to_owned(),
        })
    }

    fn check(entry: &Entry, version_1: &str) {
        let text = String::from_utf8(entry.render()).expect("text");
        assert_eq!(text, version_1, "a new form needs a new version");
        let read = Entry::parse(version_1.as_bytes(), "f").expect("an entry");
        assert_eq!(&read, entry);
    }

    #[test]
    fn version_1_is_written_and_read_as_ever() {
        check(&fence(), include_str!("fixtures/fence-1.json"));
        check(&manifest(), include_str!("fixtures/manifest-1.json"));
    }

    #[test]
    fn any_flipped_bit_and_any_missing_end_is_noticed() {
        let file = manifest().render();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::parse(&flipped, "f").is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert!(
                Entry::parse(&file[..length], "f").is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let text = String::from_utf8(fence().render()).expect("text");
        let newer = text.replace("\"format\":1", "\"format\":2");
        let error = Entry::parse(newer.as_bytes(), "log/8").expect_err("a newer format");
        assert!(
            matches!(&error, CheckpointError::Format { found: 2, .. }),
            "{error}"
        );
    }
}
