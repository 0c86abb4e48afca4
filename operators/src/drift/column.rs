//! One column of a reference: the bins, and what the reference has in them.

use serde::{Deserialize, Serialize};

use super::reference::InvalidReference;

/// From this many edges on, a binary search beats counting the edges below a value.
const LINEAR_EDGES_MAX: usize = 32;

/// The reference of one column: its bins and the reference's own counts in them.
///
/// Bins are right-closed and the outer ones reach to infinity: bin `i` holds
/// `edges[i - 1] < x <= edges[i]`. A null (NaN) is in no bin and is counted apart. The range
/// `min..=max` is that of the finite values the reference has seen; a value outside it is
/// *out of range*, and still in its outer bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawColumn", into = "RawColumn")]
pub struct Column {
    name: String,
    edges: Vec<f64>,
    counts: Vec<u64>,
    nulls: u64,
    /// Positive infinity when the reference has no finite value.
    min: f64,
    /// Negative infinity when the reference has no finite value.
    max: f64,
}

/// A column as it stands in the file, not yet checked.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawColumn {
    name: String,
    edges: Vec<f64>,
    counts: Vec<u64>,
    nulls: u64,
    min: Option<f64>,
    max: Option<f64>,
}

impl Column {
    /// Makes the default profile of a column from its values: the deciles as inner edges.
    ///
    /// Deciles are those of numpy's `quantile` with its default, linear interpolation; equal ones
    /// become one edge. When nothing would be left but one edge at the greatest value (nine in ten
    /// values or more are that value) the next smaller value is an edge as well, for otherwise all
    /// of a column that is not constant would lie in one bin and no change in it would show.
    /// NaN is a null. Infinite values lie in the outer bins and move neither edges nor range.
    pub fn from_values(name: impl Into<String>, values: &[f64]) -> Self {
        let mut finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        finite.sort_unstable_by(f64::total_cmp);
        let edges = decile_edges(&finite);
        let mut column = Self {
            name: name.into(),
            counts: vec![0; edges.len() + 1],
            edges,
            nulls: 0,
            min: finite.first().copied().unwrap_or(f64::INFINITY),
            max: finite.last().copied().unwrap_or(f64::NEG_INFINITY),
        };
        for &value in values {
            if value.is_nan() {
                column.nulls += 1;
            } else {
                let bin = column.bin(value);
                column.counts[bin] += 1;
            }
        }
        column
    }

    /// The column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inner edges, strictly increasing; there is one bin more than edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// How many values the reference has in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// How many nulls the reference has.
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// The least and the greatest finite value of the reference; `None` when it has none.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.min <= self.max).then_some((self.min, self.max))
    }

    /// How many values, not counting nulls, the reference has.
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The share of nulls in the reference's rows; zero for a reference without rows.
    pub fn null_rate(&self) -> f64 {
        super::histogram::rate(self.nulls, self.values() + self.nulls)
    }

    /// The bin that holds `value`; a NaN, which is in no bin, gives the first.
    pub fn bin(&self, value: f64) -> usize {
        if self.edges.len() <= LINEAR_EDGES_MAX {
            self.edges
                .iter()
                .map(|&edge| usize::from(edge < value))
                .sum()
        } else {
            self.edges.partition_point(|&edge| edge < value)
        }
    }

    /// Whether `value` lies outside the range of what the reference has seen; a NaN does not.
    pub fn is_out_of_range(&self, value: f64) -> bool {
        (value < self.min) | (value > self.max)
    }
}

/// The deciles of `sorted` without repetitions.
fn decile_edges(sorted: &[f64]) -> Vec<f64> {
    let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
        return Vec::new();
    };
    let mut edges: Vec<f64> = (1..10)
        .map(|i| quantile(sorted, f64::from(i) / 10.0))
        .collect();
    edges.dedup();
    if edges == [max] && min < max {
        let below = sorted.partition_point(|&x| x < max);
        edges.insert(0, sorted[below - 1]);
    }
    edges
}

/// The quantile `q` of `sorted`, which has at least one value, as numpy interpolates it.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * q;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let (a, b, t) = (sorted[below], sorted[above], position - position.floor());
    let between = if t >= 0.5 {
        b - (b - a) * (1.0 - t)
    } else {
        a + (b - a) * t
    };
    // Rounding, and the difference of two huge values, must not lead out of the two neighbours.
    between.clamp(a, b)
}

impl TryFrom<RawColumn> for Column {
    type Error = InvalidReference;

