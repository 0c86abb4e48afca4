//! A test kit for aggregates: [`check_laws`] holds one against the laws of [`Aggregate`].
//!
//! Give it events as they come in the user's data, many and of every kind: a law is checked on
//! these events only. Property tests feed it generated ones.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use thalweg_engine::time::EventTime;
//! use thalweg_operators::aggregate::Aggregate;
//! use thalweg_operators::aggregate::testing::{check_laws, within};
//!
//! /// The root of the mean square.
//! struct RootMeanSquare;
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Squares { count: u64, sum: f64 }
//!
//! impl Aggregate for RootMeanSquare {
//!     type Input = f64;
//!     type State = Squares;
//!     type Output = f64;
//!
//!     fn empty(&self) -> Squares {
//!         Squares::default()
//!     }
//!
//!     fn add(&self, squares: &mut Squares, _at: EventTime, value: &f64) {
//!         squares.count += 1;
//!         squares.sum += value * value;
//!     }
//!
//!     fn merge(&self, squares: &mut Squares, later: &Squares) {
//!         squares.count += later.count;
//!         squares.sum += later.sum;
//!     }
//!
//!     fn finish(&self, squares: &Squares, _end: EventTime) -> f64 {
//!         (squares.sum / squares.count as f64).sqrt()
//!     }
//! }
//!
//! let events: Vec<_> = (0..100)
//!     .map(|n| (EventTime::from_seconds(n), (n % 7) as f64 - 3.0))
//!     .collect();
//! check_laws(&RootMeanSquare, &events, within(1e-12));
//! ```

use std::any::type_name;
use std::fmt::Debug;
use std::ops::Range;

use thalweg_engine::time::EventTime;

use super::Aggregate;

/// Places where the events are cut, at most; events fewer than this are cut everywhere.
const CUTS: usize = 12;

/// Answers that differ by no more than `tolerance`, or by that part of the greater one; NaN is the
/// same as NaN.
pub fn within(tolerance: f64) -> impl Fn(&f64, &f64) -> bool + Copy {
    move |a, b| {
        let (apart, scale) = ((a - b).abs(), 1f64.max(a.abs()).max(b.abs()));
        let close = apart.is_finite() && apart <= tolerance * scale;
        close || a == b || (a.is_nan() && b.is_nan())
    }
}

/// Answers of several numbers, each [`within`] the tolerance.
pub fn each_within(tolerance: f64) -> impl Fn(&Vec<f64>, &Vec<f64>) -> bool + Copy {
    let same = within(tolerance);
    move |a, b| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

/// Answers that are equal; NaN is the same as NaN, also within an answer.
pub fn exactly<T: PartialEq + Debug>(a: &T, b: &T) -> bool {
    // What does not equal itself still reads the same.
    a == b || format!("{a:?}") == format!("{b:?}")
}

/// Checks that `aggregate` keeps the laws of [`Aggregate`] on these events, which must be in the
/// order of their event time; `same` says which answers count as the same.
///
/// Where [`Aggregate::REMOVES`] is true, it makes a state anew that is not
/// [exact](Aggregate::is_exact), as windows do. The time it takes grows with the number of events
/// times a constant.
///
/// # Panics
/// When a law is broken; the message names it and shows the two answers.
pub fn check_laws<A: Aggregate>(
    aggregate: &A,
    events: &[(EventTime, A::Input)],
    same: impl Fn(&A::Output, &A::Output) -> bool,
) where
    A::Output: Debug,
{
    let check = Check {
        aggregate,
        events,
        end: events.last().map_or(EventTime::from_micros(0), |e| e.0),
        same,
    };
    check.is_deterministic();
    check.survives_serde();
    check.empty_is_neutral();
    check.merge_adds();
    check.merge_is_associative();
    check.compact_changes_nothing();
    if A::REMOVES {
        check.remove_undoes_add();
    }
    if !A::ORDERED {
        check.order_does_not_matter();
    }
}

struct Check<'a, A: Aggregate, F> {
    aggregate: &'a A,
    events: &'a [(EventTime, A::Input)],
    end: EventTime,
    same: F,
}

