//! The area under the ROC curve, exactly.

use super::pair::Pair;

/// The share of all couples of a positive and a negative in which the positive has the higher
/// score, ties counting half; `None` without positives or without negatives.
///
/// `sorted` is in the order of pairs. Counted in integers, so exact up to the last division.
/// Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve" (1982); the
/// same as scikit-learn's `roc_auc_score`.
pub(super) fn auc(sorted: &[Pair]) -> Option<f64> {
    let (mut positives, mut negatives) = (0_i128, 0_i128);
    // Twice the couples in the right order, so that a tie is a whole number.
    let mut twice_ordered = 0_i128;
    for ties in sorted.chunk_by(|a, b| a.score() == b.score()) {
        let positive_ties = ties.iter().filter(|pair| pair.label()).count() as i128;
        let negative_ties = ties.len() as i128 - positive_ties;
        twice_ordered += positive_ties * (2 * negatives + negative_ties);
        positives += positive_ties;
        negatives += negative_ties;
    }
    share_in_order(twice_ordered, positives * negatives)
}

/// The share of couples that are in the right order, of which twice as many are given; `None`
/// without couples.
pub(super) fn share_in_order(twice_ordered: i128, couples: i128) -> Option<f64> {
    (couples > 0).then(|| twice_ordered as f64 / (2 * couples) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::pair::tests::pairs;

    fn check(scored: &[(f64, bool)], expected: Option<f64>) {
        let pair = |&(score, label)| Pair::new(score, label, 0.5).unwrap();
        let mut pairs: Vec<Pair> = scored.iter().map(pair).collect();
        pairs.sort();
        assert_eq!(auc(&pairs), expected);
    }

    #[test]
    fn auc_of_what_can_be_counted_by_hand() {
        check(
            &[(0.1, false), (0.4, false), (0.35, true), (0.8, true)],
            Some(0.75),
        );
        check(&[(0.1, true), (0.9, false)], Some(0.0));
        check(&[(0.5, true), (0.5, false), (0.5, false)], Some(0.5));
    }

    #[test]
    fn labels_of_one_kind_have_no_auc() {
        check(&[], None);
        check(&[(0.1, true), (0.2, true)], None);
        check(&[(0.1, false)], None);
    }

    /// The definition: every couple of a positive and a negative.
    fn by_definition(pairs: &[Pair]) -> Option<f64> {
        let (mut ordered, mut couples) = (0.0, 0.0);
        for positive in pairs.iter().filter(|pair| pair.label()) {
            for negative in pairs.iter().filter(|pair| !pair.label()) {
                couples += 1.0;
                if positive.score() > negative.score() {
                    ordered += 1.0;
                } else if positive.score() == negative.score() {
                    ordered += 0.5;
                }
            }
        }
        (couples > 0.0).then_some(ordered / couples)
    }

    proptest! {
        #[test]
        fn auc_is_that_of_the_definition(mut pairs in pairs(0..80)) {
            pairs.sort();
            prop_assert_eq!(auc(&pairs), by_definition(&pairs));
        }
    }
}
