//! Rows that are given again when an event has come out of order.
//!
//! For a key whose rows are corrected, the rows are those of its events in event-time order, ties by
//! arrival, as far as the events have come. The events that are too old to be corrected have been
//! taken into one state, in that order; those after them are held, each with its row. When an event
//! comes out of order among these, a copy of that state takes all of them in anew, the late one in
//! its place. The same events in the same order are the same bits, so a row differs only if the late
//! event has changed it.

use std::collections::VecDeque;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::time::EventTime;

use super::plan::FeaturePlan;
use super::upkeep::{Outcome, Upkeep, truncated};
use crate::window::KeyFeatures;
use thalweg_engine::version::Version;

/// The row of an event, given again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Correction<T> {
    /// The event whose row it is.
    pub event: T,
    /// Its whole row, as it is now.
    pub features: Vec<f64>,
    /// When the event happened.
    pub time: EventTime,
    /// Where the event was read.
    pub origin: Origin,
}

/// What a key's features remember where rows are corrected: opaque, made by [`Default`], read and
/// written by [`FeaturePlan::update_corrected`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "T: Serialize", deserialize = "T: DeserializeOwned"))]
pub struct CorrectableFeatures<T> {
    /// Apart from the versions of states without corrections.
    version: Version<129>,
    /// After the events whose rows are final.
    settled: KeyFeatures,
    /// The events after them, by event time, then arrival.
    open: VecDeque<Open<T>>,
    /// After all of them; to be made from the two where there is none.
    #[serde(skip)]
    current: Option<KeyFeatures>,
}

/// An event whose row can change.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open<T> {
    time: EventTime,
    origin: Origin,
    event: T,
    /// The row, with what was in it before this plan's features.
    features: Vec<f64>,
}

impl<T> Default for CorrectableFeatures<T> {
    fn default() -> Self {
        Self {
            version: Version,
            settled: KeyFeatures::default(),
            open: VecDeque::new(),
            current: None,
        }
    }
}

impl<T> CorrectableFeatures<T> {
    /// The latest event time of the key's events.
    fn newest(&self) -> EventTime {
        match self.open.back() {
            Some(open) => open.time,
            None => EventTime::from_micros(self.settled.newest()),
        }
    }
}

