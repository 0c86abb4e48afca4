//! [`Features`]: the declaration of a step's features.

use std::collections::HashSet;
use std::time::Duration;

use super::error::FeatureError;
use super::extract::{Extracted, Extraction};
use super::over::WindowFeatures;
use super::plan::{FeaturePlan, Wanted};
use crate::window::{ColumnOrder, Feature, Statistic, compile};

/// The most features of a step.
const FEATURES_MAX: usize = 10_000;

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
    names: Vec<String>,
    features: Vec<Feature>,
    /// Lengths of bounded windows in microseconds.
    lengths: Vec<i64>,
    lateness: i64,
    wanted: Wanted<T>,
    errors: Vec<FeatureError>,
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
            names: Vec::new(),
            features: Vec::new(),
            lengths: Vec::new(),
            lateness: 0,
            wanted: Wanted::default(),
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
    /// length, no features at all or too many.
    pub fn build(mut self) -> Result<FeaturePlan<T>, Vec<FeatureError>> {
        let mut known = HashSet::new();
        for (name, position) in self.names.iter().zip(1..) {
            if name.is_empty() {
                self.errors.push(FeatureError::EmptyName { position });
            } else if !known.insert(name) {
                self.errors
                    .push(FeatureError::DuplicateName { name: name.clone() });
            }
        }
        if self.names.is_empty() {
            self.errors.push(FeatureError::NoFeatures);
        }
        if self.names.len() > FEATURES_MAX {
            let count = self.names.len();
            self.errors.push(FeatureError::TooManyFeatures {
                count,
                limit: FEATURES_MAX,
            });
        }
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.drop_unused_windows();
        let order = ColumnOrder::of(&self.features);
        for feature in &mut self.features {
            *feature = feature.renumbered(&order);
        }
        let program = compile(&self.features, &self.lengths, self.lateness);
        let layout = self.layout();
        let columns = self.columns.reordered(&order);
        Ok(FeaturePlan::new(
            self.names,
            layout,
            columns,
            program,
            self.wanted,
        ))
    }

    pub(super) fn declare(&mut self, name: &str, feature: Feature) {
        self.names.push(name.to_owned());
        self.features.push(feature);
    }

    pub(super) fn declare_over(&mut self, name: &str, window: Option<usize>, of: Statistic) {
        self.declare(name, Feature::Over(window, of));
    }

    /// Numbers windows by first use: one of which nothing is asked would keep events for nobody.
    fn drop_unused_windows(&mut self) {
        let mut used = Vec::new();
        for feature in &mut self.features {
            if let Feature::Over(Some(window), _) = feature {
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
        for (name, feature) in self.names.iter().zip(&self.features) {
            let feature = match feature {
                Feature::Value(_) => continue,
                Feature::Last(column) => format!("last({column})"),
                Feature::SinceLast(column) => format!("since({column})"),
                Feature::Over(None, of) => format!("{of}"),
                Feature::Over(Some(window), of) => format!("{of}/{}us", self.lengths[*window]),
            };
            layout.push_str(&format!(";{name}={feature}"));
        }
        layout
    }
}

/// A span in whole microseconds, saturating.
fn micros(span: Duration) -> i64 {
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
