//! Which quantiles are asked for: one, or several.

use std::fmt::Debug;

use super::AggregateError;

/// One quantile (`f64`, answered by a number) or several (`Vec<f64>`, answered by as many), each
/// from 0 (the least value) over 0.5 (the median) to 1 (the greatest).
pub trait Ranks: Debug + 'static + sealed::Sealed {
    /// The answer.
    type Output;

    /// The quantiles asked for, if they can be.
    #[doc(hidden)]
    fn checked(self) -> Result<Self, AggregateError>
    where
        Self: Sized;

    /// The answer, given that to each quantile.
    #[doc(hidden)]
    fn answer(&self, quantile: impl Fn(f64) -> f64) -> Self::Output;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f64 {}
    impl Sealed for Vec<f64> {}
}

impl Ranks for f64 {
    type Output = f64;

    fn checked(self) -> Result<Self, AggregateError> {
        if (0.0..=1.0).contains(&self) {
            Ok(self)
        } else {
            Err(AggregateError::Quantile(self))
        }
    }

    fn answer(&self, quantile: impl Fn(f64) -> f64) -> f64 {
        quantile(*self)
    }
}

impl Ranks for Vec<f64> {
    type Output = Vec<f64>;

    fn checked(self) -> Result<Self, AggregateError> {
        self.into_iter().map(f64::checked).collect()
    }

    fn answer(&self, quantile: impl Fn(f64) -> f64) -> Vec<f64> {
        self.iter().map(|q| quantile(*q)).collect()
    }
}

/// The position, from 0, of the greatest of `count` values that is not above quantile `q`: what an
/// approximate quantile approximates.
pub(crate) fn lower_position(q: f64, count: u64) -> u64 {
    (q * count.saturating_sub(1) as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_outside_of_0_to_1_are_refused() {
        assert_eq!(1.0.checked(), Ok(1.0));
        assert_eq!((-0.1).checked(), Err(AggregateError::Quantile(-0.1)));
        assert!(vec![0.5, f64::NAN].checked().is_err());
    }
}
