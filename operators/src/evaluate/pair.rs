//! The pair: one prediction with its label, in 16 bytes.

use serde::{Deserialize, Serialize};

/// The bit of `baseline_and_label` that holds the label: the sign, which no probability needs.
const LABEL_BIT: u64 = 1 << 63;

/// A score, the label it was for, and what the no-model baseline said at the same time.
///
/// Pairs have a total order: by score, then label, then baseline. Two pairs of the same three
/// values are equal and one is as good as the other. Serialised as `[score, label, baseline]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(f64, bool, f64)", into = "(f64, bool, f64)")]
pub struct Pair {
    /// The bits of the score; those of numbers that are not negative are in the numbers' order.
    score: u64,
    baseline_and_label: u64,
}

/// A score or baseline that is no probability.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{name} {value} is no probability; give one from 0 to 1")]
pub struct InvalidPair {
    /// Which of the two: `score` or `baseline`.
    pub name: &'static str,
    /// What it is.
    pub value: f64,
}

impl Pair {
    /// Makes a pair of a score for `true`, the label, and the baseline's score.
    ///
    /// # Errors
    /// When score or baseline is not within 0 to 1, or NaN.
    pub fn new(score: f64, label: bool, baseline: f64) -> Result<Self, InvalidPair> {
        let score = probability_bits("score", score)?;
        let baseline = probability_bits("baseline", baseline)?;
        let label = if label { LABEL_BIT } else { 0 };
        Ok(Self {
            score,
            baseline_and_label: baseline | label,
        })
    }

    /// The model's probability of `true`.
    pub fn score(self) -> f64 {
        f64::from_bits(self.score)
    }

    /// What came.
    pub fn label(self) -> bool {
        self.baseline_and_label & LABEL_BIT != 0
    }

    /// The baseline's probability of `true`.
    pub fn baseline(self) -> f64 {
        f64::from_bits(self.baseline_and_label & !LABEL_BIT)
    }
}

/// The bits of a probability, without a negative zero's sign.
fn probability_bits(name: &'static str, value: f64) -> Result<u64, InvalidPair> {
    if (0.0..=1.0).contains(&value) {
        Ok(value.abs().to_bits())
    } else {
        Err(InvalidPair { name, value })
    }
}

impl TryFrom<(f64, bool, f64)> for Pair {
    type Error = InvalidPair;

    fn try_from((score, label, baseline): (f64, bool, f64)) -> Result<Self, InvalidPair> {
        Self::new(score, label, baseline)
    }
}

impl From<Pair> for (f64, bool, f64) {
    fn from(pair: Pair) -> Self {
        (pair.score(), pair.label(), pair.baseline())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs with many equal scores among them.
    pub(in crate::evaluate) fn pairs(
        count: impl Into<prop::collection::SizeRange>,
    ) -> impl Strategy<Value = Vec<Pair>> {
        let score = prop_oneof![
            3 => (0u32..=20).prop_map(|i| f64::from(i) / 20.0),
            2 => 0.0..=1.0f64,
        ];
        let pair = (score, any::<bool>(), 0.0..=1.0f64);
        let pair = pair.prop_map(|(score, label, baseline)| {
            Pair::new(score, label, baseline).expect("within 0 to 1")
        });
        prop::collection::vec(pair, count)
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        let check = |score, baseline, name, value: f64| {
            let refused = Pair::new(score, true, baseline).unwrap_err();
            assert_eq!(refused.name, name);
            assert_eq!(refused.value.to_bits(), value.to_bits());
        };
        check(1.5, 0.5, "score", 1.5);
        check(-1e-300, 0.5, "score", -1e-300);
        check(f64::NAN, 0.5, "score", f64::NAN);
        check(0.5, f64::INFINITY, "baseline", f64::INFINITY);
        let message = Pair::new(1.5, true, 0.5).unwrap_err().to_string();
        assert_eq!(message, "score 1.5 is no probability; give one from 0 to 1");
    }

    #[test]
    fn a_negative_zero_is_zero() {
        assert_eq!(Pair::new(-0.0, false, -0.0), Pair::new(0.0, false, 0.0));
        assert!(!Pair::new(0.5, false, -0.0).unwrap().label());
    }

    #[test]
    fn a_pair_takes_sixteen_bytes() {
        assert_eq!(size_of::<Pair>(), 16);
    }

    proptest! {
        #[test]
        fn pairs_keep_their_values_and_sort_by_score(pairs in pairs(2)) {
            let (a, b) = (pairs[0], pairs[1]);
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Pair>(&json).unwrap(), a);
            prop_assert_eq!(Pair::new(a.score(), a.label(), a.baseline()), Ok(a));
            if a.score() < b.score() {
                prop_assert!(a < b);
            }
        }
    }
}
