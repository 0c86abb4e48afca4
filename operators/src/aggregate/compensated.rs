//! A running total that values can leave again without leaving anything behind.
//!
//! A plain `f64` total that has held 1e12 keeps the rounding errors of that magnitude after the
//! value has left. This one is the unevaluated sum of two `f64` ("double-double"), about 106
//! significant bits, kept up by Knuth's `TwoSum`. Source: Knuth, TAOCP 2, 4.2.2; Ogita, Rump,
//! Oishi, "Accurate sum and dot product" (2005).

use serde::{Deserialize, Serialize};

use crate::window::lanes;

/// A double-double running total.
///
/// Once a total overflows it stays non-finite; who owns the values rebuilds it from those left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compensated {
    high: f64,
    low: f64,
}

impl Compensated {
    /// Lanes of 32 bits that a stored total takes.
    pub(crate) const LANES: usize = 4;

    /// Reads a total.
    #[inline]
    pub(crate) fn load(from: &[u32; Self::LANES]) -> Self {
        Self {
            high: lanes::get_f64(from, 0),
            low: lanes::get_f64(from, 2),
        }
    }

    /// Writes the total.
    #[inline]
    pub(crate) fn store(self, to: &mut [u32; Self::LANES]) {
        lanes::set_f64(to, 0, self.high);
        lanes::set_f64(to, 2, self.low);
    }

    /// Adds a value; a value leaves by adding its negative.
    #[inline]
    pub(crate) fn add(self, value: f64) -> Self {
        self.add_exact(value, 0.0)
    }

    /// Adds an unevaluated sum of two as [`add_exact`](Self::add_exact) does, but leaves it to
    /// [`settled`](Self::settled) to bring both parts into order: what is added to and read in turn
    /// pays for that once. The low part gathers the rounding errors of the high one, so it stays
    /// small beside what the total has held.
    #[inline]
    pub(crate) fn gather(self, high: f64, low: f64) -> Self {
        let total = self.high + high;
        let part = total - self.high;
        let error = (self.high - (total - part)) + (high - part);
        Self {
            high: total,
            low: self.low + (error + low),
        }
    }

    /// A gathered total with its parts in order, the low one less than a rounding error of the
    /// high one; one that has overflowed is infinite.
    #[inline]
    pub(crate) fn settled(self) -> Self {
        if !self.high.is_finite() {
            return Self {
                high: self.high,
                low: 0.0,
            };
        }
        let total = self.high + self.low;
        let part = total - self.high;
        Self {
            high: total,
            low: (self.high - (total - part)) + (self.low - part),
        }
    }

    /// The total rounded to one `f64`, whether or not it is settled.
    #[inline]
    pub(crate) fn value(self) -> f64 {
        let total = self.high + self.low;
        // The low part of a gathered total that has overflowed is not a number.
        if total.is_nan() { self.high } else { total }
    }

    /// Whether the total has not overflowed.
    #[inline]
    pub(crate) fn is_finite(self) -> bool {
        self.high.is_finite()
    }

    /// The difference of two values, exact.
    pub(crate) fn difference(a: f64, b: f64) -> Self {
        Self::default().add(a).add(-b)
    }

    /// This total and another.
    pub(crate) fn plus(self, other: Self) -> Self {
        self.add_exact(other.high, other.low)
    }

    /// This total without another.
    pub(crate) fn minus(self, other: Self) -> Self {
        self.add_exact(-other.high, -other.low)
    }

    /// The product with another total.
    pub(crate) fn times(self, other: Self) -> Self {
        let (product, error) = product(self.high, other.high);
        if !product.is_finite() {
            return Self {
                high: product,
                low: 0.0,
            };
        }
        let error = error + (self.high * other.low + self.low * other.high);
        let high = product + error;
        Self {
            high,
            low: error - (high - product),
        }
    }

    /// The product with a value.
    pub(crate) fn scaled(self, by: f64) -> Self {
        self.times(Self { high: by, low: 0.0 })
    }

    /// This total over `n`.
    pub(crate) fn over(self, n: f64) -> Self {
        let quotient = self.high / n;
        let (product, error) = product(quotient, n);
        let rest = ((self.high - product) - error + self.low) / n;
        Self::default().add_exact(quotient, rest)
    }

