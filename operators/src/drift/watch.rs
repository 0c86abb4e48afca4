//! The watch: what the user says about a drift step, and its checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thalweg_engine::time::days;

use super::column::Column;
use super::lifecycle::Rule;
use super::plan::WatchPlan;
use super::reference::{Reference, ReferenceError};
use super::statistics::Statistic;

/// The threshold that is watched when none is set: PSI above 0.2.
const DEFAULT_PSI: f64 = 0.2;

/// The configuration of a drift step: plain data, checked by [`Watch::plan`].
///
/// Unless told otherwise it looks at event-time windows of a day, fires when the PSI of a window
/// with 200 samples or more is above 0.2, and resolves when it is below 0.8 of that.
///
/// # Which threshold
/// Chance alone keeps far below these numbers: 35 columns that have not drifted, ten bins, 200
/// samples a window, and less than once in a hundred windows one of them comes above 0.2. So there
/// is no further correction for many columns; a threshold that is much lower wants more samples.
///
/// That holds where rows are independent. Where they are not, as when all rows of an hour share one
/// weather, a short window is never like a long reference: one day has one weekday. Give such
/// columns a longer window ([`Watch::every`], in a watch of their own by [`Watch::only`]), a higher
/// threshold ([`Watch::above_for`]), more windows in a row ([`Watch::for_windows`]), or leave them
/// out ([`Watch::except`]).
#[derive(Clone, Debug)]
pub struct Watch {
    reference: Source,
    thresholds: BTreeMap<Statistic, f64>,
    /// By column: instead of the general ones, or beside them.
    own_thresholds: BTreeMap<String, BTreeMap<Statistic, f64>>,
    only: BTreeSet<String>,
    except: BTreeSet<String>,
    size: Duration,
    offset: Duration,
    minimum_samples: u64,
    for_windows: u32,
    resolve_ratio: f64,
    resolve_after: u32,
    with_shares: bool,
    model_version: Option<String>,
}

/// Where the reference comes from.
#[derive(Clone, Debug)]
enum Source {
    Path(PathBuf),
    Loaded(Box<Reference>),
}

/// A watch that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The reference cannot be used.
    #[error("drift step `{step}`: {reason}")]
    Reference {
        /// The step id.
        step: String,
        /// What is wrong with the reference.
        reason: ReferenceError,
    },
    /// There is nothing to watch.
    #[error("drift step `{step}` watches nothing; name at least one column of its reference")]
    NoSubjects {
        /// The step id.
        step: String,
    },
    /// One column is watched twice.
    #[error("drift step `{step}` watches `{subject}` twice; name it once")]
    DuplicateSubject {
        /// The step id.
        step: String,
        /// The column.
        subject: String,
    },
    /// A watched column is not in the reference.
    #[error(
        "drift step `{step}` watches `{subject}`, which its reference lacks; it has {}: write \
         the reference again, or leave the column out", .known.join(", ")
    )]
    UnknownSubject {
        /// The step id.
        step: String,
        /// The column.
        subject: String,
        /// The columns of the reference.
        known: Vec<String>,
    },
    /// A column is named that the stream has not.
    #[error(
        "drift step `{step}` names `{column}`, which its stream lacks; it has {}: correct the name",
        .known.join(", ")
    )]
    UnknownColumn {
        /// The step id.
        step: String,
        /// The column.
        column: String,
        /// The columns of the stream.
        known: Vec<String>,
    },
    /// A threshold no value can be told by.
    #[error(
        "drift step `{step}`: threshold {threshold} for {statistic} is no limit; set a finite \
         one above 0"
    )]
    Threshold {
        /// The step id.
        step: String,
        /// The statistic.
        statistic: Statistic,
        /// Its threshold.
        threshold: f64,
    },
    /// A hysteresis that is none.
    #[error(
        "drift step `{step}`: resolve ratio {ratio} is not above 0 and at most 1; an alert \
         resolves below that share of its threshold"
    )]
    ResolveRatio {
        /// The step id.
        step: String,
        /// The ratio.
        ratio: f64,
    },
    /// Windows without length.
    #[error("drift step `{step}`: windows are shorter than a microsecond; set a longer `every`")]
    WindowTooShort {
        /// The step id.
        step: String,
    },
}

