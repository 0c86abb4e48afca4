//! What a plan has besides statistics over windows that end with the event: aggregates in slots,
//! features before the event is taken in, features made of others. The way of an event through a
//! plan that has any of these is here; all others don't come this way.

use std::fmt;
use std::ops::Range;

use super::finish::{Event, Windows};
use super::formula::Formula;
use super::merging::Merging;
use super::program::{Inputs, Program, Reads, Span};
use super::removing::Removing;
use super::shape::Geometry;
use super::slot::{Over, Rows, SlotAggregate, SlotInput, SlotOutput, SlotState, Unbounded};
use super::state::KeyFeatures;
use super::update::Scratch;
use crate::aggregate::Aggregate;

/// The part of a program that most plans do without.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Features that make the row; those after them are for others to be made of.
    pub(crate) visible: usize,
    /// What is read before the event is taken in.
    pub(crate) before: Reads,
    pub(crate) slots: Vec<Slot>,
    /// Features made of others, each with its place among the features.
    pub(crate) made: Vec<(usize, Formula)>,
}

/// An aggregate to be kept up.
pub(crate) struct SlotSpec {
    pub(crate) aggregate: Box<dyn SlotAggregate>,
    /// Whether it answers before the event is taken in.
    pub(crate) excluding: bool,
    /// How many features it gives.
    pub(crate) answers: usize,
}

impl SlotSpec {
    /// The aggregate over a bounded window, or over everything.
    pub(crate) fn new<A>(aggregate: A, bounded: bool, excluding: bool, answers: usize) -> Self
    where
        A: Aggregate,
        A::Input: SlotInput,
        A::Output: SlotOutput,
    {
        let aggregate: Box<dyn SlotAggregate> = if !bounded {
            Box::new(Over::<A, Unbounded<A::State>>::new(aggregate))
        } else if A::REMOVES {
            Box::new(Over::<A, Removing<A::State>>::new(aggregate))
        } else {
            Box::new(Over::<A, Merging<A::State>>::new(aggregate))
        };
        Self {
            aggregate,
            excluding,
            answers,
        }
    }
}

impl fmt::Debug for SlotSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotSpec")
            .field("excluding", &self.excluding)
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

/// An aggregate that is kept up.
pub(crate) struct Slot {
    /// The bounded window it is over.
    pub(crate) span: Option<usize>,
    /// The column of its inputs, among those of their kind.
    pub(crate) column: usize,
    /// The places of its answers among the features.
    pub(crate) answers: Range<usize>,
    pub(crate) excluding: bool,
    pub(crate) aggregate: Box<dyn SlotAggregate>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("span", &self.span)
            .field("column", &self.column)
            .field("answers", &self.answers)
            .field("excluding", &self.excluding)
            .finish_non_exhaustive()
    }
}

impl More {
    /// Whether anything of the log's windows is read before the event.
    fn reads_before(&self) -> bool {
        !self.before.is_empty() || self.slots.iter().any(|slot| slot.excluding)
    }

    /// Makes what slots keep, for a new key or from what was restored.
    pub(super) fn wake(&self, state: &mut KeyFeatures) {
        if self.slots.is_empty() {
            return;
        }
        let kept = &mut state.extra().slots;
        if kept.is_empty() {
            let empty = |slot: &Slot| SlotState::Kept(slot.aggregate.empty());
            kept.extend(self.slots.iter().map(empty));
        }
        assert!(kept.len() == self.slots.len(), "{LAYOUT}");
        for (slot, kept) in self.slots.iter().zip(kept) {
            if let SlotState::Saved(bytes) = kept {
                let restored = slot.aggregate.restore(bytes).expect(LAYOUT);
                *kept = SlotState::Kept(restored);
            }
        }
    }

    /// Whether what a restored state holds for the slots is theirs.
    pub(crate) fn accepts(&self, state: &KeyFeatures) -> bool {
        let kept = state.extra.as_ref().map_or(&[][..], |extra| &extra.slots);
        let fits = |(slot, kept): (&Slot, &SlotState)| match kept {
            SlotState::Kept(_) => true,
            SlotState::Saved(bytes) => slot.aggregate.restore(bytes).is_ok(),
        };
        kept.len() == self.slots.len() && self.slots.iter().zip(kept).all(fits)
    }

