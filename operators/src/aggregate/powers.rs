//! Sums of powers of the values' distances from a fixed shift: what variance, skew, kurtosis and
//! slope are finished from.
//!
//! Sums of plain powers cancel: at mean 1e8 a fourth power is 1e32 and the fourth central moment
//! may be 1. Here the first value is the shift, so that the distances are about as wide as the
//! values are spread (in `n` values, none is further than `sqrt(n)` standard deviations from the
//! mean), and the sums are double-double. What is left to go wrong is a value that has left: when
//! the second moment has become so small a part of what it was that errors of the old magnitude
//! show, the sums declare themselves void and are made anew about a new shift.

use serde::{Deserialize, Serialize};

use super::compensated::Compensated;

/// The part of the greatest second power sum that must be left of the second central moment, for
/// few values (2^-20). With `n` values, values that nothing has left may be down to `1 / (n + 1)`.
const LEFT: f64 = (1u64 << 20) as f64;

/// Binomial coefficients, a row for each power.
const BINOMIALS: [&[f64]; 5] = [
    &[1.0],
    &[1.0, 1.0],
    &[1.0, 2.0, 1.0],
    &[1.0, 3.0, 3.0, 1.0],
    &[1.0, 4.0, 6.0, 4.0, 1.0],
];

/// Sums of the first `N` powers (2 to 4) of the distances from a shift.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(
    serialize = "[Compensated; N]: Serialize",
    deserialize = "[Compensated; N]: Deserialize<'de>"
))]
pub struct Powers<const N: usize> {
    count: u64,
    shift: f64,
    sums: [Compensated; N],
    /// The greatest second power sum since the sums were empty.
    peak: f64,
}

impl<const N: usize> Default for Powers<N> {
    fn default() -> Self {
        Self {
            count: 0,
            shift: 0.0,
            sums: [Compensated::default(); N],
            peak: 0.0,
        }
    }
}

impl<const N: usize> Powers<N> {
    /// Takes a finite value in.
    pub(crate) fn add(&mut self, value: f64) {
        if self.count == 0 {
            self.shift = value;
        }
        self.count += 1;
        let distance = self.distance(value);
        let mut power = distance;
        for sum in &mut self.sums {
            *sum = sum.plus(power);
            power = power.times(distance);
        }
        self.peak = self.peak.max(self.sums[1].value());
    }

    /// Lets a value go.
    pub(crate) fn remove(&mut self, value: f64) {
        if self.count <= 1 {
            *self = Self::default();
            return;
        }
        self.count -= 1;
        let distance = self.distance(value);
        let mut power = distance;
        for sum in &mut self.sums {
            *sum = sum.minus(power);
            power = power.times(distance);
        }
        let n = self.count as f64;
        let (first, second) = (self.sums[0].value(), self.sums[1].value());
        let spread = second - first * (first / n);
        let dwarfed = spread * LEFT.max(4.0 * (n + 1.0)) < self.peak;
        if dwarfed || spread.is_nan() {
            self.sums = [Compensated::default().add(f64::NAN); N];
        }
    }

    /// Takes in the sums of other values.
    pub(crate) fn merge(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *later;
            return;
        }
        let moved = Compensated::difference(later.shift, self.shift);
        let mut powers = [Compensated::default().add(1.0); 5];
        for exponent in 1..=N {
            powers[exponent] = powers[exponent - 1].times(moved);
        }
        for (power, binomials) in BINOMIALS.iter().enumerate().take(N + 1).skip(1) {
            let mut sum = self.sums[power - 1];
            for (exponent, binomial) in binomials.iter().enumerate() {
                let lower = match power - exponent {
                    0 => Compensated::default().add(later.count as f64),
                    lower => later.sums[lower - 1],
                };
                sum = sum.plus(powers[exponent].times(lower).scaled(*binomial));
            }
            self.sums[power - 1] = sum;
        }
        self.count += later.count;
        self.peak = self.peak.max(later.peak).max(self.sums[1].value());
    }

    /// Whether the sums need not be made anew; not when they have overflowed.
    pub(crate) fn is_exact(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_finite())
    }

    /// The number of values.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The exact distance of a value from the shift.
    pub(crate) fn distance(&self, value: f64) -> Compensated {
        Compensated::difference(value, self.shift)
    }

    /// How far another's shift is from this one.
    pub(crate) fn distance_to(&self, other: &Self) -> Compensated {
        self.distance(other.shift)
    }

    /// The sum of the distances.
    pub(crate) fn first(&self) -> Compensated {
        self.sums[0]
    }

    /// The sum of squared deviations from the mean, infinite when squares have overflowed.
    pub(crate) fn second_central(&self) -> f64 {
        if !self.sums[1].is_finite() {
            return f64::INFINITY;
        }
        let mean = self.mean();
        self.sums[1].minus(mean.times(self.sums[0])).value()
    }

    /// The mean distance.
    fn mean(&self) -> Compensated {
        self.sums[0].over(self.count as f64)
    }
}

