//! Sum: the total of the present values; zero when there are none.
//!
//! Kept as a [`Compensated`](super::compensated::Compensated) total, so a spike that has left leaves
//! nothing behind.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_values;
use super::total::Total;

/// The sum of the present values, zero when there are none. What a value that has left leaves
/// behind stays below 1e-10 of the sum.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Sum};
///
/// let (mut state, at) = (Sum.empty(), EventTime::from_seconds(1));
/// for value in [1e12, 0.1, f64::NAN] {
///     Sum.add(&mut state, at, &value);
/// }
/// Sum.remove(&mut state, at, &1e12);
/// assert_eq!(Sum.finish(&state, at), 0.1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Sum;

impl Aggregate for Sum {
    of_values!(Total);

    type Output = f64;

    fn is_exact(&self, total: &Total) -> bool {
        total.is_exact()
    }

    fn finish(&self, total: &Total, _end: EventTime) -> f64 {
        total.value()
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
    fn sums_the_window_and_is_zero_when_it_is_empty() {
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
            },
            &[
                reading(0, 1.0),
                reading(5, 2.0),
                reading(10, 4.0),
                reading(11, f64::NAN),
            ],
            &[&[1.0], &[3.0], &[6.0], &[6.0]],
        );
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
            },
            &[reading(0, 1.0), reading(50, f64::INFINITY)],
            &[&[1.0], &[0.0]],
        );
    }

    #[test]
    fn an_overflow_ends_when_the_values_have_left() {
        let huge = f64::MAX;
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
                f.ever().sum("ever", |e| e.value);
            },
            &[
                reading(0, huge),
                reading(1, huge),
                reading(5, 3.0),
                reading(12, 4.0),
            ],
            &[
                &[huge, huge],
                &[f64::INFINITY, f64::INFINITY],
                &[f64::INFINITY, f64::INFINITY],
                &[7.0, f64::INFINITY],
            ],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Sum, oracle::values(), within(1e-9), |events, _| {
            oracle::exact_sum(&oracle::present(events))
        });
    }
}
