//! Distances over the order of a numeric column's bins: Kolmogorov-Smirnov, Wasserstein, and which
//! way.

use super::shares;
use crate::drift::column::Column;

/// The Kolmogorov-Smirnov distance over the binned distribution functions: the greatest
/// difference of the two cumulative shares at an edge, from 0 to 1.
///
/// Never more than the exact two-sample statistic, and close to it with the ten bins of the
/// default profile; a shift within one bin does not show.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn ks(expected: &[u64], actual: &[u64]) -> Option<f64> {
    let mut difference = 0.0_f64;
    let mut greatest = 0.0_f64;
    for (e, a) in shares(expected, actual)? {
        difference += a - e;
        greatest = greatest.max(difference.abs());
    }
    Some(greatest)
}

/// Which way the values have moved, from -1 (all lower) to 1 (all higher): the share of pairs of a
/// value that came and one of the reference in which the former is in a higher bin, less the share
/// in which it is in a lower one (Cliff's delta, 1993, over the bins). A change of spread alone
/// leaves it near 0.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn shift(expected: &[u64], actual: &[u64]) -> Option<f64> {
    let (mut below, mut delta) = (0.0, 0.0);
    for (e, a) in shares(expected, actual)? {
        let above = 1.0 - below - e;
        delta += a * (below - above);
        below += e;
    }
    Some(delta.clamp(-1.0, 1.0))
}

/// The Wasserstein-1 distance, in the column's own unit, **approximated** from the histogram.
///
/// It is the area between the two distribution functions, with values taken as spread evenly
/// within a bin and the outer bins as ending where the reference's range ends. So it leaves out
/// how far beyond the range values lie, which the out-of-range rate tells of, and it makes much of
/// long thin tails: 12 % above the exact distance for a shifted near-Gaussian column on deciles.
/// `None` also when the reference has no finite value.
///
/// # Panics
/// When `actual` has other bins than `column`.
pub fn wasserstein(column: &Column, actual: &[u64]) -> Option<f64> {
    let (min, max) = column.range()?;
    let edges = column.edges();
    let first = edges.first().map_or(min, |&edge| edge.min(min));
    let last = edges.last().map_or(max, |&edge| edge.max(max));
    let ends = edges.iter().copied().chain([last]);

    let (mut start, mut difference, mut area) = (first, 0.0_f64, 0.0_f64);
    for ((e, a), end) in shares(column.counts(), actual)?.zip(ends) {
        let after = difference + (a - e);
        area += (end - start) * mean_magnitude(difference, after);
        (start, difference) = (end, after);
    }
    Some(area)
}

/// The mean of the magnitude of what goes evenly from `from` to `to`.
fn mean_magnitude(from: f64, to: f64) -> f64 {
    let sum = from.abs() + to.abs();
    if sum == 0.0 {
        0.0
    } else if from.signum() == to.signum() {
        sum / 2.0
    } else {
        (from * from + to * to) / (2.0 * sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drift::histogram::Histogram;
    use crate::drift::vectors::{self, assert_close};

    #[test]
    fn numeric_stream_comes_near_the_exact_figures_of_scipy() {
        let (expected, actual) = vectors::num_histograms();
        // Exact: D = 0.1103. Binned it is less; by hand from the decile counts, 1 - 0.5 - 0.3955.
        assert_close(ks(&expected, &actual), 0.1045, 1e-12);
        // Exact: 0.255836807945416; values in the outer bins lie nearer to the middle than evenly.
        let column = Column::from_values("num", &vectors::num_reference());
        assert_close(
            wasserstein(&column, &actual),
            1.124 * 0.255836807945416,
            1e-3,
        );
    }

    /// Reference evenly over 0..=10, one value in each of the ten bins but two in the first.
    fn check_shift(values: &[f64], expected: f64, tolerance: f64) {
        let even: Vec<f64> = (0..=1000).map(|i| f64::from(i) / 100.0).collect();
        let column = Column::from_values("x", &even);
        let mut histogram = Histogram::new(&column);
        values
            .iter()
            .for_each(|&value| histogram.add(&column, value));
        assert_close(
            wasserstein(&column, histogram.counts()),
            expected,
            tolerance,
        );
    }

    #[test]
    fn wasserstein_is_the_way_the_values_went() {
        let even = |from: f64, to: f64| -> Vec<f64> {
            (0..1000)
                .map(|i| from + (to - from) * (f64::from(i) + 0.5) / 1000.0)
                .collect()
        };
        check_shift(&even(0.0, 10.0), 0.0, 0.01);
        check_shift(&even(0.0, 5.0), 2.5, 0.01);
        check_shift(&even(5.0, 10.0), 2.5, 0.01);
        check_shift(&[even(0.0, 2.0), even(8.0, 10.0)].concat(), 1.5, 0.01);
        // Both distributions are known to end at the range's end.
        check_shift(&even(90.0, 100.0), 4.5, 0.01);
    }

    #[test]
    fn the_shift_tells_the_direction_and_not_the_spread() {
        assert_close(shift(&[3, 1, 0, 0], &[0, 0, 1, 9]), 1.0, 1e-12);
        assert_close(shift(&[0, 5, 5], &[10, 0, 0]), -1.0, 1e-12);
        assert_close(shift(&[1, 2, 1], &[2, 4, 2]), 0.0, 1e-12);
        assert_close(shift(&[1, 8, 1], &[5, 0, 5]), 0.0, 1e-12);
        // Of the pairs, half are equal, and in half the value that came is higher.
        assert_close(shift(&[2, 0], &[1, 1]), 0.5, 1e-12);
    }

    #[test]
    fn ks_of_disjoint_counts_is_one() {
        assert_close(ks(&[3, 1, 0, 0], &[0, 0, 1, 9]), 1.0, 1e-12);
        assert_close(ks(&[3, 1], &[6, 2]), 0.0, 1e-12);
    }

    #[test]
    fn a_side_without_values_has_no_distance() {
        assert_eq!(ks(&[0, 0], &[1, 0]), None);
        assert_eq!(shift(&[1, 0], &[0, 0]), None);
        assert_eq!(wasserstein(&Column::from_values("x", &[]), &[1]), None);
        assert_eq!(
            wasserstein(&Column::from_values("x", &[1.0]), &[0, 0]),
            None
        );
    }
}
