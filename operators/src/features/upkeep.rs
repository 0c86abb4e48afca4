//! What a step keeps, and for how long: idle keys, hot keys, rows that can still be corrected.

use std::time::Duration;

use super::builder::{Declared, Features, micros};
use super::error::FeatureError;
use super::over::WindowFeatures;
use crate::window::{Excess, Feature, Inputs, KeyFeatures, Program, Scratch, Tiling};

/// What becomes of a key's events when there are more of them than a step is to hold: see
/// [`Features::max_events_per_key`].
///
/// ```
/// # use thalweg_engine::time::{EventTime, minutes, secs};
/// # use thalweg_operators::features::{Features, HotKey, KeyFeatures};
/// let mut f = Features::<f64>::new();
/// f.over(secs(10)).count("n_10s");
/// f.over(minutes(1)).mean("mean_1m", |v| *v).truncated("approximate_1m");
/// f.max_events_per_key(100, HotKey::Tiles(secs(1)));
/// let mut plan = f.build().expect("the features are declared well");
/// let (mut key, mut row) = (KeyFeatures::default(), Vec::new());
/// for tenth in 0..696_i64 {
///     row.clear();
///     let at = EventTime::from_millis(100 * tenth);
///     plan.update(&mut key, &(tenth as f64), at, &mut row);
/// }
/// // At 69.5 s: the minute has four of the ten events of the tile before it, and takes it whole.
/// assert_eq!(row, [100.0, (90.0 + 695.0) / 2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HotKey {
    /// The oldest events go, so that windows are over the newest events only: approximate, and
    /// [labelled so](WindowFeatures::truncated). Every event that goes is counted.
    DropOldest,
    /// The event that would be one too many is refused: in a flow it goes to the dead letters, and
    /// is counted. It leaves no trace in the features, so that all rows that are given are exact
    /// over the events that were taken in.
    Refuse,
    /// The oldest events are added up in tiles of so much event time, of which counts, sums (and what
    /// is made of them), least and greatest values are kept. A tile is in a window, as a whole, while
    /// its latest event is; so a window is exact unless its far edge falls inside a tile, and is then
    /// over less than a tile's width more than its length: approximate, and
    /// [labelled so](WindowFeatures::truncated). A late event's window also lacks a tile that is
    /// later than the event in part.
    ///
    /// For `count`, `count_if`, `share`, `sum`, `mean`, `variance`, `std`, `min`, `max`, their
    /// conditional forms, and what is made of them; anything else over a bounded window is a
    /// mistake of the declaration.
    Tiles(Duration),
}

/// The rules of a plan beside its features.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// After how long an idle key is forgotten, in microseconds.
    ttl: Option<i64>,
    limit: Option<(usize, HotKey)>,
    pub(super) corrections: bool,
    /// Whether every feature is of the event or of bounded windows.
    is_bounded: bool,
    /// Places of features that tell whether a window is cut, and the lengths of their windows.
    markers: Vec<(usize, i64)>,
    tiling: Option<Tiling>,
}

/// What became of an event by the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The key has too many events: nothing has happened.
    pub(crate) is_refused: bool,
    /// The key had been idle for too long: it began anew.
    pub(crate) has_expired: bool,
    /// Events that were dropped.
    pub(crate) truncated: u64,
}

