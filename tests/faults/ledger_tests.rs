//! The ledger sees what is lost, doubled or wrong.

use thalweg::operators::prelude::Timing;
use thalweg::prelude::EventTime;

use crate::ledger::{Entry, Inputs, Verdict, judge, judge_slot};
use crate::records::{Event, Row, Total, WINDOW_MICROS};

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

fn note(epoch: u64, bytes: &[u8]) -> Entry {
    Entry::Note {
        slot: "job/rows".to_owned(),
        epoch,
        records: bytes.len() as u64,
        crc: crc32c::crc32c(bytes),
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
    let record = |byte| Entry::Record { bytes: vec![byte] };
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
