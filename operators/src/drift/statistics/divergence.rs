//! Divergences, which compare bin with bin and know no order of the bins: PSI, Jensen-Shannon,
//! Hellinger and total variation.

use super::shares;

/// The share that stands for an empty bin in [`psi`] by default.
pub const PSI_EPSILON: f64 = 1e-4;

/// The population stability index, `sum (a - e) ln(a / e)` over shares; 0 when they are equal, in
/// practice 0.1 is worth a look and 0.2 a shift.
///
/// An empty bin's share is replaced by `epsilon` (above 0, usually [`PSI_EPSILON`]), for otherwise
/// one empty bin would make the sum infinite; the other shares stay as they are. Source:
/// feature-engine 1.9, `DropHighPSIFeatures`; the same with Evidently's `psi` for categories.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn psi(expected: &[u64], actual: &[u64], epsilon: f64) -> Option<f64> {
    let filled = |share: f64| if share == 0.0 { epsilon } else { share };
    let terms = shares(expected, actual)?.map(|(e, a)| {
        let (e, a) = (filled(e), filled(a));
        (a - e) * (a / e).ln()
    });
    Some(terms.sum())
}

/// The Jensen-Shannon distance: the square root of the divergence in bits, from 0 to 1.
///
/// Source: J. Lin, "Divergence measures based on the Shannon entropy" (1991), as scipy's
/// `jensenshannon(.., base=2)` computes it.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn js(expected: &[u64], actual: &[u64]) -> Option<f64> {
    let against_middle = |p: f64, middle: f64| if p > 0.0 { p * (p / middle).ln() } else { 0.0 };
    let (mut left, mut right) = (0.0, 0.0);
    for (e, a) in shares(expected, actual)? {
        let middle = (e + a) / 2.0;
        left += against_middle(e, middle);
        right += against_middle(a, middle);
    }
    let bits = (left + right) / std::f64::consts::LN_2;
    Some((bits.max(0.0) / 2.0).sqrt())
}

/// The Hellinger distance, `sqrt(sum (sqrt(e) - sqrt(a))^2 / 2)` over shares, from 0 to 1.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn hellinger(expected: &[u64], actual: &[u64]) -> Option<f64> {
    let squares: f64 = shares(expected, actual)?
        .map(|(e, a)| (e.sqrt() - a.sqrt()).powi(2))
        .sum();
    Some((squares / 2.0).sqrt())
}

/// The total variation distance, half the sum of what the shares differ by, from 0 to 1.
///
/// # Panics
/// When the two have different numbers of bins.
pub fn tvd(expected: &[u64], actual: &[u64]) -> Option<f64> {
    Some(
        shares(expected, actual)?
            .map(|(e, a)| (e - a).abs())
            .sum::<f64>()
            / 2.0,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::drift::vectors::{self, assert_close};

    #[test]
    fn numeric_stream_hits_the_figures_of_feature_engine_and_scipy() {
        let (expected, actual) = vectors::num_histograms();
        assert_eq!(actual, [156, 155, 147, 173, 172, 188, 215, 217, 240, 337]);
        assert_close(
            psi(&expected, &actual, PSI_EPSILON),
            0.06442400009413057,
            1e-12,
        );
        assert_close(js(&expected, &actual), 0.10739247556940593, 1e-12);
    }

    #[test]
    fn categories_hit_the_figures_of_evidently_and_nannyml() {
        let (expected, actual) = vectors::categories();
        assert_close(
            psi(&expected, &actual, PSI_EPSILON),
            0.6608007186604453,
            1e-12,
        );
        assert_close(js(&expected, &actual), 0.22209118297915656, 1e-12);
        assert_close(hellinger(&expected, &actual), 0.22082793287383726, 1e-12);
        assert_close(tvd(&expected, &actual), 0.095, 1e-12);
    }

    #[test]
    fn disjoint_counts_are_at_the_greatest_distance() {
        let (expected, actual) = ([3, 0], [0, 5]);
        for distance in [js, hellinger, tvd] {
            assert_close(distance(&expected, &actual), 1.0, 1e-12);
        }
        let psi = psi(&expected, &actual, PSI_EPSILON);
        assert_close(
            psi,
            2.0 * (1.0 - PSI_EPSILON) * (1.0 / PSI_EPSILON).ln(),
            1e-12,
        );
    }

    #[test]
    fn a_side_without_values_has_no_statistic() {
        for (expected, actual) in [([0, 0], [1, 2]), ([1, 2], [0, 0])] {
            assert_eq!(psi(&expected, &actual, PSI_EPSILON), None);
            for distance in [js, hellinger, tvd] {
                assert_eq!(distance(&expected, &actual), None);
            }
        }
    }

    proptest! {
        #[test]
        fn equal_shares_are_at_no_distance_and_all_distances_are_within_bounds(
            expected in prop::collection::vec(0u64..1000, 5),
            actual in prop::collection::vec(0u64..1000, 5),
            times in 1u64..9,
        ) {
            prop_assume!(expected.iter().any(|&n| n > 0) && actual.iter().any(|&n| n > 0));
            let scaled: Vec<u64> = expected.iter().map(|n| n * times).collect();
            for distance in [js, hellinger, tvd] {
                prop_assert!(distance(&expected, &scaled).unwrap() < 1e-7);
                let found = distance(&expected, &actual).unwrap();
                prop_assert!((0.0..=1.0 + 1e-12).contains(&found));
            }
            prop_assert!(psi(&expected, &scaled, PSI_EPSILON).unwrap().abs() < 1e-12);
            prop_assert!(psi(&expected, &actual, PSI_EPSILON).unwrap() >= 0.0);
        }
    }
}