    fn try_from(raw: RawColumn) -> Result<Self, InvalidReference> {
        let column = raw.name.clone();
        if let Some(index) = raw.edges.iter().position(|edge| !edge.is_finite()) {
            return Err(InvalidReference::EdgeNotFinite { column, index });
        }
        if let Some(index) = raw.edges.windows(2).position(|pair| pair[0] >= pair[1]) {
            return Err(InvalidReference::EdgesNotIncreasing {
                column,
                index: index + 1,
                edge: raw.edges[index + 1],
                previous: raw.edges[index],
            });
        }
        if raw.counts.len() != raw.edges.len() + 1 {
            let (counts, edges) = (raw.counts.len(), raw.edges.len());
            return Err(InvalidReference::CountsLength {
                column,
                counts,
                edges,
            });
        }
        if raw
            .counts
            .iter()
            .try_fold(raw.nulls, |sum, &n| sum.checked_add(n))
            .is_none()
        {
            return Err(InvalidReference::CountsOverflow { column });
        }
        let has_values = raw.counts.iter().any(|&n| n > 0);
        let (min, max) = match (raw.min, raw.max) {
            (Some(min), Some(max)) if min.is_finite() && max.is_finite() && min <= max => {
                (min, max)
            }
            (None, None) if raw.edges.is_empty() || !has_values => {
                (f64::INFINITY, f64::NEG_INFINITY)
            }
            (min, max) => return Err(InvalidReference::Range { column, min, max }),
        };
        let RawColumn {
            name,
            edges,
            counts,
            nulls,
            ..
        } = raw;
        Ok(Self {
            name,
            edges,
            counts,
            nulls,
            min,
            max,
        })
    }
}

impl From<Column> for RawColumn {
    fn from(column: Column) -> Self {
        let range = column.range();
        Self {
            name: column.name,
            edges: column.edges,
            counts: column.counts,
            nulls: column.nulls,
            min: range.map(|(min, _)| min),
            max: range.map(|(_, max)| max),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64], edges: &[f64], counts: &[u64], nulls: u64) {
        let column = Column::from_values("x", values);
        assert_eq!(column.edges(), edges);
        assert_eq!(column.counts(), counts);
        assert_eq!(column.nulls(), nulls);
    }

    #[test]
    fn deciles_interpolate_as_numpy_does() {
        // numpy.quantile([1, 2, 4, 8], [0.1, ..., 0.9])
        let edges = Column::from_values("x", &[8.0, 1.0, 4.0, 2.0])
            .edges()
            .to_vec();
        let expected = [1.3, 1.6, 1.9, 2.4, 3.0, 3.6, 4.4, 5.6, 6.8];
        assert_eq!(edges.len(), expected.len());
        for (edge, expected) in edges.iter().zip(expected) {
            assert!((edge - expected).abs() < 1e-12, "{edge} is not {expected}");
        }
    }

    #[test]
    fn equal_deciles_become_one_edge() {
        check(
            &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 7.0],
            &[0.0],
            &[10, 1],
            0,
        );
        check(&[5.0; 4], &[5.0], &[4, 0], 0);
    }

    #[test]
    fn a_flag_that_is_nearly_always_set_keeps_two_bins() {
        let mut values = vec![1.0; 99];
        values.push(0.0);
        check(&values, &[0.0, 1.0], &[1, 99, 0], 0);
    }

    #[test]
    fn nulls_and_infinite_values_move_no_edge() {
        let values = [
            f64::NAN,
            f64::NEG_INFINITY,
            3.0,
            f64::INFINITY,
            f64::INFINITY,
        ];
        check(&values, &[3.0], &[2, 2], 1);
        check(&[f64::NAN; 3], &[], &[0], 3);
        check(&[], &[], &[0], 0);
        assert_eq!(Column::from_values("x", &values).range(), Some((3.0, 3.0)));
        assert_eq!(Column::from_values("x", &[f64::NAN]).range(), None);
    }

    #[test]
    fn values_of_any_size_give_a_valid_column() {
        let column = Column::from_values("x", &[f64::MIN, -1.0, 1.0, f64::MAX]);
        Column::try_from(RawColumn::from(column)).expect("the profile is valid");
    }

    #[test]
    fn both_searches_find_the_same_bin() {
        let many: Vec<f64> = (0..2 * LINEAR_EDGES_MAX).map(|i| i as f64).collect();
        let mut column = Column::from_values("x", &[0.0]);
        column.edges = many;
        for (value, bin) in [(-1.0, 0), (0.0, 0), (0.5, 1), (63.0, 63), (64.0, 64)] {
            assert_eq!(column.bin(value), bin);
        }
        column.edges.truncate(4);
        for (value, bin) in [(-1.0, 0), (0.0, 0), (0.5, 1), (3.0, 3), (64.0, 4)] {
            assert_eq!(column.bin(value), bin);
        }
    }

    proptest! {
        #[test]
        fn every_value_is_in_one_right_closed_bin(
            values in prop::collection::vec(-50.0..50.0f64, 1..80),
            x in prop::num::f64::ANY,
        ) {
            let column = Column::from_values("x", &values);
            prop_assert!(column.edges().windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(column.values() as usize, values.len());
            if !x.is_nan() {
                let bin = column.bin(x);
                prop_assert!(bin == 0 || column.edges()[bin - 1] < x);
                prop_assert!(bin == column.edges().len() || x <= column.edges()[bin]);
            }
        }

        #[test]
        fn json_gives_back_the_same_column(
            values in prop::collection::vec(prop::num::f64::ANY, 0..60),
        ) {
            let column = Column::from_values("x", &values);
            let json = serde_json::to_string(&column).unwrap();
            prop_assert_eq!(serde_json::from_str::<Column>(&json).unwrap(), column);
        }
    }
}
