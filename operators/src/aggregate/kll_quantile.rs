//! Approximate quantiles to a rank error, by a KLL sketch.
//!
//! Level `i` of the sketch holds values that stand for 2^i each. When the sketch is full, the lowest
//! full level is sorted and every other of its values goes up a level, the first or the second of
//! each pair by the toss of a coin. Source: Karnin, Lang, Liberty, "Optimal quantile approximation
//! in streams" (2016); capacities as in Apache DataSketches.
//!
//! The sketch of the crate `datasketches` tosses its coins from a generator that each thread seeds
//! at random, so the same events give other answers on every run. Here the coin is a hash of how
//! often it was tossed, which makes a state a function of its events, as every state must be.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::ranks::lower_position;
use super::{Aggregate, AggregateError, Ranks};

/// No level holds fewer values than this before it is thinned.
const LEAST_CAPACITY: usize = 8;

/// Quantiles of the present values to a rank error, missing when there are none; see [`Ranks`] for
/// one or several.
///
/// For quantile `q` of `n` values the answer is one of the values, whose position in their order
/// differs from `floor(q (n - 1))` by no more than `n` times 2.3 / kept^0.97 in 99 of 100 cases
/// (1.3 % for 200, 0.7 % for 400); the least and the greatest value are exact, and so is everything
/// up to `kept` values. It holds about 3 `kept` values of 8 bytes, however many there were.
///
/// Unlike [`DdQuantile`](super::DdQuantile) it is independent of the values' scale, but cannot let
/// events go.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, KllQuantile};
///
/// let median = KllQuantile::new(0.5, 200)?;
/// let (mut state, at) = (median.empty(), EventTime::from_seconds(1));
/// for value in 0..=10_000 {
///     median.add(&mut state, at, &f64::from(value));
/// }
/// assert!((median.finish(&state, at) - 5_000.0).abs() < 133.0);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct KllQuantile<R = f64> {
    ranks: R,
    kept: usize,
}

/// What [`KllQuantile`] keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KllSketch {
    count: u64,
    least: f64,
    greatest: f64,
    /// How often a coin was tossed.
    tosses: u64,
    /// Values that stand for 2^level each; sorted above level 0.
    levels: Vec<Vec<f64>>,
}

impl<R: Ranks> KllQuantile<R> {
    /// These quantiles, from a sketch that keeps `kept` values in its highest level.
    ///
    /// # Errors
    /// When a quantile is not between 0 and 1, or `kept` not between 8 and 65535.
    pub fn new(ranks: R, kept: usize) -> Result<Self, AggregateError> {
        if !(LEAST_CAPACITY..=usize::from(u16::MAX)).contains(&kept) {
            return Err(AggregateError::Kept(kept));
        }
        Ok(Self {
            ranks: ranks.checked()?,
            kept,
        })
    }
}

impl<R: Ranks> Aggregate for KllQuantile<R> {
    type Input = f64;
    type State = KllSketch;
    type Output = R::Output;

    fn empty(&self) -> KllSketch {
        KllSketch {
            count: 0,
            least: f64::NAN,
            greatest: f64::NAN,
            tosses: 0,
            levels: Vec::new(),
        }
    }

    fn add(&self, sketch: &mut KllSketch, _at: EventTime, value: &f64) {
        if !value.is_finite() {
            return;
        }
        sketch.count += 1;
        sketch.least = sketch.least.min(*value);
        sketch.greatest = sketch.greatest.max(*value);
        sketch.raise(0, &[*value]);
        sketch.compress(self.kept);
    }

    fn merge(&self, sketch: &mut KllSketch, later: &KllSketch) {
        sketch.count += later.count;
        sketch.tosses += later.tosses;
        sketch.least = sketch.least.min(later.least);
        sketch.greatest = sketch.greatest.max(later.greatest);
        for (level, values) in later.levels.iter().enumerate() {
            sketch.raise(level, values);
        }
        sketch.compress(self.kept);
    }

    fn finish(&self, sketch: &KllSketch, _end: EventTime) -> R::Output {
        let weighted = sketch.weighted();
        self.ranks.answer(|q| sketch.quantile(&weighted, q))
    }
}