impl Watch {
    /// Watches drift from the reference in the file at `path`, which is read by [`Watch::plan`].
    pub fn against(path: impl Into<PathBuf>) -> Self {
        Self::from_source(Source::Path(path.into()))
    }

    /// Watches drift from a reference that is at hand already.
    pub fn against_reference(reference: Reference) -> Self {
        Self::from_source(Source::Loaded(Box::new(reference)))
    }

    fn from_source(reference: Source) -> Self {
        Self {
            reference,
            thresholds: BTreeMap::new(),
            own_thresholds: BTreeMap::new(),
            only: BTreeSet::new(),
            except: BTreeSet::new(),
            size: days(1),
            offset: Duration::ZERO,
            minimum_samples: 200,
            for_windows: 1,
            resolve_ratio: 0.8,
            resolve_after: 1,
            with_shares: false,
            model_version: None,
        }
    }

    /// Alerts when the PSI of a column is above `threshold`; 0.2 when no threshold at all is set.
    pub fn psi(self, threshold: f64) -> Self {
        self.above(Statistic::Psi, threshold)
    }

    /// Alerts when `statistic` of a column is above `threshold`, beside other thresholds.
    pub fn above(mut self, statistic: Statistic, threshold: f64) -> Self {
        self.thresholds.insert(statistic, threshold);
        self
    }

    /// Alerts when `statistic` of `column` is above `threshold`, whatever is set for the others.
    pub fn above_for(
        mut self,
        column: impl Into<String>,
        statistic: Statistic,
        threshold: f64,
    ) -> Self {
        let own = self.own_thresholds.entry(column.into()).or_default();
        own.insert(statistic, threshold);
        self
    }

    /// Alerts when the PSI of `column` is above `threshold`, whatever is set for the others.
    pub fn psi_for(self, column: impl Into<String>, threshold: f64) -> Self {
        self.above_for(column, Statistic::Psi, threshold)
    }

    /// Watches these columns alone.
    pub fn only<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.only.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Leaves these columns out.
    pub fn except<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.except.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Sets the length of the tumbling event-time windows; a day by default.
    pub fn every(mut self, size: Duration) -> Self {
        self.size = size;
        self
    }

    /// Lays the windows out from `offset` after the Unix epoch, so that a day may start at another
    /// hour than 00:00 UTC; none by default.
    pub fn offset(mut self, offset: Duration) -> Self {
        self.offset = offset;
        self
    }

    /// Skips a column in windows with fewer values (for the null rate: rows) than `samples`; 200
    /// by default.
    pub fn minimum_samples(mut self, samples: u64) -> Self {
        self.minimum_samples = samples;
        self
    }

    /// Fires only after `windows` windows in a row above the threshold; 1 by default.
    pub fn for_windows(mut self, windows: u32) -> Self {
        self.for_windows = windows;
        self
    }

    /// Resolves only below `ratio` times the threshold, above 0 and at most 1; 0.8 by default.
    pub fn resolve_ratio(mut self, ratio: f64) -> Self {
        self.resolve_ratio = ratio;
        self
    }

    /// Resolves only after `windows` windows in a row that are low enough; 1 by default.
    pub fn resolve_after(mut self, windows: u32) -> Self {
        self.resolve_after = windows;
        self
    }

    /// Puts the shares of every bin into the reports as well.
    pub fn with_shares(mut self) -> Self {
        self.with_shares = true;
        self
    }

    /// Names the version of the model whose rows are watched, for reports and alerts.
    pub fn model_version(mut self, version: impl Into<String>) -> Self {
        self.model_version = Some(version.into());
        self
    }

