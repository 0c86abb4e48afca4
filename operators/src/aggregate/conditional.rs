//! The conditional form of any aggregate: `sum_if`, `mean_if`, and the like.

use thalweg_engine::time::EventTime;

use super::Aggregate;

/// An aggregate over those events that have an input for it: `None` is left out.
///
/// So `If(Sum)` of an amount that is `None` unless the payment was declined is the sum of declined
/// amounts. It also leaves out missing ids and unknown flags.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, If, Sum};
///
/// let declined = If(Sum);
/// let (mut state, at) = (declined.empty(), EventTime::from_seconds(1));
/// for (amount, is_declined) in [(5.0, true), (7.0, false), (1.5, true)] {
///     declined.add(&mut state, at, &is_declined.then_some(amount));
/// }
/// assert_eq!(declined.finish(&state, at), 6.5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct If<A>(pub A);

impl<A: Aggregate> Aggregate for If<A> {
    type Input = Option<A::Input>;
    type State = A::State;
    type Output = A::Output;

    const REMOVES: bool = A::REMOVES;

    fn empty(&self) -> A::State {
        self.0.empty()
    }

    fn add(&self, state: &mut A::State, at: EventTime, input: &Option<A::Input>) {
        if let Some(input) = input {
            self.0.add(state, at, input);
        }
    }

    fn merge(&self, state: &mut A::State, later: &A::State) {
        self.0.merge(state, later);
    }

    fn remove(&self, state: &mut A::State, at: EventTime, input: &Option<A::Input>) {
        if let Some(input) = input {
            self.0.remove(state, at, input);
        }
    }

    fn is_exact(&self, state: &A::State) -> bool {
        self.0.is_exact(state)
    }

    fn compact(&self, state: &mut A::State) {
        self.0.compact(state);
    }

    fn finish(&self, state: &A::State, end: EventTime) -> A::Output {
        self.0.finish(state, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::within;
    use crate::aggregate::{Mean, Sum};

    #[test]
    fn agrees_with_its_oracle() {
        let some = oracle::values().prop_map(|(events, plan)| {
            let some = |(at, value): (EventTime, f64)| (at, (value > 0.0).then_some(value));
            (events.into_iter().map(some).collect::<Vec<_>>(), plan)
        });
        let positive = |events: &[(EventTime, Option<f64>)]| -> Vec<f64> {
            let values = events.iter().filter_map(|e| e.1);
            values.filter(|v| v.is_finite()).collect()
        };
        oracle::check(&If(Sum), &some, within(1e-9), |events, _| {
            oracle::exact_sum(&positive(events))
        });
        oracle::check(&If(Mean), &some, within(1e-9), |events, _| {
            let values = positive(events);
            oracle::exact_sum(&values) / values.len() as f64
        });
    }
}
