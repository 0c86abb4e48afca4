//! Slope: the linear trend of a value over event time, by least squares, per second; missing below
//! two different times.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::compensated::Compensated;
use super::powers::Powers;

/// By how much the present values rise in a second of event time, by the least-squares line through
/// them. Missing when they are not of at least two different times.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Slope};
///
/// let mut state = Slope.empty();
/// for (second, value) in [(0, 1.0), (10, 2.0), (20, 3.0)] {
///     Slope.add(&mut state, EventTime::from_seconds(second), &value);
/// }
/// assert!((Slope.finish(&state, EventTime::from_seconds(20)) - 0.1).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Slope;

/// What [`Slope`] keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Of the times in microseconds.
    times: Powers<2>,
    values: Powers<2>,
    /// The sum of the products of their distances from their shifts.
    products: Compensated,
}

impl Trend {
    fn product(&self, at: EventTime, value: f64) -> Compensated {
        let time = self.times.distance(micros(at));
        time.times(self.values.distance(value))
    }
}

/// The time in microseconds, exact for 285 years on either side of 1970.
fn micros(at: EventTime) -> f64 {
    at.as_micros() as f64
}

impl Aggregate for Slope {
    type Input = f64;
    type State = Trend;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> Trend {
        Trend::default()
    }

    fn add(&self, trend: &mut Trend, at: EventTime, value: &f64) {
        if value.is_finite() {
            trend.times.add(micros(at));
            trend.values.add(*value);
            trend.products = trend.products.plus(trend.product(at, *value));
        }
    }

    fn merge(&self, trend: &mut Trend, later: &Trend) {
        if later.times.count() == 0 {
            return;
        }
        if trend.times.count() == 0 {
            *trend = *later;
            return;
        }
        // Sum of (t + dt) (v + dv) over the later events, t and v from their own shifts.
        let time = trend.times.distance_to(&later.times);
        let value = trend.values.distance_to(&later.values);
        let moved = time
            .times(later.values.first())
            .plus(value.times(later.times.first()))
            .plus(time.times(value).scaled(later.times.count() as f64));
        trend.products = trend.products.plus(later.products).plus(moved);
        trend.times.merge(&later.times);
        trend.values.merge(&later.values);
    }

    fn remove(&self, trend: &mut Trend, at: EventTime, value: &f64) {
        if !value.is_finite() {
            return;
        }
        trend.products = trend.products.minus(trend.product(at, *value));
        trend.times.remove(micros(at));
        trend.values.remove(*value);
        if trend.times.count() == 0 {
            *trend = Trend::default();
        }
    }

    fn is_exact(&self, trend: &Trend) -> bool {
        trend.times.is_exact() && trend.values.is_exact() && trend.products.is_finite()
    }

    fn finish(&self, trend: &Trend, _end: EventTime) -> f64 {
        let n = trend.times.count() as f64;
        let spread = trend.times.second_central();
        if n < 2.0 || spread <= 0.0 {
            return f64::NAN;
        }
        let means = trend.times.first().times(trend.values.first()).over(n);
        trend.products.minus(means).value() / spread * 1e6
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::hours;

    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Slope, oracle::values(), within(1e-9), |events, end| {
            let present = events.iter().filter(|e| e.1.is_finite());
            // Whole numbers: microseconds, and 1,024ths of the value.
            let points: Vec<(i128, i128)> = present
                .map(|e| {
                    (
                        -(end.since(e.0).as_micros() as i128),
                        (e.1 * 1_024.0) as i128,
                    )
                })
                .collect();
            let sum = |of: fn(&(i128, i128)) -> i128| points.iter().map(of).sum::<i128>();
            let (n, t, v) = (points.len() as i128, sum(|p| p.0), sum(|p| p.1));
            let rise = n * sum(|p| p.0 * p.1) - t * v;
            let spread = n * sum(|p| p.0 * p.0) - t * t;
            // NaN of nothing over nothing: missing.
            rise as f64 / spread as f64 * 1e6 / 1_024.0
        });
    }

    #[test]
    fn a_window_that_has_slid_for_years_is_as_exact_as_a_new_one() {
        let event = |n: i64| {
            let at = EventTime::from_seconds(1_700_000_000 + n * 3_600);
            (at, 1e8 + (n % 10) as f64)
        };
        let events: Vec<_> = (0..20_000).map(event).collect();
        let mut window = oracle::Window::new(&Slope, &events);
        for (newest, (at, _)) in events.iter().enumerate() {
            window.slide(newest, at.saturating_sub(hours(24)));
        }
        let got = Slope.finish(&window.state, EventTime::MAX);
        let expected = oracle::finish_of(&Slope, &events[events.len() - 24..]);
        assert!((got / expected - 1.0).abs() < 1e-12, "{got}, {expected}");
        // The origin of time is left far behind now and then.
        assert!((1..20).contains(&window.made_anew), "{}", window.made_anew);
    }
}
