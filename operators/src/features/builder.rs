//! [`Features`]: the declaration of a step's features.

use std::collections::HashSet;
use std::time::Duration;

use super::error::FeatureError;
use super::extract::{Extracted, Extraction};
use super::over::WindowFeatures;
use super::plan::{FeaturePlan, Wanted};
use super::upkeep::Upkeep;
use crate::window::{ColumnOrder, Feature, SlotSpec, compile};

/// The most features of a step.
pub(super) const FEATURES_MAX: usize = 10_000;

/// Declares the features of one keyed step: what is computed for each event from the events of its
/// key, this one included.
///
/// Closures take a value from an event; `None`, NaN and infinities are missing and count nowhere
/// (see [`crate::aggregate`]). A closure that captures nothing and is used for several features, be
/// it over several windows, is one column: it runs once per event and is held once. The same code
/// written twice is two closures and two columns, so name what is used twice, with
/// [`Features::column`] or a plain `let`.
///
/// Mistakes are collected and reported by [`Features::build`].
///
/// ```
/// use thalweg_engine::time::{EventTime, hours};
/// use thalweg_operators::features::{Features, KeyFeatures};
///
/// struct Payment { merchant: u32, amount: f64, refund: Option<bool> }
///
/// let mut f = Features::<Payment>::new();
/// f.value("amount", |p| p.amount);
/// let amount = f.column(|p| p.amount);
/// f.over(hours(1)).count("n_1h").sum("spend_1h", amount).max("max_1h", amount);
/// f.over(hours(24)).distinct("merchants_24h", |p| p.merchant);
/// f.ever().share("refund_share", |p| p.refund);
/// f.since_last("since_large", |p| p.amount > 100.0);
/// let mut plan = f.build().expect("the features are declared well");
///
/// let mut card = KeyFeatures::default();
/// let mut row = Vec::new();
/// for (second, amount) in [(0, 250.0), (60, 3.0), (3_600, 4.0)] {
///     let payment = Payment { merchant: 7, amount, refund: None };
///     row.clear();
///     plan.update(&mut card, &payment, EventTime::from_seconds(second), &mut row);
/// }
/// assert_eq!(plan.names()[..4], ["amount", "n_1h", "spend_1h", "max_1h"]);
/// assert_eq!(row[..5], [4.0, 2.0, 7.0, 4.0, 1.0]);
/// assert!(row[5].is_nan(), "no refund is known");
/// assert_eq!(row[6], 3_600.0);
/// ```
#[derive(Debug)]
pub struct Features<T> {
    pub(super) columns: Extraction<T>,
    pub(super) declared: Vec<Declared>,
    slots: Vec<(String, SlotSpec)>,
    /// Lengths of bounded windows in microseconds.
    pub(super) lengths: Vec<i64>,
    pub(super) lateness: i64,
    wanted: Wanted<T>,
    pub(super) upkeep: Upkeep,
    pub(super) errors: Vec<FeatureError>,
}

/// A feature; without a name it is there for others to be made of.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) name: Option<String>,
    pub(super) feature: Feature,
}

