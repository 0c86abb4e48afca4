//! Variance and standard deviation of a sample (divisor n - 1); missing below two values.
//!
//! The sum of squares less the squared sum over n cancels badly in `f64`: at mean 1e8 nothing
//! is left of a variance of 0.08. Both sums are double-double here, so the difference is taken
//! with 106 bits; where it does not cancel, `f64` serves.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_values;
use super::moments::Moments;
use super::powers::Powers;

/// Below this part of the sum of squares, the plain `f64` difference has lost too much.
const CANCELLED: f64 = 1.0 / 1024.0;
/// Below this part of the sum of squares, a difference is rounding noise (2^-100).
const NOISE: f64 = 1.0 / (1u128 << 100) as f64;

/// The sample variance, NaN below two values; infinite where squares overflow (beyond 1e150).
#[inline]
pub(crate) fn variance(moments: &Moments) -> f64 {
    if moments.count < 2 {
        return f64::NAN;
    }
    let n = moments.count.cast_signed() as f64;
    let squares = moments.squares.value();
    if !squares.is_finite() {
        return f64::INFINITY;
    }
    let sum = moments.sum.value();
    let mut deviations = squares - sum * (sum / n);
    if deviations <= squares * CANCELLED {
        deviations = moments
            .squares
            .settled()
            .minus_square_over(moments.sum.settled(), n);
        if deviations <= squares * NOISE {
            return 0.0;
        }
    }
    deviations / (n - 1.0)
}

/// The sample standard deviation: the root of [`variance`].
#[inline]
pub(crate) fn std(moments: &Moments) -> f64 {
    variance(moments).sqrt()
}

/// The sample variance of the present values (divisor n - 1), missing below two of them; infinite
/// where squares overflow (beyond 1e150).
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Variance};
///
/// let (mut state, at) = (Variance.empty(), EventTime::from_seconds(1));
/// for value in [1.0, 3.0, f64::NAN] {
///     Variance.add(&mut state, at, &value);
/// }
/// assert_eq!(Variance.finish(&state, at), 2.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Variance;

impl Aggregate for Variance {
    of_values!(Powers<2>);

    type Output = f64;

    fn is_exact(&self, powers: &Powers<2>) -> bool {
        powers.is_exact()
    }

    fn finish(&self, powers: &Powers<2>, _end: EventTime) -> f64 {
        if powers.count() < 2 {
            return f64::NAN;
        }
        powers.second_central() / (powers.count() - 1) as f64
    }
}

/// The sample standard deviation of the present values: the root of their [`Variance`].
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Std};
///
/// let (mut state, at) = (Std.empty(), EventTime::from_seconds(1));
/// for value in [1.0, 3.0, f64::NAN] {
///     Std.add(&mut state, at, &value);
/// }
/// assert_eq!(Std.finish(&state, at), 2f64.sqrt());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Std;

impl Aggregate for Std {
    of_values!(Powers<2>);

    type Output = f64;

    fn is_exact(&self, powers: &Powers<2>) -> bool {
        Variance.is_exact(powers)
    }

    fn finish(&self, powers: &Powers<2>, end: EventTime) -> f64 {
        Variance.finish(powers, end).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;
    use crate::features::testing::{check, reading, run};
    use thalweg_engine::time::secs;

    #[test]
    fn divides_by_one_less_than_the_number_of_values() {
        check(
            |f| {
                f.over(secs(10))
                    .variance("var", |e| e.value)
                    .std("std", |e| e.value);
            },
            &[
                reading(0, 1.0),
                reading(1, 3.0),
                reading(2, f64::NAN),
                reading(3, 8.0),
            ],
            &[
                &[f64::NAN, f64::NAN],
                &[2.0, 2f64.sqrt()],
                &[2.0, 2f64.sqrt()],
                &[13.0, 13f64.sqrt()],
            ],
        );
    }

    #[test]
    fn equal_values_have_no_variance() {
        let events: Vec<_> = (0..200).map(|n| reading(n, 1e8 + 0.1)).collect();
        let rows = run(
            |f| {
                f.over(secs(30)).std("std", |e| e.value);
            },
            &events,
        );
        assert!(rows[1..].iter().all(|row| row[0] == 0.0));
    }

    #[test]
    fn is_right_far_from_zero_and_after_a_spike() {
        // 1,000 values around 1e8, a spike of 1e12 among the first that leaves the window.
        let noise = |n: i64| (n * 7_919 % 1_000) as f64 / 1_000.0;
        let mut events: Vec<_> = (0..2_000).map(|n| reading(n, 1e8 + noise(n))).collect();
        events[500].value = 1e12;
        let rows = run(
            |f| {
                f.over(secs(1_000)).variance("var", |e| e.value);
            },
            &events,
        );
        let window: Vec<f64> = events[1_000..].iter().map(|e| e.value - 1e8).collect();
        let mean = window.iter().sum::<f64>() / 1_000.0;
        let expected = window.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 999.0;
        let got = rows[1_999][0];
        assert!(
            (got / expected - 1.0).abs() < 1e-6,
            "{got} against {expected}"
        );
    }

    #[test]
    fn squares_beyond_the_range_make_an_infinite_variance_that_passes() {
        check(
            |f| {
                f.over(secs(10)).variance("var", |e| e.value);
            },
            &[
                reading(0, 1e200),
                reading(1, 2e200),
                reading(10, 1.0),
                reading(11, 2.0),
            ],
            &[&[f64::NAN], &[f64::INFINITY], &[f64::INFINITY], &[0.5]],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        let variance = |events: &[(EventTime, f64)]| {
            let values = oracle::present(events);
            match values.len() {
                0 | 1 => f64::NAN,
                n => oracle::central(&values, 2) / (n - 1) as f64,
            }
        };
        oracle::check(&Variance, oracle::values(), within(1e-9), |events, _| {
            variance(events)
        });
        oracle::check(&Std, oracle::values(), within(1e-9), |events, _| {
            variance(events).sqrt()
        });
    }
}