impl<A: Aggregate, F: Fn(&A::Output, &A::Output) -> bool> Check<'_, A, F>
where
    A::Output: Debug,
{
    fn is_deterministic(&self) {
        let all = 0..self.events.len();
        let (one, two) = (self.of(all.clone()), self.of(all));
        let law = "the same events in the same order give the same state";
        self.expect_bytes(law, "two states of all events", &one, &two);
    }

    fn survives_serde(&self) {
        let law = "a state that went through serde and back is the same";
        for cut in self.cuts() {
            let mut state = self.of(0..cut);
            let mut back: A::State = match postcard::from_bytes(&bytes(&state)) {
                Ok(back) => back,
                Err(error) => self.broken(law, &format!("it cannot be read back: {error}")),
            };
            let at = format!("after {cut} events");
            self.expect_bytes(law, &at, &back, &state);
            self.expect(law, &at, &back, &state);
            self.add(&mut state, cut..self.events.len());
            self.add(&mut back, cut..self.events.len());
            self.expect(law, &format!("and then all others, {at}"), &back, &state);
        }
    }

    fn empty_is_neutral(&self) {
        let law = "an empty state is neutral";
        for cut in self.cuts() {
            let state = self.of(0..cut);
            let before = format!("an empty state before {cut} events");
            let after = format!("an empty state after {cut} events");
            let merged = self.merged(self.aggregate.empty(), &state);
            self.expect(law, &before, &merged, &state);
            let merged = self.merged(state.clone(), &self.aggregate.empty());
            self.expect(law, &after, &merged, &state);
            self.expect_bytes(law, &after, &merged, &state);
        }
    }

    fn merge_adds(&self) {
        let law = "two states merged in order are the state of all their events";
        let n = self.events.len();
        let all = self.of(0..n);
        for cut in self.cuts() {
            let merged = self.merged(self.of(0..cut), &self.of(cut..n));
            self.expect(
                law,
                &format!("cut after {cut} of {n} events"),
                &merged,
                &all,
            );
        }
    }

    fn merge_is_associative(&self) {
        let law = "merge is associative";
        let n = self.events.len();
        let cuts = self.cuts();
        for (place, cut) in cuts.iter().enumerate() {
            for next in cuts[place..].iter().step_by(3) {
                let [a, b, c] = [0..*cut, *cut..*next, *next..n].map(|part| self.of(part));
                let left = self.merged(self.merged(a.clone(), &b), &c);
                let right = self.merged(a, &self.merged(b, &c));
                let at = format!("cut after {cut} and {next} of {n} events");
                self.expect(law, &at, &left, &right);
            }
        }
    }

    fn compact_changes_nothing(&self) {
        let law = "compact changes no answer";
        let n = self.events.len();
        for cut in self.cuts() {
            let mut state = self.of(0..cut);
            let mut compact = state.clone();
            self.aggregate.compact(&mut compact);
            self.expect(law, &format!("after {cut} events"), &compact, &state);
            let mut later = self.of(cut..n);
            self.aggregate.compact(&mut later);
            let merged = self.merged(compact.clone(), &later);
            self.add(&mut state, cut..n);
            self.expect(law, &format!("merged after {cut} events"), &merged, &state);
            self.add(&mut compact, cut..n);
            self.expect(law, &format!("adding after {cut} events"), &compact, &state);
        }
    }

    fn order_does_not_matter(&self) {
        let law = "the order of events does not matter";
        let n = self.events.len();
        let all = self.of(0..n);
        for cut in self.cuts() {
            let mut state = self.of(cut..n);
            (0..cut)
                .rev()
                .for_each(|place| self.add(&mut state, place..place + 1));
            let at = format!("the first {cut} of {n} events last, and backwards");
            self.expect(law, &at, &state, &all);
        }
    }

    fn remove_undoes_add(&self) {
        let law = "remove undoes add";
        let (n, cuts) = (self.events.len(), self.cuts());
        let all = (self.of(0..n), "all were added".to_owned());
        let merged = cuts.iter().map(|cut| {
            let merged = self.merged(self.of(0..*cut), &self.of(*cut..n));
            (merged, format!("{cut} were merged with the rest"))
        });
        for (mut state, how) in std::iter::once(all).chain(merged) {
            for oldest in 0..n {
                self.remove(&mut state, oldest, n);
                if cuts.contains(&(oldest + 1)) {
                    let at = format!("{} of {n} events removed after {how}", oldest + 1);
                    self.expect(law, &at, &state, &self.of(oldest + 1..n));
                }
            }
        }
        // Windows of half the events, sliding.
        let (length, mut state) = (n / 2 + 1, self.aggregate.empty());
        for newest in 0..n {
            self.add(&mut state, newest..newest + 1);
            if let Some(oldest) = newest.checked_sub(length) {
                self.remove(&mut state, oldest, newest + 1);
            }
            if cuts.contains(&newest) {
                let inside = (newest + 1).saturating_sub(length)..newest + 1;
                let at = format!("events {inside:?} in a sliding window");
                self.expect(law, &at, &state, &self.of(inside));
            }
        }
    }

    /// Lets the oldest event go and makes the state anew if it has to be.
    fn remove(&self, state: &mut A::State, oldest: usize, end: usize) {
        let (at, input) = &self.events[oldest];
        self.aggregate.remove(state, *at, input);
        if !self.aggregate.is_exact(state) {
            *state = self.of(oldest + 1..end);
        }
    }

    fn of(&self, part: Range<usize>) -> A::State {
        let mut state = self.aggregate.empty();
        self.add(&mut state, part);
        state
    }

    fn add(&self, state: &mut A::State, part: Range<usize>) {
        for (at, input) in &self.events[part] {
            self.aggregate.add(state, *at, input);
        }
    }

    fn merged(&self, mut state: A::State, later: &A::State) -> A::State {
        self.aggregate.merge(&mut state, later);
        state
    }

    /// Numbers of events after which to cut, none and all among them.
    fn cuts(&self) -> Vec<usize> {
        let n = self.events.len();
        let parts = n.clamp(1, CUTS);
        let mut cuts: Vec<usize> = (0..=parts).map(|part| n * part / parts).collect();
        cuts.dedup();
        cuts
    }

    fn expect(&self, law: &str, at: &str, got: &A::State, expected: &A::State) {
        let got = self.aggregate.finish(got, self.end);
        let expected = self.aggregate.finish(expected, self.end);
        if !(self.same)(&got, &expected) {
            self.broken(law, &format!("{at}: {got:?}, expected {expected:?}"));
        }
    }

    fn expect_bytes(&self, law: &str, at: &str, got: &A::State, expected: &A::State) {
        let (got, expected) = (bytes(got), bytes(expected));
        if got != expected {
            self.broken(law, &format!("{at}: bytes {got:?}, expected {expected:?}"));
        }
    }

    fn broken(&self, law: &str, how: &str) -> ! {
        panic!("{} breaks a law, \"{law}\": {how}", type_name::<A>())
    }
}

