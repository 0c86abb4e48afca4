//! [`WindowFeatures`]: what is asked of one window.

use super::builder::Features;
use super::extract::Extracted;
use crate::window::Statistic;

/// Declares features over one window, the event itself included; made by [`Features::over`] and
/// [`Features::ever`]. What is missing and what an empty window gives: [`crate::aggregate`].
#[derive(Debug)]
pub struct WindowFeatures<'a, T> {
    features: &'a mut Features<T>,
    window: Option<usize>,
}

impl<'a, T: 'static> WindowFeatures<'a, T> {
    pub(super) fn new(features: &'a mut Features<T>, window: Option<usize>) -> Self {
        Self { features, window }
    }

    fn of_value<E: Extracted<f64>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        statistic: fn(usize) -> Statistic,
    ) -> Self {
        let column = self.features.columns.value(of);
        self.features
            .declare_over(name, self.window, statistic(column));
        self
    }

    fn of_flag<E: Extracted<bool>>(
        self,
        name: &str,
        of: impl Fn(&T) -> E + 'static,
        statistic: fn(usize) -> Statistic,
    ) -> Self {
        let column = self.features.columns.flag(of);
        self.features
            .declare_over(name, self.window, statistic(column));
        self
    }

    /// The number of events, whatever they carry.
    pub fn count(self, name: &str) -> Self {
        self.features
            .declare_over(name, self.window, Statistic::Count);
        self
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

    /// The exact number of different ids.
    pub fn distinct<E: Extracted<u64>>(self, name: &str, of: impl Fn(&T) -> E + 'static) -> Self {
        let column = self.features.columns.id(of);
        self.features
            .declare_over(name, self.window, Statistic::Distinct(column));
        self
    }
}
