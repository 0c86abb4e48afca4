//! As-of joins that hold a limited number of rows a key.

use proptest::prelude::*;
use thalweg_engine::job::Order;
use thalweg_engine::keyed::KeyedStep;
use thalweg_engine::telemetry::{Counter, Telemetry};

use super::super::either::Either;
use super::super::table_step::TableStep;
use super::cases::{Case, ITEM, Item, Watermarks, case, run};
use super::tables::{Met, as_of_by_definition, expected, pair};
use crate::join::{FullTable, LatePolicy, Rows};

fn limited(
    case: &Case,
    (most, policy): (usize, FullTable),
    beyond: &Counter,
) -> impl KeyedStep<Either<Item, Item>, Key = u8, State = Rows<Item>, Out = Met> + use<> {
    let (late, unused) = (
        LatePolicy::Join,
        Telemetry::default().counter("late_joined"),
    );
    TableStep::<u8, Rows<Item>, _, Met, _>::new(case.span(0), late, |row| row, pair, unused)
        .limited(most, policy, beyond.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::soak::cases(10_000)))]

    #[test]
    fn where_the_oldest_rows_go_events_miss_rows_but_meet_no_wrong_ones(
        case in case(),
        most in 1_usize..4,
    ) {
        let beyond = Telemetry::default().counter("beyond");
        let make = || limited(&case, (most, FullTable::DropOldest), &beyond);
        let ran = run(&case, Watermarks::Kept, make, ITEM, |state, _, _| {
            assert!(state.iter().all(|(_, rows)| rows.len() <= most));
        });
        let expected = expected(&case, &case.items, |event| {
            as_of_by_definition(&case, &case.items, event)
        });
        prop_assert_eq!(ran.records.len(), expected.len());
        let mut missed = false;
        for (got, expected) in ran.records.iter().zip(&expected) {
            let misses = got.value.1.is_none();
            missed |= *got != *expected;
            prop_assert!(*got == *expected || misses && got.value.0 == expected.value.0);
        }
        let may_miss = case.order == Order::Arrival || most == 1;
        prop_assert!(may_miss || beyond.get() == 0, "two rows are enough");
        prop_assert!(!missed || beyond.get() > 0);
    }

    #[test]
    fn a_row_that_is_refused_is_a_dead_letter(case in case(), most in 1_usize..4) {
        let beyond = Telemetry::default().counter("beyond");
        let make = || limited(&case, (most, FullTable::Refuse), &beyond);
        let ran = run(&case, Watermarks::Kept, make, ITEM, |state, _, _| {
            assert!(state.iter().all(|(_, rows)| rows.len() <= most));
        });
        let records = case.items.len() as u64;
        prop_assert_eq!(ran.fates.dead_letters, beyond.get());
        prop_assert_eq!(ran.fates.processed + ran.fates.dead_letters, records);
    }
}