fn bytes(state: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_allocvec(state).expect("invariant: a state can be written by postcard")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use serde::{Deserialize, Serialize};

    use super::*;

    /// A sum that keeps all laws but one.
    struct Lawless {
        breaks: Breaks,
        states: Cell<u64>,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Breaks {
        Nothing,
        Determinism,
        Serde,
        NeutralBefore,
        NeutralAfter,
        Merge,
        Associativity,
        Compact,
        Remove,
        RemoveAfterMerge,
        Order,
    }

    #[derive(Clone, Default, Serialize, Deserialize)]
    struct State {
        sum: i64,
        #[serde(skip)]
        forgotten: i64,
        merges: u64,
        number: u64,
        greatest: i64,
    }

    impl Aggregate for Lawless {
        type Input = i64;
        type State = State;
        type Output = i64;

        const REMOVES: bool = true;
        const ORDERED: bool = false;

        fn empty(&self) -> State {
            self.states.set(self.states.get() + 1);
            State {
                number: match self.breaks {
                    Breaks::Determinism => self.states.get(),
                    _ => 0,
                },
                ..State::default()
            }
        }

        fn add(&self, state: &mut State, _at: EventTime, value: &i64) {
            match self.breaks {
                Breaks::Serde => state.forgotten += value,
                Breaks::Order if *value < state.greatest => state.sum -= value,
                _ => state.sum += value,
            }
            state.greatest = state.greatest.max(*value);
        }

        fn merge(&self, state: &mut State, later: &State) {
            match self.breaks {
                Breaks::NeutralBefore if state.sum == 0 => {}
                Breaks::NeutralAfter if later.sum == 0 => state.merges += 1,
                Breaks::Merge if state.sum != 0 && later.sum != 0 => state.sum += later.sum + 1,
                Breaks::Associativity if later.merges > 0 => {}
                Breaks::Associativity => {
                    state.merges += u64::from(later.sum != 0);
                    state.sum += later.sum;
                }
                Breaks::RemoveAfterMerge => {
                    state.merges += u64::from(later.sum != 0);
                    state.sum += later.sum;
                }
                _ => state.sum += later.sum,
            }
        }

        fn remove(&self, state: &mut State, _at: EventTime, value: &i64) {
            match self.breaks {
                Breaks::Remove => {}
                Breaks::RemoveAfterMerge if state.merges > 0 => {}
                _ => state.sum -= value,
            }
        }

        fn compact(&self, state: &mut State) {
            if self.breaks == Breaks::Compact {
                state.sum /= 2;
            }
        }

        fn finish(&self, state: &State, _end: EventTime) -> i64 {
            state.sum + state.forgotten
        }
    }

    /// What the kit says of a sum that breaks a law, on so many events.
    fn verdict(breaks: Breaks, events: i64) -> Result<(), String> {
        let events: Vec<_> = (1..=events)
            .map(|n| (EventTime::from_seconds(n), n * n))
            .collect();
        let lawless = Lawless {
            breaks,
            states: Cell::new(0),
        };
        let check = || check_laws(&lawless, &events, exactly);
        catch_unwind(AssertUnwindSafe(check))
            .map_err(|panic| *panic.downcast::<String>().expect("a message"))
    }

    #[test]
    fn a_law_that_is_broken_is_named() {
        for (breaks, law) in [
            (Breaks::Determinism, "the same events in the same order"),
            (Breaks::Serde, "went through serde"),
            (Breaks::NeutralBefore, "neutral\": an empty state before"),
            (Breaks::NeutralAfter, "neutral\": an empty state after"),
            (Breaks::Merge, "merged in order"),
            (Breaks::Associativity, "associative"),
            (Breaks::Compact, "compact"),
            (Breaks::Remove, "remove undoes add"),
            (Breaks::RemoveAfterMerge, "were merged with the rest"),
            (Breaks::Order, "the order of events"),
        ] {
            for events in [5, 40] {
                let said = verdict(breaks, events).unwrap_err();
                assert!(said.contains(law) && said.contains("Lawless"), "{said}");
            }
        }
    }

    #[test]
    fn what_keeps_all_laws_passes_on_any_number_of_events() {
        for events in [0, 1, 2, 13, 100] {
            assert_eq!(verdict(Breaks::Nothing, events), Ok(()));
        }
    }

    #[test]
    fn tolerance_is_relative_above_one_and_missing_is_missing() {
        let same = within(1e-3);
        assert!(same(&1e6, &1_000_900.0) && !same(&1e6, &1_001_100.0));
        assert!(same(&0.0, &1e-4) && !same(&f64::NAN, &0.0) && same(&f64::NAN, &f64::NAN));
        assert!(same(&f64::INFINITY, &f64::INFINITY) && !same(&f64::INFINITY, &1.0));
        assert!(!each_within(1.0)(&vec![1.0], &vec![1.0, 1.0]));
        assert!(exactly(&f64::NAN, &f64::NAN) && !exactly(&1.0, &f64::NAN));
        let missing_and = |value: f64| vec![f64::NAN, value];
        assert!(exactly(&missing_and(1.0), &missing_and(1.0)));
        assert!(!exactly(&missing_and(1.0), &missing_and(2.0)));
    }
}