impl<T: 'static> Features<T> {
    /// Forgets a key that was idle: one whose newest event lies more than `span` of event time
    /// behind the event that comes for it begins anew with that event.
    ///
    /// Bounded windows never notice, as `span` must not be shorter than the longest of them and the
    /// [lateness](Self::lateness) together; it is for what is over everything:
    /// [`ever`](Self::ever), [`last`](Self::last), [`since_last`](Self::since_last).
    ///
    /// A step also gives the memory of idle keys back: once the watermark has passed their time and
    /// the lateness, a sixteenth of both later at most. When exactly does not show in the rows. At
    /// the end of input nothing is dropped. The step's counters `{id}_keys_begun` and
    /// `{id}_keys_expired` tell, by their difference, how many keys live.
    ///
    /// ```
    /// # use thalweg_engine::time::{EventTime, hours};
    /// # use thalweg_operators::features::{Features, KeyFeatures};
    /// let mut f = Features::<f64>::new();
    /// f.over(hours(1)).count("n_1h");
    /// f.ever().count("n");
    /// f.ttl(hours(24));
    /// let mut plan = f.build().expect("the features are declared well");
    /// let (mut key, mut rows) = (KeyFeatures::default(), Vec::new());
    /// for hour in [0, 24, 49] {
    ///     plan.update(&mut key, &1.0, EventTime::from_seconds(hour * 3_600), &mut rows);
    /// }
    /// assert_eq!(rows, [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]);
    /// ```
    pub fn ttl(&mut self, span: Duration) {
        self.upkeep.ttl = Some(micros(span));
    }

    /// Holds no more than `most` events of a key at a time; what becomes of a key with more is
    /// `policy`'s. Unless this is set all events are held, which is the one policy under which every
    /// window of every key is exact over all of its events: the far edge of a sliding window passes
    /// each event by itself, at its own time, so that events that some window is still to let go of
    /// cannot be added up beforehand.
    ///
    /// Events count that the longest window or an allowed late event can still reach, if they have
    /// something for a bounded window; no others are held. The newest by event time, then arrival,
    /// stay. What is over everything ([`ever`](Self::ever), [`last`](Self::last)) holds no events
    /// and is over all that are taken in.
    ///
    /// The step's counters `{id}_truncated_events` and `{id}_refused_events` tell how many events were
    /// dropped or refused. The number, but not the policy, may be another one after a restart, and
    /// holds from then on.
    ///
    /// ```
    /// # use thalweg_engine::time::{EventTime, secs};
    /// # use thalweg_operators::features::{Features, HotKey, KeyFeatures};
    /// let mut f = Features::<f64>::new();
    /// f.over(secs(10)).sum("sum_10s", |v| *v).truncated("cut_10s");
    /// f.over(secs(60)).sum("sum_60s", |v| *v).truncated("cut_60s");
    /// f.max_events_per_key(2, HotKey::DropOldest);
    /// let mut plan = f.build().expect("the features are declared well");
    /// let (mut key, mut row) = (KeyFeatures::default(), Vec::new());
    /// for (second, value) in [(0, 1.0), (5, 2.0), (12, 4.0)] {
    ///     row.clear();
    ///     plan.update(&mut key, &value, EventTime::from_seconds(second), &mut row);
    /// }
    /// // The first event has gone: the long window lacks it, the short one does not reach it.
    /// assert_eq!(row, [6.0, 0.0, 6.0, 1.0]);
    /// ```
    pub fn max_events_per_key(&mut self, most: usize, policy: HotKey) {
        self.upkeep.limit = Some((most, policy));
    }

    /// Gives rows again that an event has changed which came out of order: see
    /// [`FeatureStream::corrections`](crate::flow::FeatureStream::corrections) in flows, and
    /// [`FeaturePlan::update_corrected`](super::FeaturePlan::update_corrected).
    ///
    /// A row can be corrected for as long as its event is newer than the newest of its key less the
    /// [lateness](Self::lateness), which must be set. Of these events the step keeps the events
    /// themselves and the rows it gave, and beside the key's state a second one, from before them:
    /// about twice the memory, and twice the time per event. The closures run again on these events,
    /// and must say the same. Without corrections nothing of this is kept.
    pub fn corrections(&mut self) {
        self.upkeep.corrections = true;
    }

    /// Notes what is wrong with the rules beside the features.
    pub(super) fn check_upkeep(&mut self) {
        let is_marker = |declared: &&Declared| matches!(declared.feature, Feature::Truncated(_));
        let cut = self.declared.iter().find(is_marker);
        let cut = cut.and_then(|declared| declared.name.as_deref());
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let errors = self.upkeep.errors((longest, self.lateness), cut);
        self.errors.extend(errors);
        if self.upkeep.tiles() {
            let beyond = self.declared.iter().filter(|d| d.feature.is_beyond_tiles());
            // Only that one is made of nameless parts which tiles cannot hold.
            let name = |d: &Declared| d.name.clone().unwrap_or("first_seen".to_owned());
            let mut names: Vec<String> = beyond.map(name).collect();
            names.dedup();
            let reason = "tiles hold counts, sums, least and greatest values only; take another \
                          `HotKey`, or a step of its own";
            let error = |name| FeatureError::InvalidSetting {
                name,
                reason: reason.to_owned(),
            };
            self.errors.extend(names.into_iter().map(error));
        }
    }
}

impl<T: 'static> WindowFeatures<'_, T> {
    /// 1 when the features over the window are approximate, 0 when they are exact. They are
    /// approximate when an event later than the window's start has been dropped by
    /// [`HotKey::DropOldest`], or when an edge of the window falls inside one of the
    /// [`HotKey::Tiles`].
    pub fn truncated(self, name: &str) -> Self {
        match self.window {
            Some(window) => self.features.declare(name, Feature::Truncated(window)),
            None => self.features.errors.push(FeatureError::InvalidSetting {
                name: name.to_owned(),
                reason: "nothing is dropped from what is over everything".to_owned(),
            }),
        }
        self
    }
}

