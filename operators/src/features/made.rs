//! Features that are made of others.

use super::builder::{Declared, Features};
use super::error::FeatureError;
use crate::window::{Feature, Formula};

impl<T: 'static> Features<T> {
    /// One feature over another, both declared before: such as the sum over an hour as a part of the
    /// sum over a day. Missing when either is, or the second is zero. What
    /// [`truncated`](super::WindowFeatures::truncated) says has no ratio.
    ///
    /// ```
    /// # use thalweg_engine::time::{EventTime, secs};
    /// # use thalweg_operators::features::{Features, KeyFeatures};
    /// let mut f = Features::<f64>::new();
    /// f.over(secs(10)).sum("sum_10s", |v| *v);
    /// f.over(secs(60)).sum("sum_60s", |v| *v);
    /// f.ratio("part", "sum_10s", "sum_60s");
    /// let mut plan = f.build().expect("the features are declared well");
    /// let (mut key, mut row) = (KeyFeatures::default(), Vec::new());
    /// plan.update(&mut key, &3.0, EventTime::from_seconds(0), &mut row);
    /// row.clear();
    /// plan.update(&mut key, &1.0, EventTime::from_seconds(30), &mut row);
    /// assert_eq!(row, [1.0, 4.0, 0.25]);
    /// ```
    pub fn ratio(&mut self, name: &str, of: &str, to: &str) {
        if let (Some(of), Some(to)) = (self.number_of(of, name), self.number_of(to, name)) {
            let scale = (1, 1);
            self.declare(name, Feature::Made(Formula::Ratio { of, to, scale }));
        }
    }

    /// How much faster something has gone of late: a feature over a short window over the same over
    /// a long one, both declared before. Counts and sums are taken per time, so that 1 means as
    /// fast as over the long window; all others are taken as they are. Missing when either is, or
    /// the one over the long window is zero.
    ///
    /// ```
    /// # use thalweg_engine::time::{EventTime, secs};
    /// # use thalweg_operators::features::{Features, KeyFeatures};
    /// let mut f = Features::<f64>::new();
    /// f.over(secs(10)).count("n_10s");
    /// f.over(secs(60)).count("n_60s");
    /// f.velocity("velocity", "n_10s", "n_60s");
    /// let mut plan = f.build().expect("the features are declared well");
    /// let (mut key, mut row) = (KeyFeatures::default(), Vec::new());
    /// for second in [0, 20, 55, 56, 57] {
    ///     row.clear();
    ///     plan.update(&mut key, &1.0, EventTime::from_seconds(second), &mut row);
    /// }
    /// assert_eq!(row[..2], [3.0, 5.0]);
    /// assert!((row[2] - 3.6).abs() < 1e-12, "three in 10 s over five in 60 s");
    /// ```
    pub fn velocity(&mut self, name: &str, short: &str, long: &str) {
        let (Some(of), Some(to)) = (self.number_of(short, name), self.number_of(long, name)) else {
            return;
        };
        let (Some(short), Some(long)) = (self.length_of(of, name), self.length_of(to, name)) else {
            return;
        };
        let grows = |number: usize| self.declared[number].feature.grows_with_its_window();
        let scale = if grows(of) && grows(to) {
            (long, short)
        } else {
            (1, 1)
        };
        self.declare(name, Feature::Made(Formula::Ratio { of, to, scale }));
    }

    /// The number of a feature that is declared under this name.
    fn number_of(&mut self, of: &str, for_feature: &str) -> Option<usize> {
        let is_it = |declared: &Declared| declared.name.as_deref() == Some(of);
        let found = self.declared.iter().position(is_it);
        if found.is_none() {
            self.errors.push(FeatureError::UnknownFeature {
                name: for_feature.to_owned(),
                of: of.to_owned(),
            });
        }
        let is_marker = |at: &usize| matches!(self.declared[*at].feature, Feature::Truncated(_));
        if found.as_ref().is_some_and(is_marker) {
            let reason = format!("`{of}` says of other features whether they are exact");
            self.errors.push(FeatureError::InvalidSetting {
                name: for_feature.to_owned(),
                reason,
            });
        }
        found
    }

    /// The length of the window that a feature is over.
    fn length_of(&mut self, number: usize, velocity: &str) -> Option<i64> {
        let declared = &mut self.declared[number];
        let length = declared
            .feature
            .window()
            .map(|window| self.lengths[*window]);
        if length.is_none() {
            self.errors.push(FeatureError::NoWindow {
                name: velocity.to_owned(),
                of: declared.name.clone().unwrap_or_default(),
            });
        }
        length
    }
}
