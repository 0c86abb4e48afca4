//! What windows keep: how much, at what cost, and how it goes through a checkpoint.

use std::cell::Cell;
use std::ops::Range;

use thalweg_engine::expiry::Expiry;
use thalweg_engine::record::Origin;
use thalweg_engine::state::KeyedState;
use thalweg_engine::time::{EventTime, hours, secs};
use thalweg_engine::watermark::Watermark;

use super::testing::{Harness, Listed, Row, Total, at, rows};
use super::{Event, Fired, KeyWindows, Window, Windows};
use crate::aggregate::Aggregate;

#[test]
fn an_event_costs_one_addition_and_a_firing_few_merges_however_many_windows_there_are() {
    /// Counts what is done.
    #[derive(Default)]
    struct Counting {
        adds: Cell<u64>,
        merges: Cell<u64>,
    }

    impl Aggregate for Counting {
        type Input = i64;
        type State = i64;
        type Output = i64;

        fn empty(&self) -> i64 {
            0
        }

        fn add(&self, total: &mut i64, at: EventTime, value: &i64) {
            self.adds.set(self.adds.get() + 1);
            Total.add(total, at, value);
        }

        fn merge(&self, total: &mut i64, later: &i64) {
            self.merges.set(self.merges.get() + 1);
            *total += later;
        }

        fn finish(&self, total: &i64, _: EventTime) -> i64 {
            *total
        }
    }

    let mut harness = Harness::new(&Window::hopping(secs(1_000), secs(1)), Counting::default());
    for second in 0..5_000 {
        harness.event(at(second), second as u64, 1, at(second));
        harness.watermark(at(second));
    }
    let Counting { adds, merges } = &harness.windows.aggregate;
    assert_eq!(adds.get(), 5_000);
    let fired = harness.fired.len() as u64;
    assert!(
        fired >= 4_999 && merges.get() <= 3 * fired,
        "{} merges",
        merges.get()
    );
    assert!(harness.state.kept.slices.len() <= 1_001);
    harness.watermark(at(5_000).saturating_add(hours(1)));
    assert!(harness.state.is_empty());
}

/// Halfway, the state of all keys goes through what a checkpoint takes, group by group.
#[test]
fn state_taken_and_restored_by_key_group_goes_on_as_before() {
    type State = KeyedState<u64, KeyWindows<Vec<i64>>>;

    /// Takes events in, then fires what is due, as the step does.
    fn go_on(
        windows: &Windows<Listed>,
        state: &mut State,
        expiry: &mut Expiry<u64>,
        seconds: Range<i64>,
    ) -> Vec<(u64, Row)> {
        let mut results = Vec::new();
        for second in seconds {
            let (key, mut fired) = (second as u64 * 7 % 40, Vec::new());
            let settled = at(second - 5);
            let open = state.entry(&key);
            let event = Event {
                at: at(second - second % 3),
                origin: Origin::derived(second as u64),
                input: &second,
            };
            assert!(windows.take(open, &event, settled, &mut fired));
            open.schedule(&key, windows.due(open), expiry);
            let mut give = |key: u64, fired: &[Fired<Vec<i64>>]| {
                results.extend(rows(fired).into_iter().map(|row| (key, row)));
            };
            give(key, &fired);
            for key in expiry.due(Watermark::active(settled), state, |s| Some(windows.due(s))) {
                let (open, mut fired) = (state.entry(&key), Vec::new());
                open.scheduled = None;
                windows.advance(open, settled, &mut fired);
                give(key, &fired);
                if open.is_empty() {
                    state.remove(&key);
                } else {
                    open.schedule(&key, windows.due(open), expiry);
                }
            }
        }
        results
    }

    for window in [
        Window::hopping(secs(60), secs(20)).early_events(3),
        Window::session(secs(45)).early_period(secs(30)),
        Window::count_sliding(4, 2),
    ] {
        let windows = Windows::new(&window, &[], Listed).unwrap();
        let (mut state, mut expiry) = (State::default(), Expiry::default());
        go_on(&windows, &mut state, &mut expiry, 0..150);
        let mut restored = State::default();
        let base = state.take_changed().unwrap();
        go_on(&windows, &mut state, &mut expiry, 150..300);
        let changed = state.take_changed().unwrap();
        for bytes in base.values().chain(changed.values()) {
            restored.restore("windows", bytes).unwrap();
        }
        assert_eq!(restored.len(), state.len());
        let went_on = go_on(&windows, &mut state, &mut expiry, 300..600);
        let again = go_on(&windows, &mut restored, &mut Expiry::default(), 300..600);
        assert!(went_on.len() > 100);
        assert_eq!(went_on, again, "{window:?}");
    }
}

/// What only a removal needs does not pile up in windows, which never remove.
#[test]
fn a_state_is_made_compact_as_it_grows() {
    /// The last value, with all values that it would need to go back.
    struct Last;

    impl Aggregate for Last {
        type Input = i64;
        type State = Vec<i64>;
        type Output = Option<i64>;

        fn empty(&self) -> Vec<i64> {
            Vec::new()
        }

        fn add(&self, values: &mut Vec<i64>, at: EventTime, value: &i64) {
            Listed.add(values, at, value);
        }

        fn merge(&self, values: &mut Vec<i64>, later: &Vec<i64>) {
            Listed.merge(values, later);
        }

        fn compact(&self, values: &mut Vec<i64>) {
            values.drain(..values.len().saturating_sub(1));
        }

        fn finish(&self, values: &Vec<i64>, _: EventTime) -> Option<i64> {
            values.last().copied()
        }
    }

    let mut harness = Harness::new(&Window::hopping(hours(10), hours(1)), Last);
    for second in 0..36_000 {
        harness.event(at(second), second as u64, second, at(second));
    }
    let bytes = postcard::to_allocvec(&harness.state).unwrap();
    assert!(bytes.len() < 5_000, "{} bytes", bytes.len());
    harness.watermark(EventTime::MAX);
    assert_eq!(harness.fired.last().unwrap().value, Some(35_999));
}
