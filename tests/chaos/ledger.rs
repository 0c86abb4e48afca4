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

    fn wrong(&mut self, count: usize, what: impl FnOnce() -> String) {
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
        let is_recent =
            |past: &&&Event| past.at.as_micros() > event.at.as_micros() - RECENT_MICROS;
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
        found.entry((total.key, total.start)).or_default().push(values);
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

/// What stands in a partition that an exactly-once sink writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Record {
        /// The checksum of what it carries.
        print: u32,
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
            Entry::Record { print } => {
                count += 1;
                sum = crc32c::crc32c_append(sum, &print.to_le_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn inputs() -> Inputs {
        let event = |id, second, key, amount| Event {
            id,
            at: EventTime::from_seconds(second),
            key,
            amount,
        };
        vec![
            vec![(0, event(1, 10, 7, 5)), (1, event(2, 9, 7, 2))],
            vec![(0, event(3, 10, 8, -1)), (4, event(4, 11, 8, 4))],
        ]
    }

    fn row(id: u64, key: u32, (count, sum): (u64, i64), recent: (u64, i64)) -> Row {
        let (recent_count, recent_sum) = recent;
        Row {
            id,
            key,
            count,
            sum,
            recent_count,
            recent_sum,
        }
    }

    fn rows() -> Vec<Vec<Row>> {
        // An event a whole second ago is not recent any more.
        vec![
            vec![row(2, 7, (1, 2), (1, 2)), row(1, 7, (2, 7), (1, 5))],
            vec![row(3, 8, (1, -1), (1, -1)), row(4, 8, (2, 3), (1, 4))],
        ]
    }

    fn total(key: u32, second: i64, value: [f64; 2]) -> Total {
        Total {
            key,
            start: EventTime::from_micros(second * SECOND),
            end: EventTime::from_micros(second * SECOND + WINDOW_MICROS),
            timing: Timing::OnTime,
            pane: 0,
            events: value[0] as u64,
            value: value.to_vec(),
        }
    }

    fn totals() -> Vec<Total> {
        vec![
            total(7, 8, [1.0, 2.0]),
            total(7, 10, [1.0, 5.0]),
            total(8, 10, [2.0, 3.0]),
        ]
    }

    /// Expects (lost, duplicated, wrong).
    fn check(rows: &[Vec<Row>], totals: &[Total], expected: (u64, u64, u64)) {
        let verdict = judge(&inputs(), rows, totals);
        let found = (verdict.lost, verdict.duplicated, verdict.wrong);
        assert_eq!(found, expected, "{:?}", verdict.words);
        assert_eq!(verdict.is_clean(), expected == (0, 0, 0));
        assert_eq!(verdict.words.is_empty(), verdict.is_clean());
        assert_eq!(verdict.inputs, 4);
    }

    #[test]
    fn what_is_right_is_clean() {
        check(&rows(), &totals(), (0, 0, 0));
    }

    #[test]
    fn a_lost_row_is_seen() {
        let mut rows = rows();
        rows[0].remove(0);
        check(&rows, &totals(), (1, 0, 0));
    }

    #[test]
    fn a_duplicated_row_is_seen_wherever_it_is() {
        for partition in 0..2 {
            let mut rows = rows();
            let again = rows[0][1].clone();
            rows[partition].push(again);
            check(&rows, &totals(), (0, 1, 0));
        }
    }

    #[test]
    fn a_wrong_row_is_seen_in_every_field() {
        let change: [fn(&mut Row); 5] = [
            |row| row.key += 1,
            |row| row.count += 1,
            |row| row.sum += 1,
            |row| row.recent_count += 1,
            |row| row.recent_sum -= 1,
        ];
        for change in change {
            let mut rows = rows();
            change(&mut rows[1][1]);
            check(&rows, &totals(), (0, 0, 1));
        }
        let mut rows = rows();
        rows[1].push(row(99, 9, (1, 1), (1, 1)));
        check(&rows, &totals(), (0, 0, 1));
    }

    #[test]
    fn rows_that_have_changed_places_are_seen() {
        let mut rows = rows();
        rows[0].swap(0, 1);
        check(&rows, &totals(), (0, 0, 1));
    }

    #[test]
    fn a_window_that_is_lost_or_doubled_or_wrong_is_seen() {
        check(&rows(), &totals()[1..], (1, 0, 0));
        let twice = [totals(), totals()[..1].to_vec()].concat();
        check(&rows(), &twice, (0, 1, 0));
        for place in 0..2 {
            let mut wrong = totals();
            wrong[2].value[place] += 1.0;
            check(&rows(), &wrong, (0, 0, 1));
        }
        let mut early = totals();
        early[0].timing = Timing::Early;
        check(&rows(), &early, (0, 0, 1));
        let more = [totals(), vec![total(9, 10, [1.0, 1.0])]].concat();
        check(&rows(), &more, (0, 0, 1));
    }

    #[test]
    fn an_event_that_is_in_the_input_twice_is_expected_twice() {
        let mut inputs = inputs();
        let again = inputs[0][0].1.clone();
        inputs[0].push((2, again));
        let verdict = judge(&inputs, &rows(), &totals());
        assert_eq!((verdict.lost, verdict.duplicated), (1, 0));
        assert_eq!(verdict.inputs, 5);
    }

    fn note(epoch: u64, prints: &[u32]) -> Entry {
        let bytes: Vec<_> = prints.iter().flat_map(|print| print.to_le_bytes()).collect();
        Entry::Note {
            slot: "job/rows".to_owned(),
            epoch,
            records: prints.len() as u64,
            crc: crc32c::crc32c(&bytes),
        }
    }

    fn check_slot(entries: &[Entry], expected: (u64, u64, u64)) {
        let mut verdict = Verdict::default();
        judge_slot(&mut verdict, "rows/0", entries);
        let found = (verdict.lost, verdict.duplicated, verdict.wrong);
        assert_eq!(found, expected, "{:?}", verdict.words);
    }

    #[test]
    fn a_slot_is_what_its_notes_say() {
        let record = |print| Entry::Record { print };
        let begin = [note(0, &[]), record(1), record(2), note(3, &[1, 2])];
        check_slot(&begin, (0, 0, 0));
        let more = |more: &[Entry]| [&begin[..], more].concat();
        check_slot(&more(&[record(3), note(4, &[3])]), (0, 0, 0));
        check_slot(&more(&[record(3), note(4, &[3, 4])]), (1, 0, 0));
        check_slot(&more(&[record(3), record(3), note(4, &[3])]), (0, 1, 0));
        check_slot(&more(&[record(3), note(4, &[5])]), (0, 0, 1));
        check_slot(&more(&[record(3), note(3, &[3])]), (0, 0, 1));
        check_slot(&more(&[record(3)]), (0, 0, 1));
    }
}
