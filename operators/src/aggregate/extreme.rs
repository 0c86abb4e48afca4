//! Min and max: the least and the greatest present value; missing when there are none.
//!
//! Every window is a suffix of the key's log, so one monotone stack for a column and a direction
//! serves all window lengths: a row is on the stack while no later row ties or beats it, and the
//! extreme of a window is the first row of the stack inside the window. The stack is a bit per row
//! (see [`crate::window`]).

use thalweg_engine::time::EventTime;

use super::Aggregate;

/// Which end of the order is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

impl Direction {
    /// Whether `later` takes the place of `earlier`: it ties or beats it.
    #[inline]
    pub(crate) fn replaces(self, later: f64, earlier: f64) -> bool {
        match self {
            Self::Min => later <= earlier,
            Self::Max => later >= earlier,
        }
    }
}

/// The least present value, missing when there are none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Min};
///
/// let (mut state, at) = (Min.empty(), EventTime::from_seconds(1));
/// for value in [3.0, 1.0, f64::NAN] {
///     Min.add(&mut state, at, &value);
/// }
/// assert_eq!(Min.finish(&state, at), 1.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Min;

/// The greatest present value, missing when there are none.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Max};
///
/// let (mut state, at) = (Max.empty(), EventTime::from_seconds(1));
/// for value in [3.0, 1.0, f64::NAN] {
///     Max.add(&mut state, at, &value);
/// }
/// assert_eq!(Max.finish(&state, at), 3.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Max;

macro_rules! extreme {
    ($extreme:ty, $of:path) => {
        impl Aggregate for $extreme {
            type Input = f64;
            type State = f64;
            type Output = f64;

            const ORDERED: bool = false;

            fn empty(&self) -> f64 {
                f64::NAN
            }

            fn add(&self, known: &mut f64, _at: EventTime, value: &f64) {
                if value.is_finite() {
                    *known = $of(*known, *value);
                }
            }

            fn merge(&self, known: &mut f64, later: &f64) {
                *known = $of(*known, *later);
            }

            fn finish(&self, known: &f64, _end: EventTime) -> f64 {
                *known
            }
        }
    };
}

// Of a missing value and another these give the other.
extreme!(Min, f64::min);
extreme!(Max, f64::max);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn extremes_leave_with_their_window() {
        check(
            |f| {
                f.over(secs(3))
                    .min("min_3", |e| e.value)
                    .max("max_3", |e| e.value);
                f.over(secs(10)).max("max_10", |e| e.value);
                f.ever().min("min", |e| e.value).max("max", |e| e.value);
            },
            &[
                reading(0, f64::NAN),
                reading(1, 5.0),
                reading(2, 1.0),
                reading(4, 3.0),
                reading(5, 3.0),
                reading(11, f64::NEG_INFINITY),
            ],
            &[
                &[f64::NAN; 5],
                &[5.0, 5.0, 5.0, 5.0, 5.0],
                &[1.0, 5.0, 5.0, 1.0, 5.0],
                &[1.0, 3.0, 5.0, 1.0, 5.0],
                &[3.0, 3.0, 5.0, 1.0, 5.0],
                &[f64::NAN, f64::NAN, 3.0, 1.0, 5.0],
            ],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Min, oracle::values(), exactly, |events, _| {
            let sorted = oracle::sorted(events);
            sorted.first().copied().unwrap_or(f64::NAN)
        });
        oracle::check(&Max, oracle::values(), exactly, |events, _| {
            let sorted = oracle::sorted(events);
            sorted.last().copied().unwrap_or(f64::NAN)
        });
    }
}