impl KllSketch {
    /// Puts values into a level.
    fn raise(&mut self, level: usize, values: &[f64]) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        self.levels[level].extend(values);
        if level > 0 {
            // Sorting finds the two sorted runs, so this is a merge.
            self.levels[level].sort_by(f64::total_cmp);
        }
    }

    /// Thins levels until the sketch is no longer full.
    fn compress(&mut self, kept: usize) {
        loop {
            let held: usize = self.levels.iter().map(Vec::len).sum();
            let capacities = capacities(kept, self.levels.len());
            if held <= capacities.iter().sum() {
                return;
            }
            let is_full = |(values, capacity): (&Vec<f64>, &usize)| values.len() >= *capacity;
            let full = self.levels.iter().zip(&capacities).position(is_full);
            self.thin(full.expect("invariant: one level of a full sketch is full"));
        }
    }

    /// Sends every other value of a level up.
    fn thin(&mut self, level: usize) {
        let mut values = std::mem::take(&mut self.levels[level]);
        // The value that has no partner stays: the newest, or the least of a sorted level.
        let single = match (values.len() % 2, level) {
            (0, _) => None,
            (_, 0) => values.pop(),
            _ => Some(values.remove(0)),
        };
        values.sort_by(f64::total_cmp);
        self.levels[level].extend(single);
        self.tosses += 1;
        let second = usize::from(coin(self.tosses));
        let raised: Vec<f64> = values.into_iter().skip(second).step_by(2).collect();
        self.raise(level + 1, &raised);
    }

    /// The values held and what each stands for, least first.
    fn weighted(&self) -> Vec<(f64, u64)> {
        let mut weighted: Vec<(f64, u64)> = Vec::new();
        for (level, values) in self.levels.iter().enumerate() {
            weighted.extend(values.iter().map(|value| (*value, 1 << level)));
        }
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        weighted
    }

    fn quantile(&self, weighted: &[(f64, u64)], q: f64) -> f64 {
        let position = lower_position(q, self.count);
        if position == 0 {
            return self.least;
        }
        let mut before = 0;
        for (value, weight) in weighted {
            before += weight;
            if before > position && position + 1 < self.count {
                return *value;
            }
        }
        self.greatest
    }
}

/// How many values each level may hold: `kept` in the highest, each lower one two thirds as many.
fn capacities(kept: usize, levels: usize) -> Vec<usize> {
    let mut capacities = vec![kept; levels];
    for level in (1..levels).rev() {
        capacities[level - 1] = (capacities[level] * 2).div_ceil(3).max(LEAST_CAPACITY);
    }
    capacities
}

/// The toss of this number: a bit of `SplitMix64`. Source: Steele, Lea, Flood (2014).
fn coin(toss: u64) -> bool {
    let mut z = toss.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::{check_laws, exactly};

    const N: u64 = 30_000;

    /// Each of the numbers below `N` once, in different orders.
    fn orders() -> Vec<Vec<f64>> {
        let numbers = |order: fn(u64) -> u64| (0..N).map(|n| order(n) as f64).collect();
        vec![
            numbers(|n| n),
            numbers(|n| N - 1 - n),
            numbers(|n| n * 7_919 % N),
            numbers(|n| if n % 2 == 0 { n / 2 } else { N - 1 - n / 2 }),
        ]
    }

    fn events(values: &[f64]) -> Vec<(EventTime, f64)> {
        let stamp = |(n, value): (usize, &f64)| (EventTime::from_seconds(n as i64), *value);
        values.iter().enumerate().map(stamp).collect()
    }

    #[test]
    fn is_exact_up_to_the_values_it_keeps() {
        for q in [0.0, 0.3, 0.5, 1.0] {
            let quantile = KllQuantile::new(q, 50).unwrap();
            oracle::check(&quantile, oracle::values(), exactly, |events, _| {
                let values = oracle::sorted(events);
                let position = lower_position(q, values.len() as u64);
                values.get(position as usize).copied().unwrap_or(f64::NAN)
            });
        }
    }

    #[test]
    fn ranks_are_as_close_as_it_says_in_any_order_and_merged() {
        let ranks: Vec<f64> = (0..=20).map(|n| f64::from(n) / 20.0).collect();
        for (kept, bound) in [(200, 0.013), (400, 0.007)] {
            let quantiles = KllQuantile::new(ranks.clone(), kept).unwrap();
            for values in orders() {
                let events = events(&values);
                let mut merged = quantiles.empty();
                for part in events.chunks(4_321) {
                    let mut state = quantiles.empty();
                    for (at, value) in part {
                        quantiles.add(&mut state, *at, value);
                    }
                    quantiles.merge(&mut merged, &state);
                }
                let merged = quantiles.finish(&merged, EventTime::MAX);
                let whole = oracle::finish_of(&quantiles, &events);
                for (q, got) in ranks.iter().chain(&ranks).zip(whole.iter().chain(&merged)) {
                    let error = (got - q * (N - 1) as f64).abs() / N as f64;
                    assert!(error <= bound, "{got} for quantile {q} of {N}: {error}");
                }
            }
        }
    }

    #[test]
    fn keeps_the_laws_and_its_size_when_it_is_far_too_small() {
        let quantile = KllQuantile::new(0.5, 8).unwrap();
        let values = &orders()[2][..2_000];
        let near = |a: &f64, b: &f64| (a - b).abs() < 0.4 * N as f64;
        check_laws(&quantile, &events(values), |a, b| {
            near(a, b) || (a.is_nan() && b.is_nan())
        });
        let mut state = quantile.empty();
        for (at, value) in events(&orders()[2]) {
            quantile.add(&mut state, at, &value);
        }
        let held: usize = state.levels.iter().map(Vec::len).sum();
        assert!(held < 8 * 14, "{held}");
    }
}
