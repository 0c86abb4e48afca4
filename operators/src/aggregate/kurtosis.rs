//! Kurtosis: the excess kurtosis of a sample (G2), as pandas gives it; missing below four values
//! and where all values are equal.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_values;
use super::powers::Powers;

/// The excess kurtosis of the present values, adjusted for the size of the sample: with `g` the
/// fourth central moment over the squared second, less 3, it is
/// `(n - 1) / ((n - 2) (n - 3)) ((n + 1) g + 6)`. Missing below four values and where all values are
/// equal, or where fourth powers overflow (beyond 1e75).
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Kurtosis};
///
/// let (mut state, at) = (Kurtosis.empty(), EventTime::from_seconds(1));
/// for value in [1.0, 2.0, 3.0, 4.0] {
///     Kurtosis.add(&mut state, at, &value);
/// }
/// assert!((Kurtosis.finish(&state, at) + 1.2).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Kurtosis;

impl Aggregate for Kurtosis {
    of_values!(Powers<4>);

    type Output = f64;

    fn is_exact(&self, powers: &Powers<4>) -> bool {
        powers.is_exact()
    }

    fn finish(&self, powers: &Powers<4>, _end: EventTime) -> f64 {
        let n = powers.count() as f64;
        let second = powers.second_central() / n;
        if powers.count() < 4 || second <= 0.0 {
            return f64::NAN;
        }
        let excess = powers.fourth_central() / n / (second * second) - 3.0;
        (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * excess + 6.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Kurtosis, oracle::values(), within(1e-9), |events, _| {
            let values = oracle::present(events);
            let (n, second) = (values.len() as f64, oracle::central(&values, 2));
            if values.len() < 4 || second == 0.0 {
                return f64::NAN;
            }
            let excess = n * oracle::central(&values, 4) / (second * second) - 3.0;
            (n - 1.0) / ((n - 2.0) * (n - 3.0)) * ((n + 1.0) * excess + 6.0)
        });
    }

    #[test]
    fn is_the_adjusted_coefficient() {
        // Worked out in fractions.
        let events = [1.0, 2.0, 3.0, 4.0, 100.0].map(|v| (EventTime::from_seconds(0), v));
        let got = oracle::finish_of(&Kurtosis, &events);
        assert!((got - 4.986_865_957_200_655).abs() < 1e-12, "{got}");
    }
}
