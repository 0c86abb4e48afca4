//! Help for the tests of aggregates: one key's events in, feature rows out.

use thalweg_engine::time::EventTime;

use super::{FeaturePlan, Features, KeyFeatures};

/// An event of the key under test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) second: i64,
    pub(crate) value: f64,
}

/// A reading at a second; NaN and infinities are missing values.
pub(crate) fn reading(second: i64, value: f64) -> Reading {
    Reading { second, value }
}

/// The plan of the declared features.
pub(crate) fn plan(declare: impl FnOnce(&mut Features<Reading>)) -> FeaturePlan<Reading> {
    let mut features = Features::new();
    declare(&mut features);
    features.build().unwrap()
}

/// The rows of one key's events.
pub(crate) fn run(
    declare: impl FnOnce(&mut Features<Reading>),
    events: &[Reading],
) -> Vec<Vec<f64>> {
    let (mut plan, mut state) = (plan(declare), KeyFeatures::default());
    let update = |event: &Reading| {
        let mut row = Vec::new();
        plan.update(
            &mut state,
            event,
            EventTime::from_seconds(event.second),
            &mut row,
        );
        row
    };
    events.iter().map(update).collect()
}

/// Asserts that one key's events give these rows exactly (NaN equals NaN).
pub(crate) fn check(
    declare: impl FnOnce(&mut Features<Reading>),
    events: &[Reading],
    expected: &[&[f64]],
) {
    let rows = run(declare, events);
    assert_eq!(rows.len(), expected.len());
    for ((event, row), expected) in events.iter().zip(&rows).zip(expected) {
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        assert!(
            row.len() == expected.len() && row.iter().zip(*expected).all(same),
            "{event:?}: {row:?}, expected {expected:?}"
        );
    }
}
