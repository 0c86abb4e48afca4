//! Mean: the sum of the present values over their number; missing when there are none.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::moments::Moments;
use super::total::Total;

/// The mean, NaN when there are no values.
#[inline]
pub(crate) fn mean(moments: &Moments) -> f64 {
    if moments.count == 0 {
        return f64::NAN;
    }
    moments.sum.value() / moments.count.cast_signed() as f64
}

/// The mean of the present values, missing when there are none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Mean};
///
/// let (mut state, at) = (Mean.empty(), EventTime::from_seconds(1));
/// for value in [1.0, 4.0, f64::NAN] {
///     Mean.add(&mut state, at, &value);
/// }
/// assert_eq!(Mean.finish(&state, at), 2.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Mean;

/// What [`Mean`] keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanState {
    count: u64,
    total: Total,
}

impl Aggregate for Mean {
    type Input = f64;
    type State = MeanState;
    type Output = f64;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) -> MeanState {
        MeanState::default()
    }

    fn add(&self, state: &mut MeanState, _at: EventTime, value: &f64) {
        if value.is_finite() {
            state.count += 1;
            state.total.add(*value);
        }
    }

    fn merge(&self, state: &mut MeanState, later: &MeanState) {
        state.count += later.count;
        state.total.merge(&later.total);
    }

    fn remove(&self, state: &mut MeanState, _at: EventTime, value: &f64) {
        if !value.is_finite() {
            return;
        }
        state.count -= 1;
        if state.count == 0 {
            *state = MeanState::default();
        } else {
            state.total.remove(*value);
        }
    }

    fn is_exact(&self, state: &MeanState) -> bool {
        state.total.is_exact()
    }

    fn finish(&self, state: &MeanState, _end: EventTime) -> f64 {
        if state.count == 0 {
            return f64::NAN;
        }
        state.total.value() / state.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn averages_what_is_present_and_is_missing_when_nothing_is() {
        check(
            |f| {
                f.over(secs(10)).mean("mean", |e| e.value);
            },
            &[
                reading(0, f64::NAN),
                reading(1, 2.0),
                reading(2, 4.0),
                reading(11, f64::NAN),
                reading(12, f64::NAN),
            ],
            &[&[f64::NAN], &[2.0], &[3.0], &[4.0], &[f64::NAN]],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Mean, oracle::values(), within(1e-9), |events, _| {
            let values = oracle::present(events);
            oracle::exact_sum(&values) / values.len() as f64
        });
    }
}
