//! The part of [`WindowFeatures`] that keeps an [`Aggregate`] each.

use std::time::Duration;

use super::builder::FEATURES_MAX;
use super::error::FeatureError;
use super::extract::Extracted;
use super::input::AggregateInput;
use super::over::WindowFeatures;
use crate::aggregate::{
    Aggregate, AggregateError, ApproxDistinct, BottomK, DdQuantile, Entropy, Ewma, First, FirstN,
    Histogram, InterArrivalMean, InterArrivalStd, KllQuantile, Kurtosis, Last, LastN, MostFrequent,
    Quantile, Skew, Slope, Streak, TopK,
};
use crate::window::{Feature, SlotAnswer, SlotOutput, SlotSpec};

/// An aggregate to declare: its name, how it is told from others in the layout of the state, and
/// how many features it gives if they are numbered.
struct Described<'a> {
    name: &'a str,
    description: String,
    answers: Option<usize>,
}

impl<'a> Described<'a> {
    /// One feature.
    fn one(name: &'a str, description: impl Into<String>) -> Self {
        Self {
            name,
            description: description.into(),
            answers: None,
        }
    }

    /// So many features.
    fn many(name: &'a str, description: impl Into<String>, answers: usize) -> Self {
        Self {
            answers: Some(answers),
            ..Self::one(name, description)
        }
    }
}

