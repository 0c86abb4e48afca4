//! Marks against what was marked, folded or not.

use proptest::prelude::*;

use super::page::CHUNK;
use super::*;
use crate::record::Origin;

fn origin(offset: u64) -> Origin {
    Origin {
        offset,
        ..Origin::default()
    }
}

fn check(marks: &[(u64, &[Fate])], expected: Fates) {
    let ledger = Arc::new(Ledger::default());
    let mut pen = ledger.pen();
    for (offset, fates) in marks {
        pen.read(origin(*offset));
        fates
            .iter()
            .for_each(|fate| pen.mark(origin(*offset), *fate));
    }
    assert_eq!(ledger.fates(), expected);
}

#[test]
fn marks_of_another_process_come_home() {
    let (reader, other) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let (mut read, mut marks) = (reader.pen(), other.pen());
    let ship = || {
        let pages = other.take_marks((0, 0));
        pages.iter().for_each(|page| reader.absorb(page));
        pages.len()
    };
    for offset in 0..3 * CHUNK {
        read.read(origin(offset));
    }
    for offset in 0..3 * CHUNK {
        if offset == CHUNK {
            assert_eq!(ship(), 1);
            assert_eq!(reader.done_to(0, 0, 0, 3 * CHUNK), CHUNK);
        }
        marks.mark(
            origin(offset),
            if offset % 3 == 0 {
                Fate::Late
            } else {
                Fate::Processed
            },
        );
    }
    assert_eq!(ship(), 2);
    assert_eq!(ship(), 0);
    // A second way of a record whose marks have gone home already.
    marks.mark(origin(1), Fate::Dead);
    drop(marks);
    assert_eq!(ship(), 1);
    assert!(other.lock().is_empty(), "nothing stays behind");
    let fates = reader.fates();
    assert!(fates.balance(), "{fates:?}");
    assert_eq!(
        (fates.records_in, fates.late, fates.dead_letters),
        (3 * CHUNK, CHUNK, 1)
    );
}

#[test]
fn the_gravest_mark_decides() {
    let one = Fates {
        records_in: 1,
        ..Fates::default()
    };
    check(
        &[(0, &[Fate::Processed, Fate::Filtered])],
        Fates {
            processed: 1,
            ..one
        },
    );
    check(&[(0, &[Fate::Filtered])], Fates { filtered: 1, ..one });
    check(
        &[(0, &[Fate::Processed, Fate::Dead])],
        Fates {
            dead_letters: 1,
            ..one
        },
    );
    check(&[(0, &[Fate::Late, Fate::Held])], Fates { late: 1, ..one });
    check(
        &[(0, &[Fate::Held, Fate::Processed])],
        Fates { held: 1, ..one },
    );
}

#[test]
fn a_record_without_a_mark_upsets_the_balance() {
    let ledger = Arc::new(Ledger::default());
    let mut pen = ledger.pen();
    pen.read(origin(3));
    assert!(!ledger.fates().balance());
    pen.mark(origin(3), Fate::Processed);
    assert!(ledger.fates().balance());
    pen.mark(origin(4), Fate::Processed);
    assert!(
        !ledger.fates().balance(),
        "a record that nobody read must show"
    );
}

