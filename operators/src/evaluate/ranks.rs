//! The area under the ROC curve of pairs that still come, exactly.

use super::auc::share_in_order;
use super::pair::Pair;

/// Counts of labels by score, from which the area under the ROC curve of all pairs so far is known
/// at any time, without a look at all of them.
///
/// What is added is sorted into a run of its own, and the couples that it makes with each run
/// before are counted at once: the area is the sum over all couples of runs. A run is merged with
/// the one before it when that is not twice as long, so there are few. Adding `m` pairs to `n`
/// takes `O(m log n)` steps, and merging `O(log n)` for each pair over all. All counts are whole
/// numbers, so nothing depends on the order of additions.
///
/// A run takes 24 bytes for each score that is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks {
    /// What is to be sorted in, score by score.
    fresh: Vec<Rank>,
    runs: Vec<Vec<Rank>>,
    positives: i128,
    negatives: i128,
    /// Twice the couples in the right order, so that a tie is a whole number.
    twice_ordered: i128,
}

/// How many labels of each kind have a score; in a run, how many have it or a lower one.
#[derive(Clone, Copy, Debug)]
struct Rank {
    /// The bits of the score, in the order of scores.
    score: u64,
    positives: i64,
    negatives: i64,
}

impl Ranks {
    /// Adds a pair, or takes an equal one out again.
    pub(super) fn change(&mut self, pair: Pair, insert: bool) {
        let count = if insert { 1 } else { -1 };
        let (positives, negatives) = if pair.label() { (count, 0) } else { (0, count) };
        self.fresh.push(Rank {
            score: pair.score().to_bits(),
            positives,
            negatives,
        });
    }

    /// The area under the curve, as [`auc`](super::auc::auc) has it.
    pub(super) fn auc(&mut self) -> Option<f64> {
        self.settle();
        let couples = self.positives * self.negatives;
        share_in_order(self.twice_ordered, couples)
    }

    /// Makes a run of what is fresh, and merges runs that have become alike in length.
    fn settle(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return;
        }
        fresh.sort_unstable_by_key(|rank| rank.score);
        let run = accumulated(fresh.into_iter());
        self.twice_ordered += within(&run);
        self.twice_ordered += self
            .runs
            .iter()
            .map(|other| across(&run, other))
            .sum::<i128>();
        let (positives, negatives) = totals(&run);
        self.positives += i128::from(positives);
        self.negatives += i128::from(negatives);
        self.runs.push(run);
        while let [.., before, last] = &self.runs[..]
            && before.len() < 2 * last.len()
        {
            let merged = merged(before, last);
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
    }
}

/// A run of counts in the order of scores.
fn accumulated(counts: impl Iterator<Item = Rank>) -> Vec<Rank> {
    let mut run: Vec<Rank> = Vec::with_capacity(counts.size_hint().0);
    let (mut positives, mut negatives) = (0, 0);
    for count in counts {
        positives += count.positives;
        negatives += count.negatives;
        let rank = Rank {
            score: count.score,
            positives,
            negatives,
        };
        match run.last_mut() {
            Some(last) if last.score == rank.score => *last = rank,
            _ => run.push(rank),
        }
    }
    run
}

/// The positives and negatives of a run.
fn totals(run: &[Rank]) -> (i64, i64) {
    run.last()
        .map_or((0, 0), |last| (last.positives, last.negatives))
}

/// The counts of each score of a run.
fn counts(run: &[Rank]) -> impl Iterator<Item = Rank> {
    let before = std::iter::once((0, 0)).chain(run.iter().map(|r| (r.positives, r.negatives)));
    run.iter().zip(before).map(|(rank, before)| Rank {
        positives: rank.positives - before.0,
        negatives: rank.negatives - before.1,
        ..*rank
    })
}

/// Twice the couples in order among the pairs of a run.
fn within(run: &[Rank]) -> i128 {
    let ordered = counts(run).zip(run).map(|(count, rank)| {
        let below = rank.negatives - count.negatives;
        i128::from(count.positives) * i128::from(2 * below + count.negatives)
    });
    ordered.sum()
}

/// Twice the couples in order of which one pair is in each run; quick when `few` has few scores.
fn across(few: &[Rank], many: &[Rank]) -> i128 {
    let all_positives = totals(many).0;
    let (mut next, mut ordered) = (0, 0);
    for count in counts(few) {
        next = seek(many, next, count.score);
        let (below, below_negatives) = totals(&many[..next]);
        let upto = many.get(next).filter(|rank| rank.score == count.score);
        let (upto, upto_negatives) = upto.map_or((below, below_negatives), |rank| {
            (rank.positives, rank.negatives)
        });
        // Twice those below and once those that tie, or twice those above and once those that tie.
        let lower = below_negatives + upto_negatives;
        let higher = 2 * all_positives - upto - below;
        ordered += i128::from(count.positives) * i128::from(lower);
        ordered += i128::from(count.negatives) * i128::from(higher);
    }
    ordered
}

/// The first place from `from` on whose score is not below `score`, which is looked for in steps
/// that double.
fn seek(run: &[Rank], from: usize, score: u64) -> usize {
    let is_below = |rank: &Rank| rank.score < score;
    let (mut low, mut step) = (from, 1);
    while run.get(low + step - 1).is_some_and(is_below) {
        low += step;
        step *= 2;
    }
    let high = run.len().min(low + step);
    low + run[low..high].partition_point(is_below)
}

fn merged(one: &[Rank], other: &[Rank]) -> Vec<Rank> {
    let (mut one, mut other) = (counts(one).peekable(), counts(other).peekable());
    let mut all = Vec::with_capacity(one.size_hint().0 + other.size_hint().0);
    while let Some(rank) = match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if a.score <= b.score => one.next(),
        (_, Some(_)) => other.next(),
        (_, None) => one.next(),
    } {
        all.push(rank);
    }
    accumulated(all.into_iter())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::auc::auc;
    use crate::evaluate::pair::tests::pairs;

    fn scratch(mut kept: Vec<Pair>) -> Option<f64> {
        kept.sort();
        auc(&kept)
    }

    proptest! {
        /// Pairs come in parts; after each, some of all that have come are taken out again, and
        /// after some the area is asked for.
        #[test]
        fn the_area_so_far_is_that_of_all_pairs_to_the_bit(
            parts in prop::collection::vec((pairs(0..40), 0..6_usize, any::<bool>()), 0..12),
        ) {
            let (mut ranks, mut kept) = (Ranks::default(), Vec::new());
            for (part, removed, ask) in parts {
                for pair in part {
                    ranks.change(pair, true);
                    kept.push(pair);
                }
                for pair in kept.drain(..removed.min(kept.len())) {
                    ranks.change(pair, false);
                }
                if ask {
                    prop_assert_eq!(ranks.auc(), scratch(kept.clone()));
                }
            }
            prop_assert_eq!(ranks.auc(), scratch(kept));
            for runs in ranks.runs.windows(2) {
                prop_assert!(runs[0].len() >= 2 * runs[1].len());
            }
        }
    }
}