impl Powers<3> {
    /// The sum of cubed deviations from the mean.
    pub(crate) fn third_central(&self) -> f64 {
        let [first, second, third] = self.sums;
        let mean = self.mean();
        // (2 m S1 - 3 S2) m + S3
        let inner = mean.times(first).scaled(2.0).minus(second.scaled(3.0));
        inner.times(mean).plus(third).value()
    }
}

impl Powers<4> {
    /// The sum of the fourth powers of the deviations from the mean.
    pub(crate) fn fourth_central(&self) -> f64 {
        let [first, second, third, fourth] = self.sums;
        let mean = self.mean();
        // ((-3 m S1 + 6 S2) m - 4 S3) m + S4
        let inner = second.scaled(6.0).minus(mean.times(first).scaled(3.0));
        let inner = inner.times(mean).minus(third.scaled(4.0));
        inner.times(mean).plus(fourth).value()
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::{EventTime, secs};

    use super::*;
    use crate::aggregate::testing::within;
    use crate::aggregate::{Aggregate, Kurtosis, Skew, Variance, oracle};

    fn of(values: &[f64]) -> Powers<4> {
        let mut powers = Powers::default();
        for value in values {
            powers.add(*value);
        }
        powers
    }

    #[test]
    fn a_merge_moves_the_later_sums_to_the_earlier_shift() {
        let mut merged = of(&[1e8, 1e8 + 3.0]);
        merged.merge(&of(&[-7.0, 2.0, 1.0]));
        let whole = of(&[1e8, 1e8 + 3.0, -7.0, 2.0, 1.0]);
        for (got, expected) in merged.sums.iter().zip(whole.sums) {
            assert!((got.value() / expected.value() - 1.0).abs() < 1e-15);
        }
    }

    #[test]
    fn a_spike_that_leaves_voids_the_sums_and_ordinary_values_do_not() {
        let mut powers = of(&[1e12, 1.0, 2.0, 4.0, 3.0]);
        powers.remove(1e12);
        assert!(!powers.is_exact());
        let mut powers = of(&[5.0, 1.0, 2.0, 4.0, 3.0]);
        powers.remove(5.0);
        powers.remove(1.0);
        assert!(powers.is_exact());
        assert_eq!(powers.second_central(), 2.0);
    }

    #[test]
    fn far_first_values_void_nothing_that_nothing_has_left() {
        let mut values = vec![0.0; 3_000];
        values[0] = 1e9;
        let mut powers = of(&values);
        powers.add(0.0);
        powers.remove(1e9);
        assert!(!powers.is_exact());
        let mut anew = of(&values[1..]);
        anew.remove(0.0);
        assert!(anew.is_exact());
    }

    /// Slides a window of 1,000 events over values around 1e8 among which there are spikes, and
    /// checks all that is asked of the sums; how often they were made anew.
    fn slide<A: Aggregate<Input = f64, Output = f64>>(
        aggregate: &A,
        spikes: &[(usize, f64)],
    ) -> u32 {
        let noise = |n: i64| ((n * 7_919 % 1_000).pow(2) % 1_777) as f64 / 1_024.0;
        let mut events: Vec<_> = (0..5_000)
            .map(|n| (EventTime::from_seconds(n), 1e8 + noise(n)))
            .collect();
        for (place, spike) in spikes {
            events[*place].1 = *spike;
        }
        let mut window = oracle::Window::new(aggregate, &events);
        for (newest, (at, _)) in events.iter().enumerate() {
            let inside = window.slide(newest, at.saturating_sub(secs(1_000)));
            if newest % 199 == 0 {
                // The same values without the mean, in which nothing can be lost.
                let near = inside.iter().map(|(at, value)| (*at, value - 1e8));
                let expected = oracle::finish_of(aggregate, &near.collect::<Vec<_>>());
                let got = aggregate.finish(&window.state, *at);
                let same = within(1e-9)(&got, &expected);
                assert!(
                    same,
                    "{got}, expected {expected}, at {newest} of {spikes:?}"
                );
            }
        }
        window.made_anew
    }

    #[test]
    fn moments_are_right_at_1e8_and_once_a_spike_has_left() {
        let spikes = [(0, 1e12), (700, -1e12), (2_345, 1e20), (2_346, 1e15)];
        for spikes in [&spikes[..0], &spikes[..2], &spikes] {
            // Sums are made anew once for what leaves, not for every event.
            let most = spikes.len() as u32 + 1;
            assert!(slide(&Variance, spikes) <= most);
            assert!(slide(&Skew, spikes) <= most);
            assert!(slide(&Kurtosis, spikes) <= most);
        }
    }

    #[test]
    fn an_overflow_ends_when_the_values_have_left() {
        let values = [1e200, 2e200, 1.0, 3.0];
        let events: Vec<_> = (0..).map(EventTime::from_seconds).zip(values).collect();
        let mut window = oracle::Window::new(&Variance, &events);
        let mut answer = |newest: usize| {
            let end = events[newest].0;
            window.slide(newest, end.saturating_sub(secs(2)));
            Variance.finish(&window.state, end)
        };
        let answers = [0, 1, 2, 3].map(&mut answer);
        assert!(answers[0].is_nan());
        assert_eq!(answers[1..], [f64::INFINITY, f64::INFINITY, 2.0]);
    }
}
