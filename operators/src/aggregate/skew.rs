//! Skew: the adjusted Fisher-Pearson coefficient of a sample (G1), as pandas gives it; missing below
//! three values and where all values are equal.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_values;
use super::powers::Powers;

/// The skew of the present values: `sqrt(n (n - 1)) / (n - 2)` times the third central moment over
/// the second to the power 3/2. Missing below three values and where all values are equal, or
/// where cubes overflow (beyond 1e100).
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Skew};
///
/// let (mut state, at) = (Skew.empty(), EventTime::from_seconds(1));
/// for value in [1.0, 2.0, 3.0] {
///     Skew.add(&mut state, at, &value);
/// }
/// assert_eq!(Skew.finish(&state, at), 0.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Skew;

impl Aggregate for Skew {
    of_values!(Powers<3>);

    type Output = f64;

    fn is_exact(&self, powers: &Powers<3>) -> bool {
        powers.is_exact()
    }

    fn finish(&self, powers: &Powers<3>, _end: EventTime) -> f64 {
        let n = powers.count() as f64;
        let second = powers.second_central() / n;
        if powers.count() < 3 || second <= 0.0 {
            return f64::NAN;
        }
        let skew = powers.third_central() / n / (second * second.sqrt());
        skew * (n * (n - 1.0)).sqrt() / (n - 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Skew, oracle::values(), within(1e-9), |events, _| {
            let values = oracle::present(events);
            let (n, second) = (values.len() as f64, oracle::central(&values, 2));
            if values.len() < 3 || second == 0.0 {
                return f64::NAN;
            }
            let skew = n.sqrt() * oracle::central(&values, 3) / second.powf(1.5);
            skew * (n * (n - 1.0)).sqrt() / (n - 2.0)
        });
    }

    #[test]
    fn is_the_adjusted_coefficient() {
        // Worked out in fractions.
        let events = [1.0, 2.0, 3.0, 4.0, 100.0].map(|v| (EventTime::from_seconds(0), v));
        let got = oracle::finish_of(&Skew, &events);
        assert!((got - 2.232_395_911_636_458).abs() < 1e-12, "{got}");
    }
}
