//! One event against a key's state: the order of what happens, and everything but the log.

use super::finish::{Event, Windows};
use super::program::{Inputs, Program, TrailSource};
use super::state::KeyFeatures;
use crate::window::lanes;

/// Buffers that are used again for every event.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What each trail held before the event.
    pub(super) before: Vec<Option<(i64, f64)>>,
    /// Fixed lanes of the windows that end at a late event.
    pub(super) image: Vec<u32>,
    /// Ids of such a window.
    pub(super) ids: Vec<u64>,
    /// A row with the features that only others are made of.
    pub(super) wide: Vec<f64>,
}

impl Program {
    /// Takes an event in; appends its features to `row` where they are wanted.
    pub(crate) fn update(
        &self,
        state: &mut KeyFeatures,
        inputs: &Inputs,
        at: i64,
        scratch: &mut Scratch,
        row: Option<&mut Vec<f64>>,
    ) {
        if let Some(more) = &self.more {
            self.update_more(more, state, &Event { inputs, at }, scratch, row);
            return;
        }
        self.get_ready(state);
        let event = Event { inputs, at };
        let late = at < state.newest();
        state.set_newest(state.newest().max(at));
        if !self.trails.is_empty() {
            if row.is_some() {
                self.read_trails(state, at, &mut scratch.before);
            }
            self.push_trails(state, inputs, at);
        }
        if self.keeps_ever {
            self.add_ever(state, inputs);
        }
        if self.has_log() && late {
            if self.contributes(inputs) {
                self.insert_late(state, inputs, at);
            }
            let geometry = &state.geometry();
            if let Some(row) = row {
                let end = self.draw_image(state, geometry, at, scratch);
                let windows = Windows {
                    fixed: &scratch.image,
                    end,
                    geometry,
                };
                self.finish(windows, state, &event, &scratch.before, row);
            }
            self.trim(state, geometry);
            return;
        }
        let mut geometry = state.geometry();
        if self.has_log() {
            self.advance(state, &geometry, at);
            self.trim(state, &geometry);
            if self.contributes(inputs) {
                if state.reserve(self.has_wide_id(inputs)) {
                    geometry = state.geometry();
                }
                self.append(state, &geometry, inputs, at);
            }
        }
        if let Some(row) = row {
            let (fixed, end) = (state.fixed(), state.tail);
            let windows = Windows {
                fixed,
                end,
                geometry: &geometry,
            };
            self.finish(windows, state, &event, &scratch.before, row);
        }
    }

    /// Whether a state is of this program, as far as that shows.
    pub(crate) fn accepts(&self, state: &KeyFeatures) -> bool {
        let slots = state.extra.as_ref().map_or(0, |extra| extra.slots.len());
        let fits = match &self.more {
            Some(more) => more.accepts(state),
            None => slots == 0,
        };
        state.is_new() || (state.shape() == self.shape && fits)
    }

    /// Whether the event has anything for the log to hold.
    #[inline]
    pub(super) fn contributes(&self, inputs: &Inputs) -> bool {
        self.counts_events
            || inputs.values[..usize::from(self.shape.values)]
                .iter()
                .any(|v| !v.is_nan())
            || inputs.ids[..self.id_marks.len()]
                .iter()
                .any(Option::is_some)
            || self
                .flag_marks
                .iter()
                .zip(&inputs.flags)
                .any(|(marks, flag)| match marks.known {
                    Some(_) => flag.is_some(),
                    None => *flag == Some(true),
                })
    }

    /// Gives a new key its block, and a restored one what it can do without where it is kept.
    #[inline]
    pub(super) fn get_ready(&self, state: &mut KeyFeatures) {
        assert!(
            state.shape() == self.shape || state.is_new(),
            "invariant: a key's features are updated by the plan whose layout they were made with"
        );
        if !state.is_ready() {
            self.make_ready(state);
        }
    }

    #[cold]
    fn make_ready(&self, state: &mut KeyFeatures) {
        if state.is_new() {
            state.fit(self.shape, self.first_slots());
            for trail in &self.trails {
                trail.cell.clear(&mut state.block);
            }
            for (_, _, at) in &self.ever.extremes {
                lanes::set_f64(&mut state.block, *at, f64::NAN);
            }
        }
        self.find_extremes(state, &state.geometry());
        state.set_ready();
    }

    #[inline]
    pub(super) fn read_trails(
        &self,
        state: &KeyFeatures,
        at: i64,
        before: &mut Vec<Option<(i64, f64)>>,
    ) {
        before.clear();
        for (number, trail) in self.trails.iter().enumerate() {
            let older = state
                .extra
                .as_ref()
                .and_then(|extra| extra.older.get(number));
            before.push(trail.cell.before(&state.block, older, at));
        }
    }

    #[inline]
    pub(super) fn push_trails(&self, state: &mut KeyFeatures, inputs: &Inputs, at: i64) {
        for (number, trail) in self.trails.iter().enumerate() {
            let value = match trail.source {
                TrailSource::Value(column) => inputs.values[column],
                TrailSource::Flag(column) if inputs.flags[column] == Some(true) => 0.0,
                TrailSource::Flag(_) => continue,
            };
            if value.is_nan() {
                continue;
            }
            let rest = trail.cell.push(&mut state.block, at, value);
            if self.lateness > 0 {
                let edge = state.newest().checked_sub(self.lateness);
                let extra = state.extra.get_or_insert_default();
                extra.older.resize_with(self.trails.len(), Default::default);
                trail
                    .cell
                    .keep(&state.block, &mut extra.older[number], rest, edge);
            }
        }
    }

    #[inline]
    pub(super) fn add_ever(&self, state: &mut KeyFeatures, inputs: &Inputs) {
        let block = &mut state.block;
        if let Some(at) = self.ever.count {
            lanes::set_u64(block, at, lanes::get_u64(block, at) + 1);
        }
        for (column, cell) in &self.ever.moments {
            let value = inputs.values[*column];
            if !value.is_nan() {
                cell.add(block, value);
            }
        }
        for (column, cell) in &self.ever.flags {
            let flag = inputs.flags[*column];
            cell.add(block, flag == Some(true), flag.is_some());
        }
        for (column, direction, at) in &self.ever.extremes {
            let (value, known) = (inputs.values[*column], lanes::get_f64(block, *at));
            if !value.is_nan() && (known.is_nan() || direction.replaces(value, known)) {
                lanes::set_f64(block, *at, value);
            }
        }
        for (set, column) in self.ever.distincts.iter().enumerate() {
            if let Some(id) = inputs.ids[*column] {
                let seen = &mut state.extra().seen;
                seen.resize_with(self.ever.distincts.len(), Default::default);
                seen[set].insert(id);
            }
        }
    }
}