#[test]
fn done_means_that_every_record_before_has_ended() {
    let ledger = Arc::new(Ledger::default());
    let mut pen = ledger.pen();
    let done_to = |from, to| ledger.done_to(0, 0, from, to);
    assert_eq!(done_to(5, 5), 5);
    // Between the records are offsets that hold none.
    for offset in [5, 7, 3 * CHUNK, 3 * CHUNK + 1] {
        pen.read(origin(offset));
    }
    let to = 3 * CHUNK + 2;
    assert_eq!(done_to(5, to), 5);
    pen.mark(origin(7), Fate::Late);
    assert_eq!(done_to(5, to), 5);
    pen.mark(origin(5), Fate::Processed);
    assert_eq!(done_to(5, to), 3 * CHUNK);
    pen.mark(origin(3 * CHUNK), Fate::Dead);
    pen.mark(origin(3 * CHUNK + 1), Fate::Held);
    assert_eq!(done_to(5, to), 3 * CHUNK + 1);
    assert_eq!(done_to(5, 100), 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn done_agrees_with_a_look_at_every_record(
        marks in proptest::collection::btree_map(0..3 * CHUNK, 0_u8..32, 0..40),
        dense in 0..2 * CHUNK,
        (from, to) in (0..3 * CHUNK, 0..3 * CHUNK),
    ) {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        // Whole pages of records that are done, with some among them that may not be.
        let processed = Fate::Processed as u8;
        let all: BTreeMap<u64, u8> =
            (0..dense).map(|offset| (offset, processed)).chain(marks).collect();
        for (offset, marks) in &all {
            pen.read(origin(*offset));
            pen.write([origin(*offset)], *marks, |_, _| {});
        }
        drop(pen);
        ledger.fold_before((0, 0, 3));
        let is_open = |offset: &u64| {
            all.get(offset).is_some_and(|marks| *marks == 0 || marks & Fate::Held as u8 != 0)
        };
        let expected = (from..to).find(is_open).unwrap_or(to.max(from));
        prop_assert_eq!(ledger.done_to(0, 0, from, to), expected);
    }
}

/// Where a source's records are: one after the other, or with gaps, regular or not.
fn laid_out(layout: u8, n: u64) -> u64 {
    match layout {
        0 => n,
        1 => n << 10,
        2 => ((n / 3) << 12) + n % 3,
        _ => n * 17 + n * n % 11 + ((n / 50) << 20),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn folding_changes_nothing(
        layout in 0_u8..4,
        count in 0_u64..600,
        held in proptest::collection::btree_set(0_u64..600, 0..3),
        dead in proptest::collection::vec(0_u64..600, 0..4),
        (from, to) in (0_u64..700, 0_u64..700),
    ) {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        let place = |n| laid_out(layout, n);
        for n in 0..count {
            pen.read(origin(place(n)));
            pen.mark(origin(place(n)), if held.contains(&n) { Fate::Held } else { Fate::Processed });
        }
        pen.chunk = None;
        ledger.fold_before((0, 0, u64::MAX));
        for n in dead.iter().filter(|n| **n < count) {
            pen.mark(origin(place(*n)), Fate::Dead);
        }
        pen.chunk = None;
        ledger.fold_before((0, 0, u64::MAX));
        let is_dead = |n: &u64| dead.contains(n);
        let is_held = |n: &u64| held.contains(n);
        let fates = Fates {
            records_in: count,
            processed: (0..count).filter(|n| !is_dead(n) && !is_held(n)).count() as u64,
            dead_letters: (0..count).filter(is_dead).count() as u64,
            held: (0..count).filter(|n| is_held(n) && !is_dead(n)).count() as u64,
            ..Fates::default()
        };
        prop_assert_eq!(ledger.fates(), fates);
        let (from, to) = (place(from), place(to));
        let open = (0..count).filter(is_held).map(place).find(|n| (from..to).contains(n));
        prop_assert_eq!(ledger.done_to(0, 0, from, to), open.unwrap_or(to.max(from)));
    }
}

#[test]
fn what_is_finished_takes_no_room_whatever_gaps_there_are() {
    for layout in 0..3 {
        let ledger = Arc::new(Ledger::default());
        let mut pen = ledger.pen();
        for n in 0..CHUNK * 300 {
            pen.read(origin(laid_out(layout, n)));
            pen.mark(origin(laid_out(layout, n)), Fate::Processed);
        }
        assert!(
            ledger.lock().len() < 140,
            "layout {layout}: {}",
            ledger.lock().len()
        );
    }
}

#[test]
fn finished_pages_are_folded_and_can_still_be_marked() {
    let ledger = Arc::new(Ledger::default());
    let mut pen = ledger.pen();
    let records = CHUNK * 130;
    for offset in 0..records {
        pen.read(origin(offset));
        pen.mark(origin(offset), Fate::Processed);
    }
    let folded = ledger
        .lock()
        .values()
        .filter_map(|page| match page {
            Page::Uniform(uniform) => Some(uniform.chunks),
            Page::Open(_) => None,
        })
        .sum::<u64>();
    assert!(folded >= 120, "{folded}");
    pen.mark(origin(1), Fate::Dead);
    let expected = Fates {
        records_in: records,
        processed: records - 1,
        dead_letters: 1,
        ..Fates::default()
    };
    assert_eq!(ledger.fates(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn marks_written_together_are_those_written_one_by_one(
        places in proptest::collection::vec((0_u32..2, 0_u64..3 * CHUNK), 0..60),
        stretch in (0_u32..2, 0_u64..2 * CHUNK, 0_u64..CHUNK),
    ) {
        let (partition, from, length) = stretch;
        let row = (from..from + length).map(|offset| (partition, offset));
        let origins: Vec<_> = places
            .into_iter()
            .chain(row)
            .map(|(partition, offset)| Origin { partition, ..origin(offset) })
            .collect();
        let (together, singly) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
        let (mut of_all, mut of_each) = (together.pen(), singly.pen());
        of_all.read_all(origins.iter().copied());
        of_all.mark_all(origins.iter().copied().step_by(2), Fate::Processed);
        origins.iter().for_each(|origin| of_each.read(*origin));
        origins.iter().step_by(2).for_each(|origin| of_each.mark(*origin, Fate::Processed));
        prop_assert_eq!(together.fates(), singly.fates());
        for partition in 0..2 {
            let marks = together.take_marks((0, partition));
            prop_assert_eq!(marks, singly.take_marks((0, partition)));
        }
    }
}
