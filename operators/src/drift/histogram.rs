//! The histogram: what has come of one column, counted in the reference's bins.

use serde::{Deserialize, Serialize};

use super::column::Column;

/// Counts of one column's values in the bins of its reference.
///
/// Holds integers only: adding, merging and removing commute, so the same values give the same
/// histogram in any order and any split. The bins themselves stay with the [`Column`], which every
/// call that looks at a value is given; it must be the same one throughout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: Vec<u64>,
    nulls: u64,
    out_of_range: u64,
}

impl Histogram {
    /// An empty histogram over the bins of `column`.
    pub fn new(column: &Column) -> Self {
        Self {
            counts: vec![0; column.counts().len()],
            nulls: 0,
            out_of_range: 0,
        }
    }

    /// Counts `value`, a NaN as a null; constant time, no allocation.
    ///
    /// # Panics
    /// When `column` has other bins than the histogram.
    #[inline]
    pub fn add(&mut self, column: &Column, value: f64) {
        if value.is_nan() {
            self.nulls += 1;
        } else {
            self.counts[column.bin(value)] += 1;
            self.out_of_range += u64::from(column.is_out_of_range(value));
        }
    }

    /// Takes back a `value` that was counted here, or in a histogram that was merged into this one.
    ///
    /// # Panics
    /// When no such value was counted, or `column` has other bins than the histogram.
    pub fn remove(&mut self, column: &Column, value: f64) {
        let less = |count: u64| {
            count
                .checked_sub(1)
                .expect("invariant: removed value was added")
        };
        if value.is_nan() {
            self.nulls = less(self.nulls);
        } else {
            let bin = column.bin(value);
            self.counts[bin] = less(self.counts[bin]);
            if column.is_out_of_range(value) {
                self.out_of_range = less(self.out_of_range);
            }
        }
    }

    /// Adds the counts of `other`.
    ///
    /// # Panics
    /// When `other` is over other bins.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            self.counts.len(),
            other.counts.len(),
            "invariant: merged bins are the same"
        );
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.nulls += other.nulls;
        self.out_of_range += other.out_of_range;
    }

    /// How many values lie in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many nulls were counted.
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// How many values lie outside the reference's range; they are in the outer bins as well.
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// How many values, not counting nulls, were counted.
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many values and nulls were counted.
    pub fn total(&self) -> u64 {
        self.values() + self.nulls
    }

    /// The share of nulls in everything counted; zero when nothing was.
    pub fn null_rate(&self) -> f64 {
        rate(self.nulls, self.total())
    }

    /// The share of the values, nulls apart, that are outside the reference's range; zero when
    /// there are none.
    pub fn out_of_range_rate(&self) -> f64 {
        rate(self.out_of_range, self.values())
    }
}

/// `part / whole`; zero of nothing.
pub(super) fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reference values 0..=10, so deciles 1, 2, ..., 9.
    fn column() -> Column {
        Column::from_values("x", &(0..=10).map(f64::from).collect::<Vec<_>>())
    }

    fn histogram(column: &Column, values: &[f64]) -> Histogram {
        let mut histogram = Histogram::new(column);
        values
            .iter()
            .for_each(|&value| histogram.add(column, value));
        histogram
    }

    fn check(values: &[f64], counts: [u64; 10], nulls: u64, out_of_range: u64) {
        let found = histogram(&column(), values);
        assert_eq!(found.counts(), counts);
        assert_eq!((found.nulls(), found.out_of_range()), (nulls, out_of_range));
        assert_eq!(found.total(), values.len() as u64);
    }

    #[test]
    fn a_value_on_an_edge_is_in_the_bin_below_it() {
        check(
            &[1.0, 1.0 + f64::EPSILON, 9.0],
            [1, 1, 0, 0, 0, 0, 0, 0, 1, 0],
            0,
            0,
        );
    }

    #[test]
    fn values_out_of_range_are_in_the_outer_bins_too() {
        check(
            &[-0.5, 0.0, 10.0, 10.5, 11.0],
            [2, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            0,
            3,
        );
        check(
            &[f64::NEG_INFINITY, f64::INFINITY],
            [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            0,
            2,
        );
    }

    #[test]
    fn nan_is_a_null_and_in_no_bin() {
        check(
            &[f64::NAN, 5.0, -f64::NAN],
            [0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
            2,
            0,
        );
    }

    #[test]
    fn every_value_is_out_of_the_range_of_a_reference_without_values() {
        let column = Column::from_values("x", &[f64::NAN]);
        assert_eq!(histogram(&column, &[1.0, f64::NAN]).out_of_range(), 1);
    }

    #[test]
    fn rates_are_zero_of_nothing() {
        let empty = Histogram::new(&column());
        assert_eq!((empty.null_rate(), empty.out_of_range_rate()), (0.0, 0.0));
        let some = histogram(&column(), &[f64::NAN, 5.0, 5.0, 50.0]);
        assert_eq!(
            (some.null_rate(), some.out_of_range_rate()),
            (0.25, 1.0 / 3.0)
        );
    }

    #[test]
    #[should_panic(expected = "invariant")]
    fn removing_what_was_never_added_is_a_bug() {
        Histogram::new(&column()).remove(&column(), 3.0);
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![8 => -3.0..13.0f64, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
        prop::collection::vec(value, 0..40)
    }

    proptest! {
        #[test]
        fn merging_is_adding(left in values(), right in values()) {
            let mut merged = histogram(&column(), &left);
            merged.merge(&histogram(&column(), &right));
            prop_assert_eq!(merged, histogram(&column(), &[left, right].concat()));
        }

        #[test]
        fn removing_undoes_adding(kept in values(), removed in values()) {
            let mut found = histogram(&column(), &[kept.clone(), removed.clone()].concat());
            removed.iter().for_each(|&value| found.remove(&column(), value));
            prop_assert_eq!(found, histogram(&column(), &kept));
        }
    }
}
