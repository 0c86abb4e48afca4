//! [`WindowFeatures`]: what is asked of one window.

use super::builder::Features;
use super::extract::Extracted;
use crate::window::{Feature, Formula, Statistic};

/// Declares features over one window; made by [`Features::over`] and [`Features::ever`]. What is
/// missing and what an empty window gives: [`crate::aggregate`].
///
/// A window includes the event itself, and earlier arrivals of its time. After
/// [`excluding`](Self::excluding) it is what it was before the event was taken in: without the
/// event, still with earlier arrivals of its time.
///
/// What has no form with a predicate (`sum_if` and the like) takes a closure that gives `None` for
/// the events that are not to count.
///
/// ```
/// use thalweg_engine::time::{EventTime, days, hours};
/// use thalweg_operators::aggregate::DdQuantile;
/// use thalweg_operators::features::{Features, KeyFeatures};
///
/// struct Payment { merchant: u32, amount: f64, declined: bool }
///
/// let mut f = Features::<Payment>::new();
/// let amount = f.column(|p| p.amount);
/// f.over(hours(1))
///     .sum_if("declined_1h", amount, |p| p.declined)
///     .streak("declines", |p| p.declined)
///     .last_n("amount", 2, amount);
/// f.over(days(30))
///     .zscore("amount_z", amount)
///     .first_seen("new_merchant", |p| p.merchant)
///     .excluding()
///     .quantile("median_before", 0.5, amount)
///     .aggregate("p99_before", DdQuantile::new(0.99, 0.01)?, amount);
/// let mut plan = f.build().expect("the features are declared well");
///
/// let mut card = KeyFeatures::default();
/// let mut row = Vec::new();
/// for (second, amount, declined) in [(0, 4.0, false), (10, 8.0, true), (20, 9.0, true)] {
///     let payment = Payment { merchant: 7, amount, declined };
///     row.clear();
///     plan.update(&mut card, &payment, EventTime::from_seconds(second), &mut row);
/// }
/// assert_eq!(plan.names()[2..4], ["amount_0", "amount_1"]);
/// assert_eq!(row[..4], [17.0, 2.0, 8.0, 9.0]);
/// assert!((row[4] - 3.0 / 8f64.sqrt()).abs() < 1e-12, "9 against 4 and 8");
/// assert_eq!(row[5..7], [0.0, 6.0]);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Debug)]
pub struct WindowFeatures<'a, T> {
    pub(super) features: &'a mut Features<T>,
    pub(super) window: Option<usize>,
    pub(super) excluding: bool,
}

