//! The form of a part's file.
//!
//! ```text
//! magic "THALPART"            8 bytes
//! format version              u32, little-endian
//! length of the header        u32, little-endian
//! header                      postcard: what the part is, and its sections
//! xxh3 of all the above       u64, little-endian
//! sections                    one per key group, by number: zstd, or plain where that is shorter
//! ```
//!
//! The header holds length and hash of every section, so a reader of some key groups reads the header
//! and those sections only, and every byte that it uses is checked.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::generation::GenerationId;
use super::part::{PartContent, PartSpec};
use crate::key::KeyGroup;
use crate::turns::{self, Defect};

const MAGIC: [u8; 8] = *b"THALPART";
/// The version that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;
/// What stands before the header.
const PREFIX_BYTES: usize = 16;
const HASH_BYTES: usize = 8;
/// So long is the header of 256 sections, and all that stands around it, unless names are very long.
pub(super) const HEADER_GUESS_BYTES: usize = 8 * 1024;

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It ends before so many bytes.
    Short(u64),
    /// Its format is not known.
    Format(u32),
    /// It is not what was written.
    Damaged(&'static str),
}

/// What a part's file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) pipeline: String,
    pub(super) generation: GenerationId,
    pub(super) spec: PartSpec,
    sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    group: KeyGroup,
    /// Its length in the file.
    stored_bytes: u64,
    /// Its length as content; the same where it is stored plain.
    content_bytes: u64,
    /// The hash of what is stored.
    xxh3: u64,
}

/// The whole file.
///
/// # Panics
/// When the level of zstd makes no sense to zstd, or there is no memory.
pub(super) fn encode(
    pipeline: &str,
    generation: GenerationId,
    spec: &PartSpec,
    content: &PartContent,
    level: i32,
) -> Vec<u8> {
    let mut zstd = zstd::bulk::Compressor::new(level).expect("invariant: zstd clamps its level");
    let (mut sections, mut packed) = (Vec::new(), Vec::new());
    // With room for the header, which goes before it at last.
    let plain_bytes: usize = content.values().map(Vec::len).sum();
    let mut file = Vec::with_capacity(plain_bytes + HEADER_GUESS_BYTES);
    for (group, plain) in content {
        packed.clear();
        packed.reserve(zstd::compress_bound(plain.len()));
        zstd.compress_to_buffer(plain, &mut packed)
            .expect("invariant: there is room for what zstd gives");
        let stored = if packed.len() < plain.len() {
            &packed
        } else {
            plain
        };
        sections.push(Section {
            group: *group,
            stored_bytes: stored.len() as u64,
            content_bytes: plain.len() as u64,
            xxh3: xxh3_64(stored),
        });
        file.extend_from_slice(stored);
    }
    let header = Header {
        pipeline: pipeline.to_owned(),
        generation,
        spec: spec.clone(),
        sections,
    };
    let header = postcard::to_allocvec(&header).expect("invariant: a header can be written");
    let length = u32::try_from(header.len()).expect("invariant: a header has 256 sections at most");
    let mut front = MAGIC.to_vec();
    front.extend_from_slice(&FORMAT.to_le_bytes());
    front.extend_from_slice(&length.to_le_bytes());
    front.extend_from_slice(&header);
    front.extend_from_slice(&xxh3_64(&front).to_le_bytes());
    file.splice(..0, front);
    file
}

impl Header {
    /// Reads the header at the beginning of a file, with the place at which the sections begin.
    ///
    /// # Errors
    /// [`Flaw::Short`] says how many bytes of the file are needed.
    pub(super) fn read(file: &[u8]) -> Result<(Self, u64), Flaw> {
        let Some(prefix) = file.get(..PREFIX_BYTES) else {
            return Err(Flaw::Short(PREFIX_BYTES as u64));
        };
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| prefix[at + byte]));
        if prefix[..8] != MAGIC {
            return Err(Flaw::Damaged("it does not begin as a part does"));
        }
        match number(8) {
            FORMAT => {}
            other => return Err(Flaw::Format(other)),
        }
        let end = PREFIX_BYTES + number(12) as usize;
        let Some(rest) = file.get(end..end + HASH_BYTES) else {
            return Err(Flaw::Short((end + HASH_BYTES) as u64));
        };
        if xxh3_64(&file[..end]).to_le_bytes() != *rest {
            return Err(Flaw::Damaged("the hash of its header is another"));
        }
        let header: Self = postcard::from_bytes(&file[PREFIX_BYTES..end])
            .map_err(|_| Flaw::Damaged("its header cannot be read"))?;
        Ok((header, (end + HASH_BYTES) as u64))
    }

    /// The length of all sections.
    pub(super) fn body_bytes(&self) -> u64 {
        let lengths = self.sections.iter().map(|section| section.stored_bytes);
        lengths.fold(0, u64::saturating_add)
    }

    /// The groups with content.
    pub(super) fn groups(&self) -> impl Iterator<Item = KeyGroup> {
        self.sections.iter().map(|section| section.group)
    }

    /// The shortest range of the body with all wanted sections.
    pub(super) fn range(&self, wanted: impl Fn(KeyGroup) -> bool) -> Range<u64> {
        let mut ranges = self.ranges().filter(|(section, _)| wanted(section.group));
        let Some((_, first)) = ranges.next() else {
            return 0..0;
        };
        let last = ranges.last().map_or(first.end, |(_, last)| last.end);
        first.start..last
    }

    /// The wanted sections' content, from a piece of the body that begins at `start`.
    pub(super) fn content(
        &self,
        wanted: impl Fn(KeyGroup) -> bool,
        start: u64,
        body: &[u8],
    ) -> Result<PartContent, Flaw> {
        let mut content = PartContent::new();
        for (section, range) in self.ranges().filter(|(section, _)| wanted(section.group)) {
            let place = |at: u64| usize::try_from(at.checked_sub(start)?).ok();
            let stored = place(range.start)
                .zip(place(range.end))
                .and_then(|(first, last)| body.get(first..last))
                .ok_or(Flaw::Damaged("it is shorter than its header says"))?;
            content.insert(section.group, section.content(stored)?);
        }
        Ok(content)
    }

    fn ranges(&self) -> impl Iterator<Item = (&Section, Range<u64>)> {
        let mut end = 0u64;
        self.sections.iter().map(move |section| {
            let start = end;
            end = end.saturating_add(section.stored_bytes);
            (section, start..end)
        })
    }
}

