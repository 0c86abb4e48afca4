//! Histogram over given edges: how many values lie between each edge and the next, below the first
//! and from the last on.

use thalweg_engine::time::EventTime;

use super::{Aggregate, AggregateError};

/// Counts of the present values by bins; all zero when there are none.
///
/// With `k` edges there are `k + 1` counts: below the first edge, from each edge up to but without
/// the next, from the last edge on.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Histogram};
///
/// let histogram = Histogram::new(vec![0.0, 10.0])?;
/// let (mut state, at) = (histogram.empty(), EventTime::from_seconds(1));
/// for value in [-1.0, 0.0, 9.9, 10.0, f64::NAN] {
///     histogram.add(&mut state, at, &value);
/// }
/// assert_eq!(histogram.finish(&state, at), [1.0, 2.0, 1.0]);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Histogram {
    edges: Vec<f64>,
}

impl Histogram {
    /// Bins between these edges.
    ///
    /// # Errors
    /// When there are no edges, or one is not finite or not above the one before it.
    pub fn new(edges: Vec<f64>) -> Result<Self, AggregateError> {
        let finite = edges.iter().all(|edge| edge.is_finite());
        if edges.is_empty() || !finite || !edges.is_sorted_by(|a, b| a < b) {
            return Err(AggregateError::Edges);
        }
        Ok(Self { edges })
    }

    fn bin(&self, value: f64) -> usize {
        self.edges.partition_point(|edge| *edge <= value)
    }
}

impl Aggregate for Histogram {
    type Input = f64;
    /// A count for each bin; nothing before the first value.
    type State = Vec<u64>;
    type Output = Vec<f64>;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) -> Vec<u64> {
        Vec::new()
    }

    fn add(&self, counts: &mut Vec<u64>, _at: EventTime, value: &f64) {
        if value.is_finite() {
            counts.resize(self.edges.len() + 1, 0);
            counts[self.bin(*value)] += 1;
        }
    }

    fn merge(&self, counts: &mut Vec<u64>, later: &Vec<u64>) {
        if counts.is_empty() {
            counts.clone_from(later);
            return;
        }
        for (count, more) in counts.iter_mut().zip(later) {
            *count += more;
        }
    }

    fn remove(&self, counts: &mut Vec<u64>, _at: EventTime, value: &f64) {
        if value.is_finite() {
            counts[self.bin(*value)] -= 1;
        }
    }

    fn finish(&self, counts: &Vec<u64>, _end: EventTime) -> Vec<f64> {
        let count = |bin| counts.get(bin).map_or(0.0, |count| *count as f64);
        (0..=self.edges.len()).map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        let edges = vec![-1.0, 0.0, 5.0, 1e8];
        let histogram = Histogram::new(edges.clone()).unwrap();
        oracle::check(&histogram, oracle::values(), exactly, |events, _| {
            let lows = [f64::NEG_INFINITY].into_iter().chain(edges.clone());
            let highs = edges.iter().copied().chain([f64::INFINITY]);
            let values = oracle::present(events);
            lows.zip(highs)
                .map(|(low, high)| values.iter().filter(|v| low <= **v && **v < high).count())
                .map(|count| count as f64)
                .collect()
        });
    }

    #[test]
    fn edges_that_are_none_are_refused() {
        for edges in [vec![], vec![f64::NAN], vec![1.0, 1.0], vec![2.0, 1.0]] {
            assert_eq!(Histogram::new(edges).unwrap_err(), AggregateError::Edges);
        }
    }
}