    /// Takes an event into the slots.
    fn add(&self, state: &mut KeyFeatures, inputs: &Inputs, at: i64, bounded: bool) {
        for (slot, kept) in self.slots.iter().zip(slots_of(state)) {
            if bounded || slot.span.is_none() {
                let kept = kept_of(kept);
                slot.aggregate.add(kept, inputs, slot.column, at);
            }
        }
    }

    /// Puts the answers of the slots that answer at this moment into their places.
    fn answer(&self, state: &mut KeyFeatures, at: i64, excluding: bool, row: &mut [f64]) {
        for (slot, kept) in self.slots.iter().zip(slots_of(state)) {
            if slot.excluding == excluding {
                let answers = &mut row[slot.answers.clone()];
                slot.aggregate.answer(kept_of(kept), at, answers);
            }
        }
    }
}

/// What the documentation of [`KeyFeatures`] asks for.
const LAYOUT: &str =
    "invariant: a key's features are updated by the plan whose layout they were made with";

fn slots_of(state: &mut KeyFeatures) -> &mut [SlotState] {
    state
        .extra
        .as_mut()
        .map_or(&mut [], |extra| &mut extra.slots)
}

fn kept_of(state: &mut SlotState) -> &mut dyn super::slot::Kept {
    match state {
        SlotState::Kept(kept) => kept.as_mut(),
        SlotState::Saved(_) => unreachable!("invariant: slots wake before they are used"),
    }
}

impl Program {
    /// As [`Program::update`], for a plan that has more.
    #[inline(never)]
    pub(super) fn update_more(
        &self,
        more: &More,
        state: &mut KeyFeatures,
        event: &Event<'_>,
        scratch: &mut Scratch,
        row: Option<&mut Vec<f64>>,
    ) {
        self.get_ready(state);
        more.wake(state);
        let late = event.at < state.newest();
        state.set_newest(state.newest().max(event.at));
        let wanted = row.is_some();
        if wanted {
            scratch.wide.clear();
            scratch.wide.extend_from_slice(&self.missing);
            self.read_trails(state, event.at, &mut scratch.before);
        }
        if self.has_log() && late {
            self.take_late(more, state, event, scratch, wanted);
        } else {
            self.take_newest(more, state, event, scratch, wanted);
        }
        if let Some(row) = row {
            for (place, formula) in &more.made {
                scratch.wide[*place] = formula.value(&scratch.wide, event.inputs);
            }
            row.extend_from_slice(&scratch.wide[..more.visible]);
        }
    }

    /// Takes in an event that no other of the key is newer than, or one of a plan without a log.
    fn take_newest(
        &self,
        more: &More,
        state: &mut KeyFeatures,
        event: &Event<'_>,
        scratch: &mut Scratch,
        wanted: bool,
    ) {
        let Event { inputs, at } = *event;
        let mut geometry = state.geometry();
        if self.has_log() {
            self.advance(state, &geometry, at);
            self.leave_slots(more, state, &geometry);
            self.trim(state, &geometry);
        }
        if wanted && more.reads_before() {
            let windows = Windows {
                fixed: state.fixed(),
                end: state.tail,
                geometry: &geometry,
            };
            let row = &mut scratch.wide;
            more.before
                .read(windows, state, event, &scratch.before, row);
            more.answer(state, at, true, row);
        }
        self.push_trails(state, inputs, at);
        self.add_ever(state, inputs);
        if self.has_log() && self.contributes(inputs) {
            if state.reserve(self.has_wide_id(inputs)) {
                geometry = state.geometry();
            }
            self.append(state, &geometry, inputs, at);
        }
        more.add(state, inputs, at, true);
        if wanted {
            let windows = Windows {
                fixed: state.fixed(),
                end: state.tail,
                geometry: &geometry,
            };
            let row = &mut scratch.wide;
            self.after.read(windows, state, event, &scratch.before, row);
            more.answer(state, at, false, row);
        }
    }