impl<T: 'static> Default for Features<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static> Features<T> {
    /// No features yet.
    pub fn new() -> Self {
        Self {
            columns: Extraction::default(),
            declared: Vec::new(),
            slots: Vec::new(),
            lengths: Vec::new(),
            lateness: 0,
            wanted: Wanted::default(),
            upkeep: Upkeep::default(),
            errors: Vec::new(),
        }
    }

    /// A value of the event itself.
    pub fn value<E: Extracted<f64>>(&mut self, name: &str, of: impl Fn(&T) -> E + 'static) {
        let column = self.columns.value(of);
        self.declare(name, Feature::Value(column));
    }

    /// The latest present value over the events before this one; missing when there is none.
    pub fn last<E: Extracted<f64>>(&mut self, name: &str, of: impl Fn(&T) -> E + 'static) {
        let column = self.columns.value(of);
        self.declare(name, Feature::Last(column));
    }

    /// Seconds since the latest event before this one for which the predicate held; missing when
    /// there is none.
    pub fn since_last<E: Extracted<bool>>(&mut self, name: &str, of: impl Fn(&T) -> E + 'static) {
        let column = self.columns.flag(of);
        self.declare(name, Feature::SinceLast(column));
    }

    /// The features over the window of this length that ends with the event: for an event at `t`,
    /// over `(t - length, t]`. Asking for the same length again adds to the same window.
    pub fn over(&mut self, length: Duration) -> WindowFeatures<'_, T> {
        let micros = micros(length);
        if micros == 0 {
            self.errors.push(FeatureError::EmptyWindow);
        }
        let known = self.lengths.iter().position(|known| *known == micros);
        let window = known.unwrap_or_else(|| {
            self.lengths.push(micros);
            self.lengths.len() - 1
        });
        WindowFeatures::new(self, Some(window))
    }

    /// The features over everything that has arrived for the key: events never leave and none are
    /// kept. A late event counts from when it arrives, and sees newer events that came before it.
    ///
    /// Sums that overflow stay infinite, and `distinct` keeps a set of all ids.
    pub fn ever(&mut self) -> WindowFeatures<'_, T> {
        WindowFeatures::new(self, None)
    }

    /// Names a closure, to be used for several features: it is one column if it captures nothing.
    pub fn column<E, F>(&self, of: F) -> F
    where
        E: Extracted<f64>,
        F: Fn(&T) -> E + Copy + 'static,
    {
        of
    }

    /// How long after newer events of its key an event may come and still find all of the log that
    /// its windows reach; zero unless set.
    ///
    /// A later event is neither refused nor lost: it gets a row over as much of the log as is left.
    /// The log keeps events this much longer.
    pub fn lateness(&mut self, lateness: Duration) {
        self.lateness = micros(lateness);
    }

    /// Computes rows only for events for which the predicate holds. Other events update the state.
    pub fn rows_for(&mut self, wanted: impl Fn(&T) -> bool + 'static) {
        self.wanted = Wanted::of(wanted);
    }

    /// Compiles the declared features.
    ///
    /// # Errors
    /// Every mistake of the declaration: a name that is empty or used twice, a window without
    /// length, no features at all or too many, rules that do not fit the windows.
    pub fn build(mut self) -> Result<FeaturePlan<T>, Vec<FeatureError>> {
        let mut known = HashSet::new();
        for (name, position) in names(&self.declared).zip(1..) {
            if name.is_empty() {
                self.errors.push(FeatureError::EmptyName { position });
            } else if !known.insert(name) {
                self.errors
                    .push(FeatureError::DuplicateName { name: name.clone() });
            }
        }
        let count = names(&self.declared).count();
        if count == 0 && self.errors.is_empty() {
            self.errors.push(FeatureError::NoFeatures);
        }
        if count > FEATURES_MAX {
            self.errors.push(FeatureError::TooManyFeatures {
                count,
                limit: FEATURES_MAX,
            });
        }
        self.drop_unused_windows();
        self.check_upkeep();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let features: Vec<_> = self.declared.iter().map(|d| d.feature).collect();
        let order = ColumnOrder::of(&features);
        for declared in &mut self.declared {
            declared.feature = declared.feature.renumbered(&order);
        }
        let layout = self.layout();
        let features = arranged(&self.declared);
        self.upkeep.fit(&features, &self.lengths);
        let slots = self.slots.into_iter().map(|(_, slot)| slot).collect();
        let program = compile((&features, count), &self.lengths, self.lateness, slots);
        let columns = self.columns.reordered(&order);
        let names = self.declared.into_iter().filter_map(|d| d.name).collect();
        Ok(FeaturePlan::new(
            names,
            layout,
            columns,
            program,
            self.wanted,
            self.upkeep,
        ))
    }

    pub(super) fn declare(&mut self, name: &str, feature: Feature) {
        let name = Some(name.to_owned());
        self.declared.push(Declared { name, feature });
    }

    /// Declares a feature for others to be made of; returns its number.
    pub(super) fn declare_part(&mut self, feature: Feature) -> usize {
        let name = None;
        self.declared.push(Declared { name, feature });
        self.declared.len() - 1
    }

    /// Adds an aggregate of this description; returns the number of its slot.
    pub(super) fn add_slot(&mut self, description: String, slot: SlotSpec) -> usize {
        self.slots.push((description, slot));
        self.slots.len() - 1
    }

    /// Numbers windows by first use: one of which nothing is asked would keep events for nobody.
    fn drop_unused_windows(&mut self) {
        let mut used = Vec::new();
        for declared in &mut self.declared {
            if let Some(window) = declared.feature.window() {
                let place = used.iter().position(|known| known == window);
                let place = place.unwrap_or_else(|| {
                    used.push(*window);
                    used.len() - 1
                });
                *window = place;
            }
        }
        self.lengths = used.iter().map(|window| self.lengths[*window]).collect();
    }

    /// What a key's state depends on, in words.
    fn layout(&self) -> String {
        let mut layout = String::from("features/1");
        for Declared { name, feature } in &self.declared {
            let (window, of) = match feature {
                Feature::Value(_) | Feature::Made(_) | Feature::Truncated(_) => continue,
                Feature::Last(column) => (None, format!("last({column})")),
                Feature::SinceLast(column) => (None, format!("since({column})")),
                // Before the event or after it, the state is the same.
                Feature::Over(window, of) | Feature::Before(window, of) => {
                    (*window, of.to_string())
                }
                Feature::Slot(slot) if slot.answer > 0 => continue,
                Feature::Slot(slot) => {
                    let of = &self.slots[slot.slot].0;
                    (slot.window, format!("{of}({})", slot.column.number()))
                }
            };
            layout.push(';');
            if let Some(name) = name {
                layout.push_str(&format!("{name}="));
            }
            layout.push_str(&of);
            if let Some(window) = window {
                layout.push_str(&format!("/{}us", self.lengths[window]));
            }
        }
        layout.push_str(&self.upkeep.layout());
        layout
    }
}

