//! Count: the number of events of the key in the window, whatever they carry; zero when empty.
//!
//! Every event is a row of the log where something counts, so the count is a difference of two
//! positions and keeps no state of its own.

use thalweg_engine::time::EventTime;

use super::Aggregate;

/// The number of events.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Count};
///
/// let mut state = Count.empty();
/// Count.add(&mut state, EventTime::from_seconds(1), &());
/// Count.add(&mut state, EventTime::from_seconds(2), &());
/// assert_eq!(Count.finish(&state, EventTime::from_seconds(2)), 2.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Count;

impl Aggregate for Count {
    type Input = ();
    type State = u64;
    type Output = f64;

    const REMOVES: bool = true;

    fn empty(&self) -> u64 {
        0
    }

    fn add(&self, count: &mut u64, _at: EventTime, _input: &()) {
        *count += 1;
    }

    fn merge(&self, count: &mut u64, later: &u64) {
        *count += later;
    }

    fn remove(&self, count: &mut u64, _at: EventTime, _input: &()) {
        *count -= 1;
    }

    fn finish(&self, count: &u64, _end: EventTime) -> f64 {
        *count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn the_window_is_open_at_its_start_and_closed_at_its_end() {
        check(
            |f| {
                f.over(secs(10)).count("n");
                f.ever().count("ever");
            },
            &[
                reading(0, 1.0),
                reading(9, f64::NAN),
                reading(9, 1.0),
                reading(10, 1.0),
                reading(40, 1.0),
            ],
            &[
                &[1.0, 1.0],
                &[2.0, 2.0],
                &[3.0, 3.0],
                &[3.0, 4.0],
                &[1.0, 5.0],
            ],
        );
    }

    #[test]
    fn agrees_with_its_oracle() {
        oracle::check(&Count, oracle::ticks(), exactly, |events, _| {
            events.len() as f64
        });
    }
}