impl Section {
    fn content(&self, stored: &[u8]) -> Result<Vec<u8>, Flaw> {
        if xxh3_64(stored) != self.xxh3 && !turns::is_planted(Defect::ChecksumIgnored) {
            return Err(Flaw::Damaged("the hash of a section is another"));
        }
        if self.stored_bytes == self.content_bytes {
            return Ok(stored.to_vec());
        }
        let unreadable = || Flaw::Damaged("a section cannot be decompressed");
        let bytes = usize::try_from(self.content_bytes).map_err(|_| unreadable())?;
        let content = zstd::bulk::decompress(stored, bytes).map_err(|_| unreadable())?;
        if content.len() == bytes {
            Ok(content)
        } else {
            Err(unreadable())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::groups::KeyGroups;
    use crate::checkpoint::manifest::Epoch;
    use crate::checkpoint::part::PartKind;

    const GENERATION: GenerationId = GenerationId {
        number: 3,
        token: 0x0123_4567_89ab_cdef,
    };

    fn spec() -> PartSpec {
        PartSpec {
            epoch: Epoch(70_000),
            step: "card".to_owned(),
            content: "keys".to_owned(),
            worker: 1,
            process: 0,
            kind: PartKind::Base,
            groups: KeyGroups::of_worker(1, 2),
            state_version: 4,
            fingerprint: 99,
        }
    }

    fn content() -> PartContent {
        let repeated = b"ab".repeat(50);
        PartContent::from([
            (KeyGroup(130), repeated),
            (KeyGroup(131), b"plain".to_vec()),
            (KeyGroup(255), Vec::new()),
        ])
    }

    fn decode(file: &[u8], wanted: impl Fn(KeyGroup) -> bool) -> Result<PartContent, Flaw> {
        let (header, start) = Header::read(file)?;
        let body = usize::try_from(start).expect("a short header");
        header.content(wanted, 0, &file[body..])
    }

    /// Format version 1 as it was first written. A build that writes another form must still read this.
    const VERSION_1: &str = include_str!("fixtures/part-1.hex");

    #[test]
    fn version_1_is_written_and_read_as_ever() {
        let file = encode("fraud", GENERATION, &spec(), &content(), 1);
        let hex: Vec<String> = file
            .chunks(32)
            .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect())
            .collect();
        assert_eq!(
            hex.join("\n") + "\n",
            VERSION_1,
            "a new form needs a new version"
        );
        let (header, _) = Header::read(&file).expect("a header");
        assert_eq!((&header.spec, header.generation), (&spec(), GENERATION));
        assert_eq!(decode(&file, |_| true), Ok(content()));
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut file = encode("fraud", GENERATION, &spec(), &content(), 1);
        file[8] = 2;
        assert_eq!(Header::read(&file), Err(Flaw::Format(2)));
    }

    #[test]
    fn any_flipped_bit_and_any_missing_end_is_noticed() {
        let file = encode("fraud", GENERATION, &spec(), &content(), 1);
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped, |_| true).is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert!(decode(&file[..length], |_| true).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_groups_are_read_from_their_range_alone(
            groups in proptest::collection::btree_map(any::<u8>(), proptest::collection::vec(0..4u8, 0..200), 0..20),
            wanted in proptest::collection::btree_set(any::<u8>(), 0..40),
        ) {
            let content: PartContent = groups.into_iter().map(|(g, bytes)| (KeyGroup(g), bytes)).collect();
            let file = encode("fraud", GENERATION, &spec(), &content, 1);
            let (header, start) = Header::read(&file).expect("a header");
            prop_assert_eq!(start + header.body_bytes(), file.len() as u64);
            let is_wanted = |group: KeyGroup| wanted.contains(&group.0) || wanted.is_empty();
            let range = header.range(is_wanted);
            let (first, last) = ((start + range.start) as usize, (start + range.end) as usize);
            let read = header.content(is_wanted, range.start, &file[first..last]);
            let expected: PartContent = content.into_iter().filter(|(g, _)| is_wanted(*g)).collect();
            prop_assert_eq!(read, Ok(expected));
        }
    }
}