/// The names of the features that have one.
fn names(declared: &[Declared]) -> impl Iterator<Item = &String> {
    declared
        .iter()
        .filter_map(|declared| declared.name.as_ref())
}

/// The features with a name, then those that others are made of; formulas follow them.
fn arranged(declared: &[Declared]) -> Vec<Feature> {
    let (named, parts): (Vec<usize>, Vec<usize>) =
        (0..declared.len()).partition(|number| declared[*number].name.is_some());
    let order = [named, parts].concat();
    let mut places = vec![0; order.len()];
    for (place, number) in order.iter().enumerate() {
        places[*number] = place;
    }
    let arranged = order.iter().map(|number| match declared[*number].feature {
        Feature::Made(formula) => Feature::Made(formula.moved(|number| places[number])),
        feature => feature,
    });
    arranged.collect()
}

/// A span in whole microseconds, saturating.
pub(super) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::testing::{Reading, reading, run};
    use thalweg_engine::time::{hours, secs};

    fn errors(declare: impl FnOnce(&mut Features<Reading>)) -> Vec<FeatureError> {
        let mut features = Features::new();
        declare(&mut features);
        features.build().map(|_| ()).unwrap_err()
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        assert_eq!(errors(|_| {}), [FeatureError::NoFeatures]);
        let found = errors(|f| {
            f.over(Duration::ZERO).count("n");
            f.over(Duration::from_nanos(999))
                .count("n")
                .sum("", |e| e.value);
        });
        let name = "n".to_owned();
        assert_eq!(
            found,
            [
                FeatureError::EmptyWindow,
                FeatureError::EmptyWindow,
                FeatureError::DuplicateName { name },
                FeatureError::EmptyName { position: 3 },
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_named_with_its_feature() {
        let found = errors(|f| {
            let value = f.column(|e| e.value);
            f.over(secs(1))
                .count("n")
                .quantile("p", 1.5, value)
                .top_k("top", 0, value)
                .last_n("lasts", usize::MAX, value);
            f.ever().sum("all", value);
            f.ratio("r", "n", "m");
            f.velocity("v", "n", "all");
            f.velocity("w", "r", "n");
        });
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "feature `p` cannot be: quantile 1.5 is not between 0 and 1",
                "feature `top` cannot be: it asks for 0 values, not for 1 to 10000",
                "feature `lasts` cannot be: it asks for 18446744073709551615 values, not for 1 to \
                 10000",
                "feature `r` is made of `m`, which is not declared; declare that one first",
                "velocity `v` is of `all`, which is not over a bounded window; declare that one \
                 with `over`",
                "feature `w` is made of `r`, which is not declared; declare that one first",
            ]
        );
    }

    #[test]
    fn columns_and_parts_are_shared_and_known_to_the_layout() {
        let mut f = Features::<Reading>::new();
        let value = f.column(|e| e.value);
        f.over(hours(1))
            .excluding()
            .mean("mean", value)
            .including()
            .zscore("z", value)
            .sum_if("large", value, |e| e.value > 3.0)
            .inter_arrival_mean("gap")
            .first_n("first", 2, value);
        f.ever().inter_arrival_std("gaps");
        let plan = f.build().unwrap();
        assert_eq!(
            plan.names(),
            ["mean", "z", "large", "gap", "first_0", "first_1", "gaps"]
        );
        assert_eq!(
            plan.layout(),
            "features/1;mean=mean(0)/3600000000us;mean(0)/3600000000us;std(0)/3600000000us;\
             large=sum(1)/3600000000us;gap=inter_arrival_mean(0)/3600000000us;\
             first_0=first_n[2](0)/3600000000us;gaps=inter_arrival_std(0)"
        );
    }

    #[test]
    fn one_closure_is_one_column() {
        let mut f = Features::<Reading>::new();
        let value = f.column(|e| e.value);
        f.over(hours(1)).sum("sum", value).max("max", value);
        f.over(hours(6)).mean("mean", value);
        f.last("last", value);
        for factor in [2.0, 3.0] {
            f.value(&format!("times_{factor}"), move |e| e.value * factor);
        }
        let plan = f.build().unwrap();
        assert_eq!(
            plan.names(),
            ["sum", "max", "mean", "last", "times_2", "times_3"]
        );
        assert_eq!(
            plan.layout(),
            "features/1;sum=sum(0)/3600000000us;max=max(0)/3600000000us;\
             mean=mean(0)/21600000000us;last=last(0)"
        );
    }

    #[test]
    fn the_layout_is_that_of_the_state_alone() {
        let layout = |with_values: bool| {
            let mut f = Features::<Reading>::new();
            let (a, b) = (f.column(|e| e.value), f.column(|e| -e.value));
            if with_values {
                f.value("b", b);
                f.value("a", a);
            }
            f.last("last", b);
            f.over(hours(1)).sum("sum_a", a).sum("sum_b", b);
            f.build().unwrap().layout().to_owned()
        };
        assert_eq!(layout(false), layout(true));
    }

    #[test]
    fn a_window_of_which_nothing_is_asked_keeps_nothing() {
        let rows = run(
            |f| {
                let _ = f.over(hours(1));
                f.over(secs(10)).count("n");
                f.value("value", |e| e.value);
            },
            &[reading(0, 1.0), reading(10, f64::INFINITY)],
        );
        assert_eq!(rows[0], [1.0, 1.0]);
        assert!(rows[1][0] == 1.0 && rows[1][1].is_nan());
    }
}