impl Upkeep {
    /// What is wrong with the rules, for features of which the longest window and the lateness are
    /// so long; `cut` is the name of a feature that tells of dropped events, if there is one.
    pub(super) fn errors(
        &self,
        (longest, lateness): (i64, i64),
        cut: Option<&str>,
    ) -> Vec<FeatureError> {
        let mut errors = Vec::new();
        let span = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        if let Some(ttl) = self.ttl
            && (ttl == 0 || ttl < longest.saturating_add(lateness))
        {
            errors.push(FeatureError::ShortTtl {
                ttl: span(ttl),
                window: span(longest),
                lateness: span(lateness),
            });
        }
        if let Some((most, _)) = self.limit
            && !(1..=EVENTS_MAX as usize).contains(&most)
        {
            errors.push(FeatureError::InvalidLimit {
                most,
                limit: EVENTS_MAX,
            });
        }
        if let (Some(name), None) = (cut, self.excess()) {
            errors.push(FeatureError::InvalidSetting {
                name: name.to_owned(),
                reason: "all events are held; set `max_events_per_key(.., HotKey::DropOldest)`"
                    .to_owned(),
            });
        }
        if let Some(Excess::Tiled(0)) = self.excess() {
            errors.push(FeatureError::EmptyTile);
        }
        if self.corrections && lateness == 0 {
            errors.push(FeatureError::NothingToCorrect);
        }
        errors
    }

    /// Notes of the features in their places what the rules need to know.
    pub(super) fn fit(&mut self, features: &[Feature], lengths: &[i64]) {
        self.is_bounded = features.iter().all(|feature| feature.is_bounded());
        let marker = |(place, feature): (usize, &Feature)| match feature {
            Feature::Truncated(window) => Some((place, lengths[*window])),
            _ => None,
        };
        self.markers = features.iter().enumerate().filter_map(marker).collect();
    }

    /// What a key's state depends on, as a part of the layout.
    pub(super) fn layout(&self) -> String {
        let mut layout = match self.excess() {
            Some(Excess::Dropped) => ";drop_oldest".to_owned(),
            Some(Excess::Tiled(width)) => format!(";tiles/{width}us"),
            None => String::new(),
        };
        if self.corrections {
            layout.push_str(";corrections");
        }
        layout
    }

    /// The rules for a program, unless there are none.
    pub(super) fn if_any(mut self, program: &Program) -> Option<Box<Self>> {
        if let Some(Excess::Tiled(width)) = self.excess() {
            self.tiling = Some(Tiling::new(program, width));
        }
        let any = self.ttl.is_some() || self.limit.is_some() || self.corrections;
        any.then(|| Box::new(self))
    }

    /// After how long an idle key is forgotten.
    pub(super) fn ttl(&self) -> Option<i64> {
        self.ttl
    }

    /// Whether events may be refused.
    pub(super) fn refuses(&self) -> bool {
        matches!(self.limit, Some((_, HotKey::Refuse)))
    }

    /// Whether an event changes nothing but what is of windows that it is in.
    pub(super) fn reaches_by_windows_alone(&self) -> bool {
        self.is_bounded && self.excess().is_none()
    }

    /// Whether events are put into tiles.
    fn tiles(&self) -> bool {
        matches!(self.excess(), Some(Excess::Tiled(_)))
    }

    /// Where events go that are too many, if they do not stay outside.
    fn excess(&self) -> Option<Excess> {
        match self.limit?.1 {
            HotKey::DropOldest => Some(Excess::Dropped),
            HotKey::Tiles(width) => Some(Excess::Tiled(micros(width))),
            HotKey::Refuse => None,
        }
    }

    /// Whether a state can come of these rules.
    pub(super) fn accepts(&self, program: &Program, state: &KeyFeatures) -> bool {
        let Some(extra) = &state.extra else {
            return true;
        };
        let may_drop = matches!(self.excess(), Some(Excess::Dropped));
        let fits = match &self.tiling {
            Some(tiling) => tiling.accepts(program, state),
            None => extra.tiles.is_none(),
        };
        fits && (may_drop || extra.truncated.is_none())
    }

    /// The most events of a key.
    fn most(&self) -> Option<u32> {
        let (most, _) = self.limit?;
        Some(u32::try_from(most).unwrap_or(EVENTS_MAX))
    }

    /// Whether the event must not be taken in.
    pub(super) fn is_refused(
        &self,
        program: &Program,
        state: &KeyFeatures,
        inputs: &Inputs,
        at: i64,
    ) -> bool {
        let most = self.most().filter(|_| self.refuses());
        most.is_some_and(|most| program.is_full(state, inputs, at, most))
    }

