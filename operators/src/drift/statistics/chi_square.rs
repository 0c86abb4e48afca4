//! Pearson's chi-square over binned or categorical counts.

use serde::{Deserialize, Serialize};

/// The outcome of a chi-square comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChiSquare {
    /// The statistic; it grows with the number of rows, so compare it with the distribution of
    /// its degrees of freedom, not from window to window.
    pub statistic: f64,
    /// One less than the bins that are not empty on both sides.
    pub degrees_of_freedom: u64,
}

/// Pearson's chi-square of the table with `expected` and `actual` as its two rows (homogeneity:
/// both are samples), without Yates' correction.
///
/// Bins that are empty on both sides are left out; a category that only one side has is not
/// infinitely surprising, as it would be in a test of fit against the reference. Source: scipy's
/// `chi2_contingency(.., correction=False)`. `None` when either side has no values.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn chi_square(expected: &[u64], actual: &[u64]) -> Option<ChiSquare> {
    assert_eq!(
        expected.len(),
        actual.len(),
        "invariant: both sides have the same bins"
    );
    let row_totals = [expected, actual].map(|row| row.iter().sum::<u64>() as f64);
    if row_totals.contains(&0.0) {
        return None;
    }
    let total = row_totals[0] + row_totals[1];
    let (mut statistic, mut bins) = (0.0, 0_u64);
    for (&e, &a) in expected.iter().zip(actual) {
        let in_bin = (e + a) as f64;
        if in_bin == 0.0 {
            continue;
        }
        bins += 1;
        for (observed, row_total) in [e, a].into_iter().zip(row_totals) {
            let fitted = row_total * in_bin / total;
            statistic += (observed as f64 - fitted).powi(2) / fitted;
        }
    }
    Some(ChiSquare {
        statistic,
        degrees_of_freedom: bins - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::vectors::{self, assert_close};

    fn check(expected: &[u64], actual: &[u64], statistic: f64, degrees_of_freedom: u64) {
        let found = chi_square(expected, actual).unwrap();
        assert_close(Some(found.statistic), statistic, 1e-12 * statistic.max(1.0));
        assert_eq!(found.degrees_of_freedom, degrees_of_freedom);
    }

    #[test]
    fn categories_hit_the_figures_of_scipy() {
        let (expected, actual) = vectors::categories();
        check(&expected, &actual, 489.1105271604757, 5);
        check(&expected[..2], &actual[..2], 0.12380030522004086, 1);
    }

    #[test]
    fn bins_empty_on_both_sides_do_not_count() {
        check(&[10, 0, 20], &[20, 0, 40], 0.0, 1);
        check(&[4], &[7], 0.0, 0);
    }

    #[test]
    fn a_side_without_values_has_no_statistic() {
        assert_eq!(chi_square(&[0, 0], &[1, 2]), None);
        assert_eq!(chi_square(&[1, 2], &[0, 0]), None);
    }
}