    /// This total minus `other` squared over `n`: the sum of squared deviations when this is a
    /// sum of squares and `other` the sum of the same `n` values.
    pub(crate) fn minus_square_over(self, other: Self, n: f64) -> f64 {
        let (square, error) = square(other.high);
        let error = error + 2.0 * other.high * other.low;
        let quotient = square / n;
        let (product, product_error) = product(quotient, n);
        let rest = ((square - product) - product_error + error) / n;
        self.add_exact(-quotient, -rest).value()
    }

    /// Adds an unevaluated sum of two, the second small beside the first.
    #[inline]
    pub(crate) fn add_exact(self, high: f64, low: f64) -> Self {
        let total = self.high + high;
        if !total.is_finite() {
            return Self {
                high: total,
                low: 0.0,
            };
        }
        let part = total - self.high;
        let error = (self.high - (total - part)) + (high - part);
        let low = self.low + error + low;
        let high = total + low;
        Self {
            high,
            low: low - (high - total),
        }
    }
}

/// `value` squared, as the rounded product and its rounding error.
#[inline]
pub(crate) fn square(value: f64) -> (f64, f64) {
    let (high, low) = split(value);
    let square = value * value;
    (
        square,
        ((high * high - square) + 2.0 * high * low) + low * low,
    )
}

/// `a * b`, as the rounded product and its rounding error (Dekker).
fn product(a: f64, b: f64) -> (f64, f64) {
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let product = a * b;
    let error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    (product, error)
}

/// A value as two halves of at most 27 significant bits each.
#[inline]
fn split(value: f64) -> (f64, f64) {
    let high = f64::from_bits(value.to_bits() & !0x07ff_ffff);
    (high, value - high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_that_has_left_leaves_nothing_behind() {
        let mut total = Compensated::default();
        let values: Vec<f64> = (0..1_000).map(|n| 0.1 + f64::from(n) * 1e-3).collect();
        total = total.add(1e12);
        for value in &values {
            total = total.add(*value);
        }
        total = total.add(-1e12);
        let expected: f64 = values.iter().sum();
        assert!(
            (total.value() / expected - 1.0).abs() < 1e-12,
            "{} {expected}",
            total.value()
        );
    }

    #[test]
    fn gathering_and_settling_is_adding() {
        let values =
            (0..2_000).map(|n| f64::from(n % 83) * 0.1 + if n % 500 == 7 { 1e15 } else { 0.0 });
        let values: Vec<f64> = values.collect();
        let (mut added, mut gathered) = (Compensated::default(), Compensated::default());
        for (n, value) in values.iter().enumerate() {
            added = added.add(*value);
            gathered = gathered.gather(*value, 0.0);
            if n >= 600 {
                added = added.add(-values[n - 600]);
                gathered = gathered.gather(-values[n - 600], 0.0);
            }
            let apart = added.minus(gathered.settled()).value().abs();
            assert!(apart <= 1e-15 * added.value(), "{added:?} {gathered:?}");
        }
        let over = Compensated::default()
            .gather(f64::MAX, 0.0)
            .gather(f64::MAX, 0.0);
        assert_eq!(over.settled().value(), f64::INFINITY);
    }

    #[test]
    fn products_and_quotients_keep_what_one_f64_would_lose() {
        // (2^60 + 1)^2 = 2^120 + 2^61 + 1, and its 106 leading bits.
        let wide = Compensated::default().add(2f64.powi(60)).add(1.0);
        let rest = wide.times(wide).add(-(2f64.powi(120)));
        assert_eq!(rest.value(), 2f64.powi(61));
        let third = Compensated::default().add(1.0).over(3.0);
        assert!(third.scaled(3.0).add(-1.0).value().abs() < 1e-31);
        let close = Compensated::difference(1e17, 0.125);
        assert_eq!(close.add(-1e17).value(), -0.125);
        assert_eq!(close.minus(close), Compensated::default());
    }

    #[test]
    fn squares_are_exact() {
        let (square, error) = square(1e8 + 0.1);
        let (product, product_error) = product(1e8 + 0.1, 1e8 + 0.1);
        assert_eq!((square, error), (product, product_error));
        assert!(error != 0.0 && error.abs() < square * f64::EPSILON);
    }
}