    /// Reads the reference and checks everything, for the step called `step`, which watches the
    /// columns `subjects`, as far as they are not left out; rows are given to the
    /// [`Monitor`](super::Monitor) in that order, and [`WatchPlan::places`] tells which are needed.
    ///
    /// Columns of the reference that are not among `subjects` are left out, too.
    ///
    /// # Errors
    /// When the reference cannot be used or lacks a subject, or a setting makes no sense.
    pub fn plan<S: AsRef<str>>(
        &self,
        step: &str,
        subjects: &[S],
    ) -> Result<Arc<WatchPlan>, WatchError> {
        let subjects: Vec<&str> = subjects.iter().map(AsRef::as_ref).collect();
        let places = self.places(step, &subjects)?;
        let watched: Vec<&str> = places.iter().map(|place| subjects[*place]).collect();
        let rules = |subject: &&str| self.rules(step, subject);
        let rules = watched.iter().map(rules).collect::<Result<_, _>>()?;
        if self.size.as_micros() == 0 {
            return Err(WatchError::WindowTooShort {
                step: step.to_owned(),
            });
        }
        let loaded;
        let reference = match &self.reference {
            Source::Loaded(reference) => &**reference,
            Source::Path(path) => {
                let step = step.to_owned();
                loaded = Reference::from_path(path)
                    .map_err(|reason| WatchError::Reference { step, reason })?;
                &loaded
            }
        };
        Ok(Arc::new(WatchPlan {
            step: step.to_owned(),
            columns: columns(step, &watched, reference)?,
            places,
            size: self.size,
            offset: self.offset,
            rules,
            with_shares: self.with_shares,
            model_version: self.model_version.clone(),
        }))
    }

    /// Where the columns that are not left out stand in `subjects`.
    fn places(&self, step: &str, subjects: &[&str]) -> Result<Vec<usize>, WatchError> {
        let named = self.only.iter().chain(&self.except);
        let named = named.chain(self.own_thresholds.keys());
        for column in named {
            if !subjects.contains(&column.as_str()) {
                return Err(WatchError::UnknownColumn {
                    step: step.to_owned(),
                    column: column.clone(),
                    known: subjects.iter().map(|&known| known.to_owned()).collect(),
                });
            }
        }
        let is_watched = |subject: &str| {
            (self.only.is_empty() || self.only.contains(subject)) && !self.except.contains(subject)
        };
        let places = (0..subjects.len()).filter(|place| is_watched(subjects[*place]));
        Ok(places.collect())
    }

    /// The rule of each watched statistic of a column.
    fn rules(&self, step: &str, column: &str) -> Result<BTreeMap<Statistic, Rule>, WatchError> {
        let ratio = self.resolve_ratio;
        if !(ratio > 0.0 && ratio <= 1.0) {
            return Err(WatchError::ResolveRatio {
                step: step.to_owned(),
                ratio,
            });
        }
        let mut thresholds = self.thresholds.clone();
        if thresholds.is_empty() {
            thresholds.insert(Statistic::Psi, DEFAULT_PSI);
        }
        thresholds.extend(self.own_thresholds.get(column).into_iter().flatten());
        let rule = |(statistic, threshold): (Statistic, f64)| {
            if !(threshold.is_finite() && threshold > 0.0) {
                let step = step.to_owned();
                return Err(WatchError::Threshold {
                    step,
                    statistic,
                    threshold,
                });
            }
            let rule = Rule {
                threshold,
                for_windows: self.for_windows,
                resolve_below: ratio * threshold,
                resolve_after: self.resolve_after,
                minimum_samples: self.minimum_samples,
            };
            Ok((statistic, rule))
        };
        thresholds.into_iter().map(rule).collect()
    }
}

