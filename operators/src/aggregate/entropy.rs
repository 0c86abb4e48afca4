//! Entropy of a category, in bits: 0 when all events are of one category, log2(k) when they are
//! evenly of k. Missing when there are no events, or more categories than the limit.

use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_ids;
use super::tally::Tally;

/// The Shannon entropy of a category in bits (log base 2) by its frequencies in the window, for a
/// limited number of different categories.
///
/// A category takes 16 bytes; at most twice the limit are held. Answering takes a logarithm for
/// each.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Entropy};
///
/// let (entropy, at) = (Entropy::up_to(100), EventTime::from_seconds(1));
/// let mut state = entropy.empty();
/// for category in [1, 2, 3, 4] {
///     entropy.add(&mut state, at, &category);
/// }
/// assert_eq!(entropy.finish(&state, at), 2.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Entropy {
    limit: usize,
}

impl Entropy {
    /// For up to `limit` different categories; beyond it the answer is missing.
    pub fn up_to(limit: usize) -> Self {
        Self { limit }
    }
}

impl Aggregate for Entropy {
    of_ids!();

    type Output = f64;

    fn finish(&self, tally: &Tally, _end: EventTime) -> f64 {
        let Some(counts) = tally.within(self.limit) else {
            return f64::NAN;
        };
        let n = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
        if n == 0.0 {
            return f64::NAN;
        }
        let counts = counts.iter().map(|(_, count)| count as f64);
        counts.map(|count| count / n * (n / count).log2()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    #[test]
    fn agrees_with_its_oracle() {
        for limit in [4, 100] {
            let entropy = Entropy::up_to(limit);
            oracle::check(&entropy, oracle::ids(), within(1e-12), |events, _| {
                let tally = oracle::tally(events);
                if tally.is_empty() || tally.len() > limit {
                    return f64::NAN;
                }
                let part = |count: &u64| *count as f64 / events.len() as f64;
                -tally.values().map(part).map(|p| p * p.log2()).sum::<f64>()
            });
        }
    }
}