impl<'a, T: 'static> WindowFeatures<'a, T> {
    pub(super) fn new(features: &'a mut Features<T>, window: Option<usize>) -> Self {
        Self {
            features,
            window,
            excluding: false,
        }
    }

    /// The features that follow are of the window with the event, as they are from the start.
    pub fn including(self) -> Self {
        Self {
            excluding: false,
            ..self
        }
    }

    /// The features that follow are of the window without the event: what it was before the event
    /// was taken in, at the event's time. Earlier arrivals of the same time are in it.
    pub fn excluding(self) -> Self {
        Self {
            excluding: true,
            ..self
        }
    }

    /// Declares a statistic, with the event or without it.
    fn statistic(self, name: &str, statistic: Statistic) -> Self {
        let feature = if self.excluding {
            Feature::Before(self.window, statistic)
        } else {
            Feature::Over(self.window, statistic)
        };
        self.features.declare(name, feature);
        self
    }

    fn of_value<E: Extracted<f64>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        statistic: fn(usize) -> Statistic,
    ) -> Self {
        let column = self.features.columns.value(of);
        self.statistic(name, statistic(column))
    }

    fn of_flag<E: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        statistic: fn(usize) -> Statistic,
    ) -> Self {
        let column = self.features.columns.flag(of);
        self.statistic(name, statistic(column))
    }

    /// The number of events, whatever they carry.
    pub fn count(self, name: &str) -> Self {
        self.statistic(name, Statistic::Count)
    }

    /// The number of events for which the predicate holds.
    pub fn count_if<E: Extracted<bool>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_flag(name, of, Statistic::CountIf)
    }

    /// The part, 0 to 1, of the events with a known answer for which the predicate holds.
    pub fn share<E: Extracted<bool>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_flag(name, of, Statistic::Share)
    }

    /// The sum of the present values.
    pub fn sum<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Sum)
    }

    /// The mean of the present values.
    pub fn mean<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Mean)
    }

    /// The sample variance (divisor n - 1) of the present values.
    pub fn variance<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Variance)
    }

    /// The sample standard deviation (divisor n - 1) of the present values.
    pub fn std<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Std)
    }

    /// The least present value.
    pub fn min<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Min)
    }

    /// The greatest present value.
    pub fn max<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.of_value(name, of, Statistic::Max)
    }

    /// The sum of the present values of the events for which the predicate holds.
    pub fn sum_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.sum(name, value_if(of, when))
    }

    /// The mean of the present values of the events for which the predicate holds.
    pub fn mean_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.mean(name, value_if(of, when))
    }

    /// The least present value of the events for which the predicate holds.
    pub fn min_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.min(name, value_if(of, when))
    }

    /// The greatest present value of the events for which the predicate holds.
    pub fn max_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.max(name, value_if(of, when))
    }

    /// The sample variance of the present values of the events for which the predicate holds.
    pub fn variance_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.variance(name, value_if(of, when))
    }

    /// The sample standard deviation of the present values of the events for which the predicate
    /// holds.
    pub fn std_if<E: Extracted<f64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.std(name, value_if(of, when))
    }

    /// The exact number of different ids of the events for which the predicate holds.
    pub fn distinct_if<E: Extracted<u64>, P: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        when: impl Fn(&T) -> P + 'static,
    ) -> Self {
        self.distinct(name, value_if(of, when))
    }

    /// The exact number of different ids.
    pub fn distinct<E: Extracted<u64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        let column = self.features.columns.id(of);
        self.statistic(name, Statistic::Distinct(column))
    }

    /// 1 when no earlier event in the window has the id of this one, else 0; missing when this one
    /// has none. Exact, whether or not the window excludes the event.
    pub fn first_seen<E: Extracted<u64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        let id = self.features.columns.id(of);
        let distinct = Statistic::Distinct(id);
        let after = Feature::Over(self.window, distinct);
        let before = Feature::Before(self.window, distinct);
        let formula = Formula::IsNew {
            after: self.features.declare_part(after),
            before: self.features.declare_part(before),
            id,
        };
        self.features.declare(name, Feature::Made(formula));
        self
    }

    /// By how many standard deviations the event's value is above the mean of the key's own
    /// history: that of the window without the event. Missing when the value is, or when there are
    /// fewer than two values before it or all of them are equal.
    pub fn zscore<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        let column = self.features.columns.value(of);
        let before = |statistic| Feature::Before(self.window, statistic);
        let formula = Formula::ZScore {
            value: self.features.declare_part(Feature::Value(column)),
            mean: self.features.declare_part(before(Statistic::Mean(column))),
            std: self.features.declare_part(before(Statistic::Std(column))),
        };
        self.features.declare(name, Feature::Made(formula));
        self
    }
}

/// The value or id of events for which a predicate holds. It captures nothing if neither closure
/// does, so the same two make the same column.
fn value_if<T, V, E: Extracted<V>, P: Extracted<bool>>(
    of: impl Fn(&T) -> E + 'static,
    when: impl Fn(&T) -> P + 'static,
) -> impl Fn(&T) -> Option<V> + 'static {
    move |event| match when(event).extracted() {
        Some(true) => of(event).extracted(),
        _ => None,
    }
}