/// Features of aggregates that keep something of their own for each key and window.
///
/// Over a bounded window an aggregate that can let events go holds one state per key and window,
/// which costs an addition and a removal an event; one that cannot (sketches, least and greatest
/// values, moving averages) holds states of parts of the window, a few dozen rows each, and merges
/// them. Over [`ever`](super::Features::ever) events are taken in as they arrive. What an aggregate
/// takes in space, and where an answer is approximate, stands with the aggregate.
///
/// A late event has every aggregate whose window it is in made anew from the log.
impl<T: 'static> WindowFeatures<'_, T> {
    /// Any aggregate that answers with a number, of what the closure takes from each event: see
    /// [`AggregateInput`].
    ///
    /// The layout of the state does not know the type of the aggregate, so one that changes needs
    /// another name.
    pub fn aggregate<A, E>(self, name: &str, aggregate: A, of: impl Fn(&T) -> E + 'static) -> Self
    where
        A: Aggregate<Output = f64>,
        A::Input: AggregateInput,
        E: Extracted<A::Input>,
    {
        self.slot(Described::one(name, "aggregate"), aggregate, of)
    }

    /// Any aggregate that answers with several numbers, as `count` features `name_0`, `name_1` and
    /// so on. Where there are fewer numbers, the last features are missing; surplus numbers are
    /// dropped.
    pub fn aggregate_many<A, E>(
        self,
        name: &str,
        count: usize,
        aggregate: A,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self
    where
        A: Aggregate<Output = Vec<f64>>,
        A::Input: AggregateInput,
        E: Extracted<A::Input>,
    {
        self.slot(Described::many(name, "aggregate", count), aggregate, of)
    }

    /// The skew of the present values, as [`Skew`].
    pub fn skew<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "skew"), Skew, of)
    }

    /// The excess kurtosis of the present values, as [`Kurtosis`].
    pub fn kurtosis<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "kurtosis"), Kurtosis, of)
    }

    /// The earliest present value in the window.
    pub fn first<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "first"), First, of)
    }

    /// The latest present value in the window: the event's own, if it has one and is not excluded.
    /// The latest before the event, however long ago, is [`Features::last`](super::Features::last).
    pub fn last<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "last"), Last, of)
    }

    /// The earliest `n` present values, earliest first, as features `name_0` to `name_{n-1}`.
    pub fn first_n<E: Extracted<f64>>(
        self,
        name: &str,
        n: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("first_n[{n}]"), n);
        self.slot(described, FirstN(n), of)
    }

    /// The latest `n` present values, earliest first, as features `name_0` to `name_{n-1}`.
    pub fn last_n<E: Extracted<f64>>(
        self,
        name: &str,
        n: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("last_n[{n}]"), n);
        self.slot(described, LastN(n), of)
    }

    /// The greatest `k` present values, greatest first, as features `name_0` to `name_{k-1}`.
    pub fn top_k<E: Extracted<f64>>(
        self,
        name: &str,
        k: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("top_k[{k}]"), k);
        self.slot(described, TopK(k), of)
    }

    /// The least `k` present values, least first, as features `name_0` to `name_{k-1}`.
    pub fn bottom_k<E: Extracted<f64>>(
        self,
        name: &str,
        k: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("bottom_k[{k}]"), k);
        self.slot(described, BottomK(k), of)
    }

    /// The exact quantile `q` (0.5 is the median), as [`Quantile`]: for up to some ten thousand
    /// events in the window.
    pub fn quantile<E: Extracted<f64>>(
        self,
        name: &str,
        q: f64,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("quantile[{q}]"));
        self.checked(described, Quantile::new(q), of)
    }

    /// Several exact quantiles from one state, as features `name_0`, `name_1` and so on.
    pub fn quantiles<E: Extracted<f64>>(
        self,
        name: &str,
        qs: &[f64],
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("quantiles{qs:?}"), qs.len());
        self.checked(described, Quantile::new(qs.to_vec()), of)
    }

    /// The quantile `q` to a relative error of `accuracy`, as [`DdQuantile`]: for any number of
    /// events.
    pub fn approx_quantile<E: Extracted<f64>>(
        self,
        name: &str,
        q: f64,
        accuracy: f64,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("approx_quantile[{q},{accuracy}]"));
        self.checked(described, DdQuantile::new(q, accuracy), of)
    }

    /// The quantile `q` to a rank error, from a sketch of some `kept` values, as [`KllQuantile`].
    /// It cannot let events go, so over a bounded window [`approx_quantile`](Self::approx_quantile)
    /// is cheaper; it is for values whose scale is not known, and for [`ever`](super::Features::ever).
    pub fn kll_quantile<E: Extracted<f64>>(
        self,
        name: &str,
        q: f64,
        kept: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("kll_quantile[{q},{kept}]"));
        self.checked(described, KllQuantile::new(q, kept), of)
    }

    /// The approximate number of different ids, as [`ApproxDistinct`]: standard error
    /// 1.04 / sqrt(2^precision), 2.3 % for 11. The log holds every id of a bounded window anyway,
    /// where [`distinct`](Self::distinct) is exact and cheaper; it is for
    /// [`ever`](super::Features::ever).
    pub fn approx_distinct<E: Extracted<u64>>(
        self,
        name: &str,
        precision: u8,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("approx_distinct[{precision}]"));
        self.checked(described, ApproxDistinct::new(precision), of)
    }

    /// How many events the most frequent id has; missing when there are none, or more than `limit`
    /// different ids. Its share is this over the count of events: see
    /// [`ratio`](super::Features::ratio).
    pub fn most_frequent<E: Extracted<u64>>(
        self,
        name: &str,
        limit: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("most_frequent[{limit}]"));
        self.slot(described, MostFrequent::up_to(limit), of)
    }

    /// The entropy of a category in bits; missing when there are no events, or more than `limit`
    /// different categories.
    pub fn entropy<E: Extracted<u64>>(
        self,
        name: &str,
        limit: usize,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("entropy[{limit}]"));
        self.slot(described, Entropy::up_to(limit), of)
    }

    /// How many present values lie below the first edge, from each edge up to the next, and from the
    /// last edge on: for `k` edges, features `name_0` to `name_k`.
    pub fn histogram<E: Extracted<f64>>(
        self,
        name: &str,
        edges: &[f64],
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::many(name, format!("histogram{edges:?}"), edges.len() + 1);
        self.checked(described, Histogram::new(edges.to_vec()), of)
    }

    /// The mean gap between an event and the next, in seconds; missing below two events.
    pub fn inter_arrival_mean(self, name: &str) -> Self {
        let described = Described::one(name, "inter_arrival_mean");
        self.slot(described, InterArrivalMean, event)
    }

    /// The sample standard deviation of the gaps between an event and the next, in seconds; missing
    /// below two gaps.
    pub fn inter_arrival_std(self, name: &str) -> Self {
        let described = Described::one(name, "inter_arrival_std");
        self.slot(described, InterArrivalStd, event)
    }

    /// For how many of the latest events in a row the predicate holds, of those for which its answer
    /// is known.
    pub fn streak<E: Extracted<bool>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "streak"), Streak, of)
    }

    /// By how much the present values rise in a second of event time, by the least-squares line
    /// through them; missing when they are not of at least two different times.
    pub fn slope<E: Extracted<f64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        self.slot(Described::one(name, "slope"), Slope, of)
    }

    /// The mean of the present values, of which a value weighs half as much for every half-life that
    /// it is old, as [`Ewma`]. It fades by itself, so it is cheapest over
    /// [`ever`](super::Features::ever), where it takes in a late event by its age, too.
    pub fn ewma<E: Extracted<f64>>(
        self,
        name: &str,
        half_life: Duration,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self {
        let described = Described::one(name, format!("ewma[{}us]", half_life.as_micros()));
        self.checked(described, Ewma::new(half_life), of)
    }

    /// Declares an aggregate, unless its settings cannot be.
    fn checked<A, E>(
        self,
        described: Described<'_>,
        aggregate: Result<A, AggregateError>,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self
    where
        A: Aggregate,
        A::Input: AggregateInput,
        A::Output: SlotOutput,
        E: Extracted<A::Input>,
    {
        match aggregate {
            Ok(aggregate) => self.slot(described, aggregate, of),
            Err(error) => self.refused(described.name, error.to_string()),
        }
    }

    fn refused(self, name: &str, reason: String) -> Self {
        let name = name.to_owned();
        let error = FeatureError::InvalidSetting { name, reason };
        self.features.errors.push(error);
        self
    }

    /// Declares an aggregate and its features.
    fn slot<A, E>(
        self,
        described: Described<'_>,
        aggregate: A,
        of: impl Fn(&T) -> E + 'static,
    ) -> Self
    where
        A: Aggregate,
        A::Input: AggregateInput,
        A::Output: SlotOutput,
        E: Extracted<A::Input>,
    {
        let Described {
            name,
            description,
            answers,
        } = described;
        let count = answers.unwrap_or(1);
        if !(1..=FEATURES_MAX).contains(&count) {
            let reason = format!("it asks for {count} values, not for 1 to {FEATURES_MAX}");
            return self.refused(name, reason);
        }
        let column =
            <A::Input as super::input::sealed::InColumn>::column(&mut self.features.columns, of);
        let bounded = self.window.is_some();
        let spec = SlotSpec::new(aggregate, bounded, self.excluding, count);
        let slot = self.features.add_slot(description, spec);
        for answer in 0..count {
            let feature = Feature::Slot(SlotAnswer {
                slot,
                window: self.window,
                column,
                answer,
            });
            if answers.is_some() {
                self.features.declare(&format!("{name}_{answer}"), feature);
            } else {
                self.features.declare(name, feature);
            }
        }
        self
    }
}

/// Takes nothing from an event: one column for all that need no more.
fn event<T>(_: &T) {}
