//! The part of an implementation that aggregates share which are finished from the same state.

/// Everything but the answer of an aggregate over present values, for a state that takes values in,
/// lets them go and merges.
macro_rules! of_values {
    ($state:ty) => {
        type Input = f64;
        type State = $state;

        const REMOVES: bool = true;

        fn empty(&self) -> $state {
            <$state>::default()
        }

        fn add(&self, state: &mut $state, _at: thalweg_engine::time::EventTime, value: &f64) {
            if value.is_finite() {
                state.add(*value);
            }
        }

        fn merge(&self, state: &mut $state, later: &$state) {
            state.merge(later);
        }

        fn remove(&self, state: &mut $state, _at: thalweg_engine::time::EventTime, value: &f64) {
            if value.is_finite() {
                state.remove(*value);
            }
        }
    };
}

/// Everything but the answer of an aggregate over a `limit` of different ids.
macro_rules! of_ids {
    () => {
        type Input = u64;
        type State = $crate::aggregate::tally::Tally;

        const REMOVES: bool = true;

        fn empty(&self) -> Self::State {
            Self::State::default()
        }

        fn add(&self, tally: &mut Self::State, _at: thalweg_engine::time::EventTime, id: &u64) {
            tally.add(*id, self.limit);
        }

        fn merge(&self, tally: &mut Self::State, later: &Self::State) {
            tally.merge(later, self.limit);
        }

        fn remove(&self, tally: &mut Self::State, _at: thalweg_engine::time::EventTime, id: &u64) {
            tally.remove(*id);
        }

        fn is_exact(&self, tally: &Self::State) -> bool {
            tally.is_exact()
        }
    };
}

pub(crate) use {of_ids, of_values};
