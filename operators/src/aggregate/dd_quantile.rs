//! Approximate quantiles to a relative error, by `DDSketch`.
//!
//! Values are counted in buckets whose ends are a fixed ratio apart, so a quantile is right to the
//! chosen part of itself, counts can be taken back, and merging is exact. Source: Masson, Rim, Lee,
//! "DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees" (2019).
//!
//! The mapping of values to buckets is that of the crate `sketches-ddsketch`. The buckets are
//! counted here, because its sketch cannot take a value back and keeps a dense range of buckets,
//! several KB for a few values; these are as many as there are different values at most.

use sketches_ddsketch::Config;
use thalweg_engine::time::EventTime;

use super::counts::Counts;
use super::ranks::lower_position;
use super::{Aggregate, AggregateError, Ranks};

/// Magnitudes below this are counted as zero: the least normal `f64`.
const LEAST: f64 = f64::MIN_POSITIVE;

/// Quantiles of the present values to a relative error, missing when there are none; see [`Ranks`]
/// for one or several.
///
/// For quantile `q` of `n` values, the value at position `floor(q (n - 1))` in their order, from 0,
/// is answered with a relative error of at most `accuracy`. A bucket takes 16 bytes; values from
/// 1 to a million fill at most 700 buckets at an accuracy of 0.01.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, DdQuantile};
///
/// let p99 = DdQuantile::new(0.99, 0.01)?;
/// let (mut state, at) = (p99.empty(), EventTime::from_seconds(1));
/// for value in 1..=1_000 {
///     p99.add(&mut state, at, &f64::from(value));
/// }
/// p99.remove(&mut state, at, &1.0);
/// assert!((p99.finish(&state, at) / 990.0 - 1.0).abs() < 0.01);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct DdQuantile<R = f64> {
    ranks: R,
    mapping: Config,
    /// The bucket of the least magnitude.
    first: i32,
}

/// What [`DdQuantile`] keeps: counts of buckets, negative values in negative ones.
type DdSketch = Counts<i32>;

impl<R: Ranks> DdQuantile<R> {
    /// These quantiles, to a relative error of `accuracy`.
    ///
    /// # Errors
    /// When a quantile is not between 0 and 1, or the accuracy not between 1e-6 and 0.5.
    pub fn new(ranks: R, accuracy: f64) -> Result<Self, AggregateError> {
        if !(1e-6..=0.5).contains(&accuracy) {
            return Err(AggregateError::Accuracy(accuracy));
        }
        // The number of bins bounds the crate's own store, which is not used.
        let mapping = Config::new(accuracy, 0, LEAST);
        Ok(Self {
            ranks: ranks.checked()?,
            mapping,
            first: mapping.key(LEAST),
        })
    }

    /// The bucket of a finite value; buckets are in the order of their values, zero is 0.
    fn bucket(&self, value: f64) -> i32 {
        if value.abs() < LEAST {
            return 0;
        }
        let bucket = self.mapping.key(value.abs()) - self.first + 1;
        if value < 0.0 { -bucket } else { bucket }
    }

    /// The value that stands for a bucket.
    fn value(&self, bucket: i32) -> f64 {
        if bucket == 0 {
            return 0.0;
        }
        let value = self.mapping.value(bucket.abs() - 1 + self.first);
        value.min(f64::MAX).copysign(f64::from(bucket))
    }

    fn quantile(&self, sketch: &DdSketch, q: f64) -> f64 {
        let position = lower_position(q, sketch.iter().map(|(_, times)| times).sum());
        let mut before = 0;
        for (bucket, times) in sketch.iter() {
            before += times;
            if before > position {
                return self.value(bucket);
            }
        }
        f64::NAN
    }
}

impl<R: Ranks> Aggregate for DdQuantile<R> {
    type Input = f64;
    type State = DdSketch;
    type Output = R::Output;

    const REMOVES: bool = true;

    fn empty(&self) -> DdSketch {
        DdSketch::default()
    }

    fn add(&self, sketch: &mut DdSketch, _at: EventTime, value: &f64) {
        if value.is_finite() {
            sketch.add(self.bucket(*value), 1);
        }
    }

    fn merge(&self, sketch: &mut DdSketch, later: &DdSketch) {
        sketch.merge(later);
    }

    fn remove(&self, sketch: &mut DdSketch, _at: EventTime, value: &f64) {
        if value.is_finite() {
            sketch.remove(self.bucket(*value));
        }
    }

    fn finish(&self, sketch: &DdSketch, _end: EventTime) -> R::Output {
        self.ranks.answer(|q| self.quantile(sketch, q))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;

    fn close(accuracy: f64) -> impl Fn(&f64, &f64) -> bool + Copy {
        move |got, expected| {
            let missing = got.is_nan() && expected.is_nan();
            missing || (got - expected).abs() <= accuracy * expected.abs() * (1.0 + 1e-9)
        }
    }

    #[test]
    fn is_as_close_to_its_oracle_as_it_says() {
        for (q, accuracy) in [(0.5, 0.01), (0.99, 1e-6), (0.0, 0.2)] {
            let quantile = DdQuantile::new(q, accuracy).unwrap();
            oracle::check(&quantile, oracle::values(), close(accuracy), |events, _| {
                let values = oracle::sorted(events);
                let position = lower_position(q, values.len() as u64);
                values.get(position as usize).copied().unwrap_or(f64::NAN)
            });
        }
    }

    #[test]
    fn every_magnitude_has_a_bucket_that_stands_for_it() {
        for accuracy in [1e-6, 0.01, 0.5] {
            let quantile = DdQuantile::new(0.5, accuracy).unwrap();
            for exponent in -306..=308 {
                for value in [1.0, 3.7, -9.99].map(|v| v * 10f64.powi(exponent - 1)) {
                    let got = quantile.value(quantile.bucket(value));
                    assert!(close(accuracy)(&got, &value), "{got} for {value}");
                }
            }
            for value in [f64::MAX, -f64::MAX, 0.0, 5e-324, LEAST] {
                let got = quantile.value(quantile.bucket(value));
                assert!((got - value).abs() <= accuracy * value.abs() + LEAST);
            }
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let error = DdQuantile::new(0.5, 0.0).unwrap_err();
        assert_eq!(error, AggregateError::Accuracy(0.0));
        assert!(DdQuantile::new(vec![0.5, 1.5], 0.01).is_err());
    }
}
