//! Inter-arrival times: mean and standard deviation of the gaps between events, in seconds.
//!
//! Gaps are whole microseconds and are summed as whole numbers, so nothing is rounded before the
//! answer. A window that slides has to know the gap that ends when the oldest event is gone, so all
//! its gaps are held, 8 bytes each; a compact state holds none.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;

/// The mean gap between an event and the next, in seconds; missing below two events.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, InterArrivalMean};
///
/// let mut state = InterArrivalMean.empty();
/// for second in [1, 2, 4] {
///     InterArrivalMean.add(&mut state, EventTime::from_seconds(second), &());
/// }
/// assert_eq!(InterArrivalMean.finish(&state, EventTime::from_seconds(9)), 1.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InterArrivalMean;

/// The sample standard deviation (divisor m - 1) of the m gaps between an event and the next, in
/// seconds; missing below two gaps.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, InterArrivalStd};
///
/// let mut state = InterArrivalStd.empty();
/// for second in [1, 2, 5] {
///     InterArrivalStd.add(&mut state, EventTime::from_seconds(second), &());
/// }
/// assert_eq!(InterArrivalStd.finish(&state, EventTime::from_seconds(9)), 2f64.sqrt());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InterArrivalStd;

/// What [`InterArrivalMean`] and [`InterArrivalStd`] keep.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Gaps {
    events: u64,
    first: EventTime,
    last: EventTime,
    /// The sum of the squared gaps, in square microseconds. It is at most the square of the time
    /// from first to last, so it cannot overflow.
    squares: u128,
    /// The gaps in microseconds, oldest first; none in a compact state.
    gaps: VecDeque<u64>,
}

impl Gaps {
    fn add(&mut self, at: EventTime) {
        if self.events == 0 {
            self.first = at;
        } else {
            self.push(gap(self.last, at));
        }
        self.last = at;
        self.events += 1;
    }

    fn merge(&mut self, later: &Self) {
        if later.events == 0 {
            return;
        }
        if self.events == 0 {
            self.clone_from(later);
            return;
        }
        self.push(gap(self.last, later.first));
        self.squares = self.squares.wrapping_add(later.squares);
        self.gaps.extend(&later.gaps);
        self.last = later.last;
        self.events += later.events;
    }

    fn remove(&mut self) {
        self.events -= 1;
        let gap = self.gaps.pop_front().unwrap_or_default();
        self.squares = self.squares.wrapping_sub(square(gap));
        let first = self.first.as_micros().wrapping_add_unsigned(gap);
        self.first = EventTime::from_micros(first);
    }

    fn push(&mut self, gap: u64) {
        self.squares = self.squares.wrapping_add(square(gap));
        self.gaps.push_back(gap);
    }

    /// The number of gaps, if it is not below `least`.
    fn count(&self, least: u64) -> Option<u64> {
        self.events.checked_sub(1).filter(|count| *count >= least)
    }

    fn mean(&self) -> f64 {
        self.count(1).map_or(f64::NAN, |count| {
            gap(self.first, self.last) as f64 / count as f64 / 1e6
        })
    }

    fn std(&self) -> f64 {
        let Some(count) = self.count(2) else {
            return f64::NAN;
        };
        let sum = gap(self.first, self.last);
        let (n, all) = (u128::from(count), square(sum));
        // n times the sum of squared deviations; beyond u128 only for spans of millennia.
        let deviations = match self.squares.checked_mul(n) {
            Some(squares) => squares.saturating_sub(all) as f64,
            None => (self.squares as f64 * count as f64 - all as f64).max(0.0),
        };
        (deviations / count as f64 / (count - 1) as f64).sqrt() / 1e6
    }
}

fn gap(earlier: EventTime, later: EventTime) -> u64 {
    later.as_micros().abs_diff(earlier.as_micros())
}

fn square(gap: u64) -> u128 {
    u128::from(gap) * u128::from(gap)
}

/// Everything but the answer of an aggregate of gaps.
macro_rules! of_gaps {
    () => {
        type Input = ();
        type State = Gaps;
        type Output = f64;

        const REMOVES: bool = true;

        fn empty(&self) -> Gaps {
            Gaps::default()
        }

        fn add(&self, gaps: &mut Gaps, at: EventTime, _input: &()) {
            gaps.add(at);
        }

        fn merge(&self, gaps: &mut Gaps, later: &Gaps) {
            gaps.merge(later);
        }

        fn remove(&self, gaps: &mut Gaps, _at: EventTime, _input: &()) {
            gaps.remove();
        }

        fn compact(&self, gaps: &mut Gaps) {
            gaps.gaps.clear();
        }
    };
}

impl Aggregate for InterArrivalMean {
    of_gaps!();

    fn finish(&self, gaps: &Gaps, _end: EventTime) -> f64 {
        gaps.mean()
    }
}

impl Aggregate for InterArrivalStd {
    of_gaps!();

    fn finish(&self, gaps: &Gaps, _end: EventTime) -> f64 {
        gaps.std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    fn gaps_of(events: &[(EventTime, ())]) -> Vec<f64> {
        let gap = |pair: &[(EventTime, ())]| pair[1].0.since(pair[0].0).as_secs_f64();
        events.windows(2).map(gap).collect()
    }

    #[test]
    fn agrees_with_its_oracle() {
        let mean = |gaps: &[f64]| gaps.iter().sum::<f64>() / gaps.len() as f64;
        let ticks = oracle::ticks;
        oracle::check(&InterArrivalMean, ticks(), within(1e-12), |events, _| {
            mean(&gaps_of(events))
        });
        oracle::check(&InterArrivalStd, ticks(), within(1e-9), |events, _| {
            let gaps = gaps_of(events);
            if gaps.len() < 2 {
                return f64::NAN;
            }
            let mean = mean(&gaps);
            let squares: f64 = gaps.iter().map(|gap| (gap - mean).powi(2)).sum();
            (squares / (gaps.len() - 1) as f64).sqrt()
        });
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let times = [i64::MIN, 0, i64::MAX, i64::MAX];
        let events = times.map(|at| (EventTime::from_micros(at), ()));
        let got = oracle::finish_of(&InterArrivalStd, &events);
        let side = 2f64.powi(63) / 1e6;
        assert!((got / (side / 3f64.sqrt()) - 1.0).abs() < 1e-9, "{got}");
    }
}