/// The columns of `reference` that are watched, in the order of `subjects`.
fn columns(
    step: &str,
    subjects: &[&str],
    reference: &Reference,
) -> Result<Vec<Column>, WatchError> {
    let step = || step.to_owned();
    if subjects.is_empty() {
        return Err(WatchError::NoSubjects { step: step() });
    }
    let mut seen = BTreeSet::new();
    let mut columns = Vec::new();
    for &subject in subjects {
        let name = || subject.to_owned();
        if !seen.insert(subject) {
            return Err(WatchError::DuplicateSubject {
                step: step(),
                subject: name(),
            });
        }
        let Some(column) = reference.column(subject) else {
            let known = reference
                .columns()
                .iter()
                .map(|known| known.name().to_owned())
                .collect();
            return Err(WatchError::UnknownSubject {
                step: step(),
                subject: name(),
                known,
            });
        };
        columns.push(column.clone());
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        let column = |name| Column::from_values(name, &[1.0, 2.0, 3.0]);
        let columns = vec![column("hour"), column("score")];
        Watch::against_reference(Reference::from_columns(columns).unwrap())
    }

    fn check_refused(watch: &Watch, subjects: &[&str], parts: &[&str]) {
        let message = watch.plan("watch", subjects).unwrap_err().to_string();
        for part in parts.iter().chain(&["`watch`"]) {
            assert!(message.contains(part), "no `{part}` in: {message}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_refused_with_the_remedy() {
        check_refused(&watch(), &[], &["at least one"]);
        check_refused(&watch(), &["hour", "hour"], &["`hour` twice"]);
        check_refused(
            &watch(),
            &["hour", "day"],
            &["`day`", "hour, score", "leave"],
        );
        check_refused(&watch().except(["hour"]), &["hour"], &["at least one"]);
        let misspelt = ["`huor`", "hour, score", "correct the name"];
        check_refused(&watch().except(["huor"]), &["hour", "score"], &misspelt);
        check_refused(&watch().only(["huor"]), &["hour", "score"], &misspelt);
        check_refused(&watch().psi_for("huor", 1.0), &["hour", "score"], &misspelt);
        check_refused(
            &watch().psi_for("hour", 0.0),
            &["hour"],
            &["psi", "above 0"],
        );
        check_refused(&watch().psi(0.0), &["hour"], &["psi", "above 0"]);
        check_refused(&watch().psi(f64::NAN), &["hour"], &["psi", "NaN"]);
        check_refused(
            &watch().resolve_ratio(1.1),
            &["hour"],
            &["1.1", "at most 1"],
        );
        check_refused(
            &watch().every(Duration::from_nanos(1)),
            &["hour"],
            &["`every`"],
        );
        let missing = Watch::against("no/such/reference.json");
        check_refused(
            &missing,
            &["hour"],
            &["no/such/reference.json", "check the path"],
        );
    }

    #[test]
    fn psi_above_a_fifth_is_watched_unless_something_else_is() {
        let statistics = |watch: Watch| -> Vec<(Statistic, f64, f64)> {
            let plan = watch.plan("watch", &["score"]).unwrap();
            let rules = plan.rules[0].iter();
            rules
                .map(|(&s, rule)| (s, rule.threshold, rule.resolve_below))
                .collect()
        };
        assert_eq!(statistics(watch()), [(Statistic::Psi, 0.2, 0.8 * 0.2)]);
        let nulls = watch().above(Statistic::NullRate, 0.5).resolve_ratio(1.0);
        assert_eq!(statistics(nulls), [(Statistic::NullRate, 0.5, 0.5)]);
    }

    #[test]
    fn a_column_can_have_thresholds_of_its_own_or_be_left_out() {
        let watch = watch()
            .psi_for("hour", 1.0)
            .above_for("hour", Statistic::Ks, 0.5);
        let plan = watch.plan("watch", &["score", "hour"]).unwrap();
        let thresholds = |column: usize| -> Vec<(Statistic, f64)> {
            let rules = plan.rules[column].iter();
            rules.map(|(&s, rule)| (s, rule.threshold)).collect()
        };
        assert_eq!(thresholds(0), [(Statistic::Psi, 0.2)]);
        assert_eq!(thresholds(1), [(Statistic::Psi, 1.0), (Statistic::Ks, 0.5)]);
        for watch in [
            self::watch().only(["hour"]),
            self::watch().except(["score"]),
        ] {
            let plan = watch.plan("watch", &["score", "hour"]).unwrap();
            assert_eq!(plan.subjects().collect::<Vec<_>>(), ["hour"]);
            assert_eq!(plan.places(), [1]);
        }
    }

    #[test]
    fn subjects_are_in_the_order_asked_for() {
        let plan = watch().plan("watch", &["score", "hour"]).unwrap();
        assert_eq!(plan.subjects().collect::<Vec<_>>(), ["score", "hour"]);
    }
}
