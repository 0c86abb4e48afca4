//! The score book: a multiset of pairs that can be taken back.

use serde::{Deserialize, Serialize};

use super::auc::auc;
use super::pair::Pair;
use super::quality::{Quality, Totals};

/// Pairs, and their quality on demand.
///
/// Insertions and removals are only written down; [`ScoreBook::quality`] sorts what is new into
/// the rest, `O(n log n)` at worst, and keeps its answer until something changes. What the book
/// holds, and so every bit of its quality, depends neither on the order of insertions and removals
/// nor on how books were merged: a removal may even come before its insertion, and waits for it.
///
/// A pair takes 16 bytes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScoreBook {
    /// The pairs, of which `..sorted` are in order.
    pairs: Vec<Pair>,
    sorted: usize,
    /// Pairs to take out; after settling only those that have not come yet.
    removed: Vec<Pair>,
    #[serde(skip)]
    answer: Option<(Totals, Quality)>,
}

impl ScoreBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pair; equal pairs count each.
    pub fn insert(&mut self, pair: Pair) {
        self.pairs.push(pair);
        self.answer = None;
    }

    /// Takes an equal pair out again, as when its label is revised.
    pub fn remove(&mut self, pair: Pair) {
        self.removed.push(pair);
        self.answer = None;
    }

    /// Adds all that was inserted into and removed from `other`.
    pub fn merge(&mut self, other: Self) {
        self.pairs.extend(other.pairs);
        self.removed.extend(other.removed);
        self.answer = None;
    }

    /// How many pairs were inserted and not removed; negative where removals have come first.
    pub fn len(&self) -> i64 {
        self.pairs.len() as i64 - self.removed.len() as i64
    }

    /// How many insertions and removals the book holds, less those that have cancelled out.
    pub(super) fn changes(&self) -> usize {
        self.pairs.len() + self.removed.len()
    }

    /// Whether as many pairs were removed as inserted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The quality of the pairs the book holds.
    pub fn quality(&mut self) -> &Quality {
        &self.answer().1
    }

    /// The sums that the quality was made of.
    pub(super) fn totals(&mut self) -> &Totals {
        &self.answer().0
    }

    fn answer(&mut self) -> &(Totals, Quality) {
        self.settle();
        let pairs = &self.pairs;
        self.answer.get_or_insert_with(|| {
            let totals = Totals::of(pairs);
            let quality = totals.finish(auc(pairs));
            (totals, quality)
        })
    }

    /// Whether a removal still waits for its insertion, once the book has answered.
    pub(super) fn has_waiting(&self) -> bool {
        !self.removed.is_empty()
    }

    /// The pairs the book holds, in order.
    pub fn pairs(&mut self) -> &[Pair] {
        self.settle();
        &self.pairs
    }

    /// Brings the pairs in order and takes the removed ones out.
    fn settle(&mut self) {
        if self.sorted < self.pairs.len() {
            self.pairs[self.sorted..].sort_unstable();
            // Two runs, which the stable sort recognises and merges.
            self.pairs.sort();
        }
        if !self.removed.is_empty() {
            self.cancel();
        }
        self.sorted = self.pairs.len();
    }

    /// Takes each removed pair out of the sorted pairs, once for each removal.
    fn cancel(&mut self) {
        self.removed.sort_unstable();
        let mut waiting = Vec::new();
        let mut removed = std::mem::take(&mut self.removed).into_iter().peekable();
        self.pairs.retain(|pair| {
            while let Some(early) = removed.next_if(|removed| removed < pair) {
                waiting.push(early);
            }
            removed.next_if_eq(pair).is_none()
        });
        waiting.extend(removed);
        self.removed = waiting;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluate::pair::tests::pairs;

    fn book(pairs: &[Pair]) -> ScoreBook {
        let mut book = ScoreBook::new();
        pairs.iter().for_each(|&pair| book.insert(pair));
        book
    }

    fn pair(score: f64, label: bool) -> Pair {
        Pair::new(score, label, 0.5).unwrap()
    }

    /// The answer with all its bits, for comparison.
    fn bits(book: &mut ScoreBook) -> String {
        serde_json::to_string(book.quality()).unwrap()
    }

    #[test]
    fn a_revised_label_changes_the_quality() {
        let mut book = book(&[pair(0.2, true), pair(0.8, false)]);
        assert_eq!(book.quality().auc, Some(0.0));
        book.remove(pair(0.2, true));
        book.insert(pair(0.2, false));
        assert_eq!(book.quality().auc, None);
        book.remove(pair(0.8, false));
        book.insert(pair(0.8, true));
        assert_eq!(book.quality().auc, Some(1.0));
        assert_eq!(book.len(), 2);
    }

    #[test]
    fn of_equal_pairs_one_is_removed_for_each_removal() {
        let mut book = book(&[pair(0.5, true); 3]);
        book.remove(pair(0.5, true));
        assert_eq!(book.pairs().len(), 2);
        assert_eq!(book.quality().labels, 2);
    }

    #[test]
    fn a_removal_waits_for_its_insertion() {
        let mut book = ScoreBook::new();
        book.remove(pair(0.5, true));
        assert_eq!((book.quality().labels, book.len()), (0, -1));
        book.insert(pair(0.4, true));
        book.insert(pair(0.5, true));
        assert_eq!(book.pairs(), [pair(0.4, true)]);
        assert_eq!((book.quality().labels, book.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn removing_undoes_inserting_bit_for_bit(
            kept in pairs(0..60),
            revised in pairs(0..60),
            ask_between in any::<bool>(),
        ) {
            let mut found = book(&[kept.clone(), revised.clone()].concat());
            if ask_between {
                found.quality();
            }
            revised.iter().for_each(|&pair| found.remove(pair));
            prop_assert_eq!(bits(&mut found), bits(&mut book(&kept)));
            prop_assert_eq!(found.len(), kept.len() as i64);
        }

        /// Some pairs are inserted, some removed, in two orders, in one book or three.
        #[test]
        fn order_and_merging_cannot_be_seen(
            pairs in pairs(0..60),
            shuffle in any::<prop::sample::Index>(),
        ) {
            let removed: Vec<Pair> = pairs.iter().copied().step_by(3).collect();
            let mut one = book(&pairs);
            removed.iter().for_each(|&pair| one.remove(pair));

            let mut parts = [ScoreBook::new(), ScoreBook::new(), ScoreBook::new()];
            removed.iter().for_each(|&pair| parts[2].remove(pair));
            let turn = shuffle.index(pairs.len() + 1);
            for (index, &pair) in pairs[turn..].iter().chain(&pairs[..turn]).rev().enumerate() {
                parts[index % 3].insert(pair);
                if index % 7 == 0 {
                    parts[index % 3].quality();
                }
            }
            let mut merged = ScoreBook::new();
            parts.into_iter().rev().for_each(|part| merged.merge(part));
            let json = serde_json::to_string(&merged).unwrap();
            let mut merged: ScoreBook = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(bits(&mut merged), bits(&mut one));
        }
    }
}
