//! The ledger: what must have come out of the job, computed from its input without the engine, beside
//! what has.

use std::collections::{BTreeMap, HashMap};

use thalweg::operators::prelude::Timing;
use thalweg::prelude::EventTime;

use crate::records::{Event, RECENT_MICROS, Row, Total, WINDOW_MICROS};

/// How many differences are put into words.
const WORDS_MAX: usize = 20;

/// How output and expectation differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) inputs: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) wrong: u64,
    /// The first differences.
    pub(crate) words: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        (self.lost, self.duplicated, self.wrong) == (0, 0, 0)
    }

    fn lost(&mut self, count: usize, what: impl FnOnce() -> String) {
        self.lost += count as u64;
        self.say(count, "lost", what);
    }

    fn duplicated(&mut self, count: usize, what: impl FnOnce() -> String) {
        self.duplicated += count as u64;
        self.say(count, "too many", what);
    }

    pub(crate) fn wrong(&mut self, count: usize, what: impl FnOnce() -> String) {
        self.wrong += count as u64;
        self.say(count, "wrong", what);
    }

    fn say(&mut self, count: usize, how: &str, what: impl FnOnce() -> String) {
        if count > 0 && self.words.len() < WORDS_MAX {
            self.words.push(format!("{count} {how}: {}", what()));
        }
    }

    /// Compares, under one name, how often what was expected to be there.
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, name: &str, expected: &[T], found: &[T]) {
        self.lost(expected.len().saturating_sub(found.len()), || {
            format!("{name}: {expected:?} became {found:?}")
        });
        self.duplicated(found.len().saturating_sub(expected.len()), || {
            format!("{name}: {expected:?} became {found:?}")
        });
        let mut left: Vec<_> = found.iter().collect();
        for row in expected {
            if let Some(at) = left.iter().position(|found| *found == row) {
                left.swap_remove(at);
            }
        }
        let right = found.len() - left.len();
        self.wrong(expected.len().min(found.len()) - right, || {
            format!("{name}: {expected:?} became {found:?}")
        });
    }
}

/// The events of a topic by partition, with their offsets.
pub(crate) type Inputs = Vec<Vec<(u64, Event)>>;

/// Judges what has become of the input: rows by partition of their topic, in its order, and windows.
pub(crate) fn judge(inputs: &Inputs, rows: &[Vec<Row>], totals: &[Total]) -> Verdict {
    let mut verdict = Verdict {
        inputs: inputs.iter().map(|partition| partition.len() as u64).sum(),
        ..Verdict::default()
    };
    judge_rows(&mut verdict, inputs, rows);
    judge_totals(&mut verdict, inputs, totals);
    if verdict.duplicated == 0 {
        judge_order(&mut verdict, rows);
    }
    verdict
}

fn judge_rows(verdict: &mut Verdict, inputs: &Inputs, rows: &[Vec<Row>]) {
    let expected = expected_rows(inputs);
    let mut found: HashMap<u64, Vec<Row>> = HashMap::new();
    for row in rows.iter().flatten() {
        found.entry(row.id).or_default().push(row.clone());
    }
    for (id, expected) in &expected {
        let found = found.remove(id).unwrap_or_default();
        verdict.compare(&format!("event {id}"), expected, &found);
    }
    for (id, rows) in found {
        verdict.wrong(rows.len(), || format!("event {id} was never written"));
    }
}

fn expected_rows(inputs: &Inputs) -> BTreeMap<u64, Vec<Row>> {
    let mut all: Vec<_> = inputs
        .iter()
        .enumerate()
        .flat_map(|(partition, events)| {
            let place = move |(offset, event): &'_ (u64, Event)| (event.at, partition, *offset);
            events.iter().map(move |input| (place(input), &input.1))
        })
        .collect();
    all.sort_by_key(|(place, _)| *place);
    let mut histories: HashMap<u32, Vec<&Event>> = HashMap::new();
    let mut rows: BTreeMap<u64, Vec<Row>> = BTreeMap::new();
    for (_, event) in all {
        let history = histories.entry(event.key).or_default();
        history.push(event);
        let is_recent = |past: &&&Event| past.at.as_micros() > event.at.as_micros() - RECENT_MICROS;
        let recent: Vec<_> = history.iter().rev().take_while(is_recent).collect();
        let row = Row {
            id: event.id,
            key: event.key,
            count: history.len() as u64,
            sum: history.iter().map(|past| past.amount).sum(),
            recent_count: recent.len() as u64,
            recent_sum: recent.iter().map(|past| past.amount).sum(),
        };
        rows.entry(event.id).or_default().push(row);
    }
    rows
}