    /// Takes in an event that is older than the newest of its key.
    fn take_late(
        &self,
        more: &More,
        state: &mut KeyFeatures,
        event: &Event<'_>,
        scratch: &mut Scratch,
        wanted: bool,
    ) {
        let Event { inputs, at } = *event;
        if wanted && more.reads_before() {
            self.read_late(more, state, event, scratch, true);
        }
        self.push_trails(state, inputs, at);
        self.add_ever(state, inputs);
        if self.contributes(inputs) {
            self.insert_late(state, inputs, at);
            self.refill_slots(more, state, at);
        }
        more.add(state, inputs, at, false);
        if wanted {
            self.read_late(more, state, event, scratch, false);
        }
        let geometry = &state.geometry();
        self.trim(state, geometry);
    }

    /// Reads what is read at this moment, for the windows that end at a late event.
    fn read_late(
        &self,
        more: &More,
        state: &mut KeyFeatures,
        event: &Event<'_>,
        scratch: &mut Scratch,
        excluding: bool,
    ) {
        let geometry = &state.geometry();
        let end = self.draw_image(state, geometry, event.at, scratch);
        let windows = Windows {
            fixed: &scratch.image,
            end,
            geometry,
        };
        let reads = if excluding { &more.before } else { &self.after };
        let row = &mut scratch.wide;
        reads.read(windows, state, event, &scratch.before, row);
        let rows = self.rows(self.shape.fixed, &state.block, geometry);
        let kept = state.extra.iter_mut().flat_map(|extra| &mut extra.slots);
        for (slot, kept) in more.slots.iter().zip(kept) {
            if slot.excluding != excluding {
                continue;
            }
            let answers = &mut row[slot.answers.clone()];
            if let Some(span) = slot.span {
                let window = scratch.image[self.spans[span].cursor]..end;
                let aggregate = &slot.aggregate;
                aggregate.answer_over(rows, slot.column, window, event.at, answers);
            } else {
                slot.aggregate.answer(kept_of(kept), event.at, answers);
            }
        }
    }

    /// Lets the rows go from the slots that have left their windows.
    pub(super) fn leave_slots(&self, more: &More, state: &mut KeyFeatures, geometry: &Geometry) {
        self.each_bounded_slot(more, state, geometry, |slot, kept, rows, (_, window)| {
            slot.aggregate
                .leave(kept_of(kept), rows, slot.column, window);
        });
    }

    /// Takes a late row into the slots whose window it is inside.
    fn refill_slots(&self, more: &More, state: &mut KeyFeatures, at: i64) {
        let (geometry, newest) = (state.geometry(), state.newest());
        self.each_bounded_slot(
            more,
            state,
            &geometry,
            |slot, kept, rows, (span, window)| {
                let kept = kept_of(kept);
                if span.edge(newest).is_none_or(|edge| at > edge) {
                    slot.aggregate.refill(kept, rows, slot.column, window);
                } else {
                    slot.aggregate.follow(kept, window.start);
                }
            },
        );
    }

    fn each_bounded_slot(
        &self,
        more: &More,
        state: &mut KeyFeatures,
        geometry: &Geometry,
        mut take: impl FnMut(&Slot, &mut SlotState, Rows<'_>, (&Span, Range<u32>)),
    ) {
        let rows = self.rows(self.shape.fixed, &state.block, geometry);
        let kept = state.extra.iter_mut().flat_map(|extra| &mut extra.slots);
        for (slot, kept) in more.slots.iter().zip(kept) {
            if let Some(span) = slot.span {
                let span = &self.spans[span];
                let window = state.block[span.cursor]..state.tail;
                take(slot, kept, rows, (span, window));
            }
        }
    }

    /// The rows of a key's block.
    fn rows<'a>(&'a self, fixed: u32, block: &'a [u32], geometry: &'a Geometry) -> Rows<'a> {
        Rows {
            log: &block[fixed as usize..],
            geometry,
            ids: &self.id_marks,
            flags: &self.flag_marks,
        }
    }
}