    /// Takes an event in that is not refused; its features are appended to `row`.
    pub(super) fn update(
        &self,
        program: &Program,
        state: &mut KeyFeatures,
        (inputs, at): (&Inputs, i64),
        scratch: &mut Scratch,
        mut row: Option<&mut Vec<f64>>,
    ) -> Outcome {
        let newest = state.newest();
        let is_idle = |ttl| newest != i64::MIN && at.saturating_sub(newest) > ttl;
        let has_expired = self.ttl.is_some_and(is_idle);
        if has_expired {
            *state = KeyFeatures::default();
        }
        let before = truncated(state);
        let limit = self.most().zip(self.excess());
        if let Some(limit) = limit {
            program.make_room(state, (inputs, at), limit);
        }
        let first = row.as_ref().map_or(0, |row| row.len());
        match &self.tiling {
            Some(tiling) => {
                let event = (inputs, at);
                program.update_tiled(tiling, state, event, scratch, row.as_deref_mut());
            }
            None => program.update(state, inputs, at, scratch, row.as_deref_mut()),
        }
        if let Some(row) = row {
            for (place, length) in &self.markers {
                let is_cut =
                    Program::is_cut(state, at, *length) || Program::is_tile_cut(state, at, *length);
                row[first + place] = f64::from(u8::from(is_cut));
            }
        }
        if let Some(limit) = limit {
            program.settle(state, limit);
        }
        Outcome {
            is_refused: false,
            has_expired,
            truncated: truncated(state) - before,
        }
    }
}

/// The most events that a limit may name: what a key's log has room for.
const EVENTS_MAX: u32 = 1 << 30;

/// How many events of the key were dropped.
pub(super) fn truncated(state: &KeyFeatures) -> u64 {
    let truncated = state.extra.as_ref().and_then(|extra| extra.truncated);
    truncated.map_or(0, |truncated| truncated.events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::Reading;
    use thalweg_engine::time::{hours, secs};

    /// What is wrong with rules for features over a window of an hour.
    fn errors(declare: impl FnOnce(&mut Features<Reading>)) -> Vec<String> {
        let mut f = Features::new();
        f.over(hours(1)).count("n");
        declare(&mut f);
        let errors = f.build().map(|_| ()).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_that_cannot_be_are_named_with_what_they_contradict() {
        let short = "keys are to be forgotten after 3604s, but the longest window is 3600s and \
                     events may be 5s late: give `ttl` at least both together, and more than nothing";
        let found = errors(|f| {
            f.ttl(secs(3_604));
            f.lateness(secs(5));
            f.max_events_per_key(0, HotKey::Refuse);
        });
        let none = "at most 0 events of a key are to be held; let it be from 1 to 1073741824";
        assert_eq!(found, [short, none]);
        let found = errors(|f| {
            f.corrections();
            f.over(secs(1)).truncated("cut");
            f.ratio("part", "n", "cut");
            f.velocity("speed", "cut", "n");
            f.ever().truncated("cut_ever");
        });
        assert_eq!(
            found,
            [
                "feature `part` cannot be: `cut` says of other features whether they are exact",
                "feature `speed` cannot be: `cut` says of other features whether they are exact",
                "feature `cut_ever` cannot be: nothing is dropped from what is over everything",
                "feature `cut` cannot be: all events are held; set `max_events_per_key(.., \
                 HotKey::DropOldest)`",
                "rows are to be corrected, but no event may be late; say with `lateness` for how \
                 long rows can change",
            ]
        );
    }

    #[test]
    fn what_tiles_cannot_hold_is_named() {
        let found = errors(|f| {
            f.max_events_per_key(9, HotKey::Tiles(Duration::ZERO));
            f.over(secs(1))
                .first_seen("new", |e| e.value as u32)
                .top_k("top", 2, |e| e.value)
                .zscore("z", |e| e.value);
            f.ever().distinct("ids", |e| e.value as u32);
        });
        let tiles = "tiles hold counts, sums, least and greatest values only; take another \
                     `HotKey`, or a step of its own";
        assert_eq!(
            found,
            [
                "tiles of `HotKey::Tiles` are shorter than a microsecond; give them a width",
                &format!("feature `first_seen` cannot be: {tiles}"),
                &format!("feature `top_0` cannot be: {tiles}"),
                &format!("feature `top_1` cannot be: {tiles}"),
            ]
        );
    }

    #[test]
    fn rules_that_change_a_keys_state_are_part_of_the_layout() {
        let layout = |declare: fn(&mut Features<Reading>)| {
            let mut f = Features::new();
            f.over(hours(1)).count("n");
            f.lateness(secs(5));
            declare(&mut f);
            let layout = f.build().unwrap().layout().to_owned();
            layout
                .trim_start_matches("features/1;n=count/3600000000us")
                .to_owned()
        };
        assert_eq!(layout(|f| f.ttl(hours(2))), "");
        assert_eq!(layout(|f| f.max_events_per_key(9, HotKey::Refuse)), "");
        assert_eq!(
            layout(|f| {
                f.max_events_per_key(9, HotKey::DropOldest);
                f.corrections();
            }),
            ";drop_oldest;corrections"
        );
        assert_eq!(
            layout(|f| f.max_events_per_key(9, HotKey::Tiles(secs(1)))),
            ";tiles/1000000us"
        );
    }
}
