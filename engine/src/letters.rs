//! Records that leave the main path: dead letters and late events, with their provenance.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::ledger::{Fate, Pen};
use crate::record::{Origin, Record};
use crate::telemetry::Telemetry;
use crate::time::EventTime;

/// How the bytes of a dead letter are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RawEncoding {
    /// As they are: they are valid UTF-8.
    Utf8,
    /// Two hexadecimal digits a byte.
    Hex,
}

/// A record that could not be processed, with where it came from and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The step that gave it up.
    pub step: String,
    /// The number of the source that read it.
    pub source: u16,
    /// The source's partition.
    pub partition: u32,
    /// What the partition is called where it comes from.
    pub partition_name: String,
    /// The record's offset in the partition.
    pub offset: u64,
    /// Why it could not be processed.
    pub reason: String,
    /// The record's bytes, in the encoding that `raw_encoding` names.
    pub raw: String,
    /// How `raw` is written down.
    pub raw_encoding: RawEncoding,
}

impl DeadLetter {
    /// A dead letter for the raw bytes of a record.
    pub fn new(step: &str, origin: Origin, reason: impl Into<String>, raw: &[u8]) -> Self {
        let (raw, raw_encoding) = match std::str::from_utf8(raw) {
            Ok(text) => (text.to_owned(), RawEncoding::Utf8),
            Err(_) => (hex(raw), RawEncoding::Hex),
        };
        Self {
            step: step.to_owned(),
            source: origin.source,
            partition: origin.partition,
            partition_name: String::new(),
            offset: origin.offset,
            reason: reason.into(),
            raw,
            raw_encoding,
        }
    }

    /// A dead letter for a record that was decoded; its raw form is its JSON.
    pub fn of_value<T: Serialize>(
        step: &str,
        origin: Origin,
        reason: impl Into<String>,
        value: &T,
    ) -> Self {
        Self::new(step, origin, reason, json(value).as_bytes())
    }
}

/// Logs a dead letter that nothing keeps.
pub(crate) fn log_letter(letter: &DeadLetter) {
    let DeadLetter {
        step,
        source,
        partition,
        offset,
        reason,
        ..
    } = letter;
    tracing::warn!(
        step,
        source,
        partition,
        offset,
        reason,
        "a dead letter is not kept"
    );
}

/// What tells of a record by its place.
pub(crate) trait Letter {
    /// The number of the source, the partition, and where the partition's name is put down.
    fn place(&mut self) -> (u16, u32, &mut String);

    /// Puts the partition's name down, once its source is known to have one.
    fn name_partition(&mut self, telemetry: &Telemetry) {
        let (source, partition, name) = self.place();
        if let Some(known) = telemetry.partition_name(source, partition) {
            *name = known;
        }
    }
}

impl Letter for DeadLetter {
    fn place(&mut self) -> (u16, u32, &mut String) {
        (self.source, self.partition, &mut self.partition_name)
    }
}

impl Letter for LateEvent {
    fn place(&mut self) -> (u16, u32, &mut String) {
        (self.source, self.partition, &mut self.partition_name)
    }
}

/// Records that leave a step beside its main path.
#[derive(Default)]
pub(crate) struct Letters {
    pub(crate) dead: Vec<Record<DeadLetter>>,
    pub(crate) late: Vec<Record<LateEvent>>,
}

impl Letters {
    pub(crate) fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.late.is_empty()
    }

    /// Moves all of `others` here.
    pub(crate) fn append(&mut self, others: &mut Self) {
        self.dead.append(&mut others.dead);
        self.late.append(&mut others.late);
    }
}

/// Notes for one step what becomes of the records that do not go on.
pub(crate) struct Endings {
    step: String,
    pen: Pen,
    /// Those that are still to be sent.
    pub(crate) letters: Letters,
}

impl Endings {
    pub(crate) fn new(step: &str, pen: Pen) -> Self {
        Self {
            step: step.to_owned(),
            pen,
            letters: Letters::default(),
        }
    }

    /// Notes that a record's path ends in this step.
    pub(crate) fn finish(&mut self, origin: Origin, fate: Fate) {
        self.pen.mark(origin, fate);
    }

    /// Makes a dead letter of the record `at`, with its value as JSON if that is still there.
    pub(crate) fn reject<V: Serialize>(
        &mut self,
        at: &Record<()>,
        value: Option<&V>,
        reason: impl Into<String>,
    ) {
        self.pen.mark(at.origin, Fate::Dead);
        let raw = value.map_or_else(String::new, json);
        let letter = DeadLetter::new(&self.step, at.origin, reason, raw.as_bytes());
        self.letters.dead.push(at.with(letter));
    }

    /// Makes a late event of a record that came after the watermark had `passed` it.
    pub(crate) fn divert<T: Serialize>(&mut self, record: &Record<T>, passed: EventTime) {
        self.pen.mark(record.origin, Fate::Late);
        let late = LateEvent::of_record(&self.step, record, passed);
        self.letters.late.push(record.with(late));
    }
}

/// An event that came after its watermark had passed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateEvent {
    /// The source, or the step behind whose watermark it came.
    pub step: String,
    /// The number of the source that read it.
    pub source: u16,
    /// The source's partition.
    pub partition: u32,
    /// What the partition is called where it comes from.
    pub partition_name: String,
    /// The event's offset in the partition.
    pub offset: u64,
    /// The event's own time.
    pub event_time: EventTime,
    /// How far the watermark had got: the partition's at a source, the step's own at a step.
    pub watermark: EventTime,
    /// The event as JSON.
    pub event: String,
}

impl LateEvent {
    /// The record that came at `step` after the watermark had `passed` it.
    pub(crate) fn of_record<T: Serialize>(
        step: &str,
        record: &Record<T>,
        passed: EventTime,
    ) -> Self {
        Self {
            step: step.to_owned(),
            source: record.origin.source,
            partition: record.origin.partition,
            partition_name: String::new(),
            offset: record.origin.offset,
            event_time: record.time,
            watermark: passed,
            event: json(&record.value),
        }
    }
}

/// The value as JSON text; a note of why not where it cannot be written as JSON.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("(not JSON: {error})"))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_not_text_are_kept_as_hex() {
        let letter = DeadLetter::new("payments", Origin::default(), "bad", &[0xff, 0x00, 0x61]);
        assert_eq!(
            (letter.raw.as_str(), letter.raw_encoding),
            ("ff0061", RawEncoding::Hex)
        );
        let letter = DeadLetter::new("payments", Origin::default(), "bad", b"{oops");
        assert_eq!(
            (letter.raw.as_str(), letter.raw_encoding),
            ("{oops", RawEncoding::Utf8)
        );
    }
}