fn judge_totals(verdict: &mut Verdict, inputs: &Inputs, totals: &[Total]) {
    type Values = Vec<(u64, i64)>;
    let mut expected: BTreeMap<(u32, EventTime), (u64, i64)> = BTreeMap::new();
    for (_, event) in inputs.iter().flatten() {
        let start = event.at.as_micros().div_euclid(WINDOW_MICROS) * WINDOW_MICROS;
        let window = (event.key, EventTime::from_micros(start));
        let (count, sum) = expected.entry(window).or_default();
        *count += 1;
        *sum += event.amount;
    }
    let mut found: BTreeMap<_, Values> = BTreeMap::new();
    for total in totals {
        let is_whole = total.timing == Timing::OnTime && total.pane == 0;
        verdict.wrong(usize::from(!is_whole), || format!("{total:?}"));
        let values = (total.value[0] as u64, total.value[1] as i64);
        found
            .entry((total.key, total.start))
            .or_default()
            .push(values);
    }
    for ((key, start), values) in expected {
        let found = found.remove(&(key, start)).unwrap_or_default();
        let name = format!("window of key {key} from {start}");
        verdict.compare(&name, &[values], &found);
    }
    for ((key, start), values) in found {
        verdict.wrong(values.len(), || {
            format!("window of key {key} from {start} has no events")
        });
    }
}

/// The rows of a key come in the order in which they were made.
fn judge_order(verdict: &mut Verdict, rows: &[Vec<Row>]) {
    for rows in rows {
        let mut latest: HashMap<u32, u64> = HashMap::new();
        for row in rows {
            let before = latest.insert(row.key, row.count).unwrap_or(0);
            verdict.wrong(usize::from(row.count <= before), || {
                format!("event {} comes after what came after it", row.id)
            });
        }
    }
}

/// Judges the places, epoch and number in it, of what a slot has published: from one to the next it is the
/// next number, or the first one of a later epoch.
#[cfg(any(feature = "kafka", feature = "pulsar"))]
pub(crate) fn judge_places(verdict: &mut Verdict, name: &str, places: &[(u64, u64)]) {
    let mut last = None;
    for place in places {
        let (epoch, number) = *place;
        let before = last.filter(|(before, _)| *before == epoch);
        let expected = before.map_or(0, |(_, number)| number + 1);
        let words = || format!("{name}: {place:?} follows {last:?}");
        let is_again = last.is_some_and(|last| *place <= last);
        verdict.duplicated(usize::from(is_again), words);
        verdict.lost(usize::from(!is_again && number != expected), words);
        last = Some(*place);
    }
}

/// What stands in a partition that an exactly-once sink writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Record {
        /// What the checksum of a note is made of.
        bytes: Vec<u8>,
    },
    /// A note of what the records before it, from the slot's last note on, are.
    Note {
        slot: String,
        epoch: u64,
        records: u64,
        crc: u32,
    },
}

/// Judges a partition: each note tells of exactly the records before it, and epochs only grow.
pub(crate) fn judge_slot(verdict: &mut Verdict, name: &str, entries: &[Entry]) {
    let (mut count, mut sum, mut last) = (0_u64, 0, None);
    for entry in entries {
        match entry {
            Entry::Record { bytes } => {
                count += 1;
                sum = crc32c::crc32c_append(sum, bytes);
            }
            Entry::Note {
                slot,
                epoch,
                records,
                crc,
            } => {
                let words = || format!("{count} records before the note {entry:?} in {name}");
                verdict.lost(records.saturating_sub(count) as usize, words);
                verdict.duplicated(count.saturating_sub(*records) as usize, words);
                verdict.wrong(usize::from(count == *records && sum != *crc), words);
                let goes_on = last.is_none_or(|(before, last)| before == slot && last < epoch);
                verdict.wrong(usize::from(!goes_on), || {
                    format!("the note {entry:?} follows that of {last:?} in {name}")
                });
                (count, sum, last) = (0, 0, Some((slot, epoch)));
            }
        }
    }
    verdict.wrong(usize::from(count > 0), || {
        format!("{count} records at the end of {name} have no note")
    });
}
