//! Quantile: exact, with linear interpolation between the two values next to it (as NumPy and
//! pandas do by default); missing when there are no values.
//!
//! Holds all present values of the window in order, 8 bytes each, so it is for windows of up to
//! some ten thousand events; for more there are [`DdQuantile`](super::DdQuantile) and
//! [`KllQuantile`](super::KllQuantile).

use thalweg_engine::time::EventTime;

use super::kept::of_values;
use super::sorted::Sorted;
use super::{Aggregate, AggregateError, Ranks};

/// Exact quantiles of the present values; see [`Ranks`] for one or several.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Quantile};
///
/// let quartiles = Quantile::new(vec![0.25, 0.5])?;
/// let (mut state, at) = (quartiles.empty(), EventTime::from_seconds(1));
/// for value in [4.0, 1.0, 3.0, 2.0] {
///     quartiles.add(&mut state, at, &value);
/// }
/// assert_eq!(quartiles.finish(&state, at), [1.75, 2.5]);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Quantile<R = f64> {
    ranks: R,
}

impl<R: Ranks> Quantile<R> {
    /// These quantiles.
    ///
    /// # Errors
    /// When one is not between 0 and 1.
    pub fn new(ranks: R) -> Result<Self, AggregateError> {
        Ok(Self {
            ranks: ranks.checked()?,
        })
    }
}

impl<R: Ranks> Aggregate for Quantile<R> {
    of_values!(Sorted);

    type Output = R::Output;

    fn finish(&self, sorted: &Sorted, _end: EventTime) -> R::Output {
        self.ranks.answer(|q| quantile(sorted.values(), q))
    }
}

/// The quantile of values in order, NaN when there are none.
fn quantile(values: &[f64], q: f64) -> f64 {
    let position = q * values.len().saturating_sub(1) as f64;
    let (below, part) = (position as usize, position.fract());
    match (values.get(below), values.get(below + 1)) {
        (Some(low), Some(high)) if part > 0.0 => {
            let gap = high - low;
            if gap.is_finite() {
                low + gap * part
            } else {
                low * (1.0 - part) + high * part
            }
        }
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::{each_within, within};

    /// Walks the sorted values in steps of a position.
    fn naive(events: &[(EventTime, f64)], q: f64) -> f64 {
        let values = oracle::sorted(events);
        let Some(last) = values.len().checked_sub(1) else {
            return f64::NAN;
        };
        let position = last as f64 * q;
        let weight = |n: usize| (1.0 - (position - n as f64).abs()).max(0.0);
        (0..=last).map(|n| values[n] * weight(n)).sum()
    }

    #[test]
    fn agrees_with_its_oracle() {
        let median = Quantile::new(0.5).unwrap();
        oracle::check(&median, oracle::values(), within(1e-12), |events, _| {
            naive(events, 0.5)
        });
        let several = Quantile::new(vec![0.0, 0.3, 0.99, 1.0]).unwrap();
        oracle::check(
            &several,
            oracle::values(),
            each_within(1e-9),
            |events, _| [0.0, 0.3, 0.99, 1.0].map(|q| naive(events, q)).to_vec(),
        );
    }

    #[test]
    fn interpolates_between_the_ends_of_the_range() {
        assert_eq!(quantile(&[-f64::MAX, f64::MAX], 0.5), 0.0);
    }
}