impl<T: Clone + 'static> FeaturePlan<T> {
    /// As [`update`](Self::update), for a plan that [corrects rows](super::Features::corrections):
    /// the rows that the event has changed are appended to `corrections`, oldest first. What `row`
    /// holds already is part of the event's row and of its corrections.
    ///
    /// Every row, the first and the corrected, is what the key's events so far give in event-time
    /// order, ties by arrival: of windows and of what is over everything alike. An event that is
    /// later than allowed comes after the events whose rows are final and before all others. Only
    /// rows of which some value has changed are given again. One that is known up to rounding only
    /// may then have changed in its last digit.
    ///
    /// ```
    /// use thalweg_engine::record::{Origin, Record};
    /// use thalweg_engine::time::{EventTime, secs};
    /// use thalweg_operators::features::{CorrectableFeatures, Features};
    ///
    /// let mut f = Features::<f64>::new();
    /// f.over(secs(10)).count("n").sum("sum", |v| *v);
    /// f.lateness(secs(5));
    /// f.corrections();
    /// let mut plan = f.build().expect("the features are declared well");
    ///
    /// let mut key = CorrectableFeatures::default();
    /// let (mut row, mut corrections) = (Vec::new(), Vec::new());
    /// for (offset, (second, value)) in [(20, 1.0), (24, 2.0), (22, 4.0)].into_iter().enumerate() {
    ///     let event = Record {
    ///         time: EventTime::from_seconds(second),
    ///         origin: Origin { offset: offset as u64, ..Origin::default() },
    ///         ingested_ns: 0,
    ///         value,
    ///     };
    ///     row.clear();
    ///     plan.update_corrected(&mut key, &event, &mut row, &mut corrections);
    /// }
    /// assert_eq!(row, [2.0, 5.0], "the late event's own row, at 22");
    /// assert_eq!(corrections.len(), 1);
    /// let corrected = &corrections[0];
    /// assert_eq!((corrected.event, &corrected.features[..]), (2.0, &[3.0, 7.0][..]));
    /// assert_eq!(corrected.time, EventTime::from_seconds(24));
    /// ```
    ///
    /// # Panics
    /// As [`update`](Self::update) does.
    pub fn update_corrected(
        &mut self,
        state: &mut CorrectableFeatures<T>,
        event: &Record<T>,
        row: &mut Vec<f64>,
        corrections: &mut Vec<Correction<T>>,
    ) -> bool {
        self.extract(&event.value);
        let outcome = self.correct_extracted(state, event.with(()), &event.value, row, corrections);
        !outcome.is_refused
    }

    /// The second half of [`FeaturePlan::update_corrected`].
    pub(crate) fn correct_extracted(
        &mut self,
        state: &mut CorrectableFeatures<T>,
        at: Record<()>,
        event: &T,
        row: &mut Vec<f64>,
        corrections: &mut Vec<Correction<T>>,
    ) -> Outcome {
        let mut current = match state.current.take() {
            Some(current) => current,
            None => {
                let current = self.replayed(state);
                self.extract(event);
                current
            }
        };
        if self.is_refused(&current, at.time) {
            state.current = Some(current);
            return Outcome {
                is_refused: true,
                ..Outcome::default()
            };
        }
        let in_order = at.time >= state.newest();
        let mut outcome = Outcome::default();
        if in_order {
            outcome = self.apply(&mut current, at.time, Some(row));
        }
        let open = Open {
            time: at.time,
            origin: at.origin,
            event: event.clone(),
            features: row.clone(),
        };
        if in_order {
            state.open.push_back(open);
            state.current = Some(current);
            self.close(state);
            return outcome;
        }
        let before = truncated(&current);
        let current = self.insert_late(state, open, row, corrections);
        outcome.truncated = truncated(&current).saturating_sub(before);
        state.current = Some(current);
        outcome
    }

    /// Whether a state that was restored is of this plan's layout, as far as that shows.
    pub(crate) fn accepts_corrected(&self, state: &CorrectableFeatures<T>) -> bool {
        self.accepts(&state.settled)
    }

    /// As [`FeaturePlan::last_seen`].
    pub(crate) fn last_seen_corrected(&self, state: &CorrectableFeatures<T>) -> EventTime {
        state.newest()
    }

    /// The time up to which rows are final when the newest event is at this time.
    fn final_until(&self, newest: EventTime) -> Option<i64> {
        newest.as_micros().checked_sub(self.program.lateness)
    }

    /// Takes the events whose rows are final now into the settled state.
    fn close(&mut self, state: &mut CorrectableFeatures<T>) {
        let Some(edge) = self.final_until(state.newest()) else {
            return;
        };
        while let Some(oldest) = state.open.front()
            && oldest.time.as_micros() <= edge
            && let Some(oldest) = state.open.pop_front()
        {
            self.extract(&oldest.event);
            self.apply(&mut state.settled, oldest.time, None);
        }
    }

    /// The state after all events.
    fn replayed(&mut self, state: &CorrectableFeatures<T>) -> KeyFeatures {
        let mut current = state.settled.clone();
        for open in &state.open {
            self.extract(&open.event);
            self.apply(&mut current, open.time, None);
        }
        current
    }

    /// Takes in an event that an open one is newer than; the state after all of them.
    fn insert_late(
        &mut self,
        state: &mut CorrectableFeatures<T>,
        late: Open<T>,
        row: &mut Vec<f64>,
        corrections: &mut Vec<Correction<T>>,
    ) -> KeyFeatures {
        let time = late.time;
        let edge = self.final_until(state.newest());
        let is_final = edge.is_some_and(|edge| time.as_micros() <= edge);
        let place = state.open.partition_point(|open| open.time <= time);
        if is_final {
            self.apply(&mut state.settled, time, Some(row));
        } else {
            state.open.insert(place, late);
        }
        let reaches = |upkeep: &Upkeep| upkeep.reaches_by_windows_alone();
        let by_windows = self.upkeep.as_deref().is_some_and(reaches);
        let reach = by_windows.then_some(self.program.longest);
        let mut current = state.settled.clone();
        let mut again = Vec::new();
        for (n, open) in state.open.iter_mut().enumerate() {
            let is_late = n == place && !is_final;
            let after = open.time.as_micros().saturating_sub(time.as_micros());
            let reached = n >= place && reach.is_none_or(|reach| after < reach);
            self.extract(&open.event);
            again.clear();
            let wanted = (is_late || reached).then_some(&mut again);
            self.apply(&mut current, open.time, wanted);
            if again.is_empty() {
                continue;
            }
            if is_late {
                row.extend_from_slice(&again);
                open.features.clone_from(row);
                continue;
            }
            let Some(own) = open.features.len().checked_sub(again.len()) else {
                continue;
            };
            let own = &mut open.features[own..];
            let same = own
                .iter()
                .zip(&again)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            if !same {
                own.copy_from_slice(&again);
                corrections.push(Correction {
                    event: open.event.clone(),
                    features: open.features.clone(),
                    time: open.time,
                    origin: open.origin,
                });
            }
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_engine::testing::check_format;
    use thalweg_engine::time::secs;

    /// A key whose first event is final and whose others are open.
    const VERSION_129: &str = "\
        810513010000000400000006000000000001000000002440420f0000000000000000000000000000\
        0000000000f83f000000000000000001000000011040420f0000000000000000000000f83f000280\
        bfd60600000200000000000000f83f03000000000000e03f00000000000000400000000000000840\
        80c8d00700000100000000000000f83f03000000000000e03f000000000000084000000000000012\
        40";

    /// The same, with the key's features in their version 4, and 3.
    const FEATURES_4: &str = "\
        810480897a06000100000104002800000000000000000000f83f0000000000000000010000004042\
        0f0000000000000000000000f83f00000000000280bfd60600000200000000000000f83f03000000\
        000000e03f0000000000000040000000000000084080c8d00700000100000000000000f83f030000\
        00000000e03f00000000000008400000000000001240";
    const FEATURES_3: &str = "\
        810380897a060001000001000600008080e0ff0300000104c0843d00008080e0ff03000000000002\
        80bfd60600000200000000000000f83f03000000000000e03f000000000000004000000000000008\
        4080c8d00700000100000000000000f83f03000000000000e03f0000000000000840000000000000\
        1240";

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Value(f64);

    #[test]
    fn what_was_written_is_read_and_goes_on() {
        let mut f = crate::features::Features::<Value>::new();
        f.over(secs(10)).count("n").sum("sum", |v| v.0);
        f.lateness(secs(5));
        f.corrections();
        let mut plan = f.build().unwrap();
        let mut feed = |state: &mut CorrectableFeatures<Value>, offset, second, value| {
            let event = Record {
                time: EventTime::from_seconds(second),
                origin: Origin {
                    offset,
                    ..Origin::default()
                },
                ingested_ns: 0,
                value: Value(value),
            };
            let (mut row, mut corrections) = (vec![0.5], Vec::new());
            plan.update_corrected(state, &event, &mut row, &mut corrections);
            (row, corrections)
        };
        let mut state = CorrectableFeatures::default();
        for (offset, second) in [(0, 1), (1, 8), (2, 7)] {
            feed(&mut state, offset, second, 1.5);
        }
        let mut read = check_format(&state, VERSION_129);
        let [mut of_4, mut of_3] = [FEATURES_4, FEATURES_3].map(|text| {
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
            postcard::from_bytes::<CorrectableFeatures<Value>>(&bytes).unwrap()
        });
        let (row, corrections) = feed(&mut state, 3, 6, 2.0);
        assert_eq!(row, [0.5, 2.0, 3.5]);
        let offsets: Vec<_> = corrections.iter().map(|c| c.origin.offset).collect();
        assert_eq!(offsets, [2, 1]);
        assert_eq!(corrections[1].features, [0.5, 4.0, 6.5]);
        for restored in [&mut read, &mut of_4, &mut of_3] {
            let again = feed(restored, 3, 6, 2.0);
            assert_eq!(again, (row.clone(), corrections.clone()));
        }
    }
}
