//! Statistics of how far one set of binned counts is from another.
//!
//! Every function takes the counts of the reference (`expected`) and of what came (`actual`) in
//! the same bins, so it serves a [`Histogram`](super::Histogram) and categories alike. Bins hold
//! values only: nulls are no bin, their rate is told apart, because a column that goes missing
//! and a column that shifts are two things to be told of. For categories, give one count per
//! category, and zero on the side that lacks it.
//!
//! A statistic is `None` when either side has no values: nothing was seen, which is not the same
//! as nothing having moved.

mod chi_square;
mod distance;
mod divergence;
mod statistic;

pub use chi_square::{ChiSquare, chi_square};
pub use distance::{ks, shift, wasserstein};
pub use divergence::{PSI_EPSILON, hellinger, js, psi, tvd};
pub use statistic::Statistic;

/// The shares of two sets of counts, bin by bin; `None` when either has no values.
///
/// # Panics
/// When the two have different numbers of bins.
fn shares<'a>(
    expected: &'a [u64],
    actual: &'a [u64],
) -> Option<impl Iterator<Item = (f64, f64)> + 'a> {
    assert_eq!(
        expected.len(),
        actual.len(),
        "invariant: both sides have the same bins"
    );
    let expected_total = expected.iter().sum::<u64>() as f64;
    let actual_total = actual.iter().sum::<u64>() as f64;
    (expected_total > 0.0 && actual_total > 0.0).then(|| {
        let pairs = expected.iter().zip(actual);
        pairs.map(move |(&e, &a)| (e as f64 / expected_total, a as f64 / actual_total))
    })
}
