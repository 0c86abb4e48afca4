//! Periods: a score book for each period of event time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::{EventTime, days};

use super::pair::Pair;
use super::quality::{Quality, Totals};
use super::ranks::Ranks;
use super::report::QualityReport;
use super::score_book::ScoreBook;

/// Predictions and their pairs by the period that holds the **prediction's** event time, however
/// late the label comes.
///
/// Pairs are kept after their period was closed, for [`Periods::overall`]: 16 bytes each, and from
/// the first [`Periods::so_far`] on 24 bytes for each score beside them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Periods {
    size: Duration,
    offset: Duration,
    /// By period start.
    periods: BTreeMap<EventTime, Period>,
    /// Periods that end here or before are closed.
    closed_until: EventTime,
    after_close: u64,
    #[serde(skip)]
    overall: Option<QualityReport>,
    /// The pairs of all periods; `None` before somebody looks.
    #[serde(skip)]
    ranks: Option<Ranks>,
}

/// One period.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Period {
    predictions: u64,
    book: ScoreBook,
}

impl Default for Periods {
    fn default() -> Self {
        Self::weekly()
    }
}

impl Periods {
    /// Periods of a week, each from Monday 00:00 UTC.
    pub fn weekly() -> Self {
        // The epoch, 1970-01-01, was a Thursday.
        Self::new(days(7), days(4))
    }

    /// Periods of length `size`, laid out from `offset` after the Unix epoch.
    ///
    /// # Panics
    /// When `size` is shorter than a microsecond.
    pub fn new(size: Duration, offset: Duration) -> Self {
        assert!(
            size.as_micros() > 0,
            "a period must be at least one microsecond long"
        );
        Self {
            size,
            offset,
            periods: BTreeMap::new(),
            closed_until: EventTime::MIN,
            after_close: 0,
            overall: None,
            ranks: None,
        }
    }

    /// The length of a period.
    pub fn size(&self) -> Duration {
        self.size
    }

    /// Counts a prediction made at `at`.
    pub fn predicted(&mut self, at: EventTime) {
        self.period(at).predictions += 1;
    }

    /// Adds the pair of the prediction made at `at`.
    pub fn insert(&mut self, at: EventTime, pair: Pair) {
        self.count_after_close(at);
        self.period(at).book.insert(pair);
        self.rank(pair, true);
    }

    /// Takes the pair of the prediction made at `at` out again, as when its label is revised.
    pub fn remove(&mut self, at: EventTime, pair: Pair) {
        self.count_after_close(at);
        self.period(at).book.remove(pair);
        self.rank(pair, false);
    }

    /// Adds everything that `other` was given, as when several workers have counted.
    ///
    /// A period that either of the two has closed is closed: call [`Periods::close`] on the one
    /// that all are merged into.
    ///
    /// # Panics
    /// When `other` has other periods.
    pub fn merge(&mut self, other: Self) {
        let (ours, theirs) = ((self.size, self.offset), (other.size, other.offset));
        assert_eq!(ours, theirs, "invariant: merged periods are the same");
        for (start, theirs) in other.periods {
            let end = self.end(start);
            if end <= self.closed_until && end > other.closed_until {
                self.after_close += theirs.book.changes() as u64;
            }
            let period = self.periods.entry(start).or_default();
            period.predictions += theirs.predictions;
            period.book.merge(theirs.book);
        }
        self.closed_until = self.closed_until.max(other.closed_until);
        self.after_close += other.after_close;
        self.overall = None;
        self.ranks = None;
    }

    /// Reports, each once and in their order, the periods that ended `horizon` before `watermark`
    /// or earlier: long enough ago for their labels to have come.
    pub fn close(&mut self, watermark: EventTime, horizon: Duration) -> Vec<QualityReport> {
        let closed_until = watermark.saturating_sub(horizon);
        let size = self.size;
        let end = |start: EventTime| start.saturating_add(size);
        let mut reports = Vec::new();
        for (&start, period) in &mut self.periods {
            if end(start) > closed_until {
                break;
            }
            if end(start) > self.closed_until {
                reports.push(period.report((start, end(start))));
            }
        }
        self.closed_until = self.closed_until.max(closed_until);
        reports
    }

    /// The report over everything so far, closed or not, from the first period's start to the last
    /// one's end; both are the Unix epoch when there is nothing. Kept until something changes.
    pub fn overall(&mut self) -> &QualityReport {
        if self.overall.is_none() {
            self.overall = Some(self.report_overall());
        }
        self.overall
            .as_ref()
            .expect("invariant: the report was just made")
    }

    /// As [`Periods::overall`], without a look at every pair: its cost is that of the pairs that are
    /// new since the last time, and of the periods that have changed. The area under the ROC curve
    /// is the same to the bit; means are made of the periods' sums, so that they may differ from
    /// those of [`Periods::overall`] in the last digits of a double.
    pub fn so_far(&mut self) -> QualityReport {
        let mut totals = Totals::default();
        let mut has_waiting = false;
        for period in self.periods.values_mut() {
            totals.add(period.book.totals());
            has_waiting |= period.book.has_waiting();
        }
        if has_waiting {
            // Ranks know of no pair that is removed before it comes.
            self.ranks = None;
            return self.overall().clone();
        }
        let ranks = self.ranks.get_or_insert_with(|| {
            let mut ranks = Ranks::default();
            let books = self.periods.values_mut().map(|period| &mut period.book);
            books.for_each(|book| book.pairs().iter().for_each(|&p| ranks.change(p, true)));
            ranks
        });
        let quality = totals.finish(ranks.auc());
        let (span, predictions) = self.span();
        QualityReport::new(span, predictions, quality)
    }

    /// How many insertions and removals came after their period was closed: they are in
    /// [`Periods::overall`], but not in their period's report.
    pub fn after_close(&self) -> u64 {
        self.after_close
    }

    /// From the first period's start to the last one's end, and all predictions.
    fn span(&self) -> ((EventTime, EventTime), u64) {
        let first = self.periods.first_key_value().map(|(&start, _)| start);
        let last = self.periods.last_key_value().map(|(&start, _)| start);
        let span = (
            first.unwrap_or_default(),
            last.map_or_else(EventTime::default, |s| self.end(s)),
        );
        let predictions = self.periods.values().map(|period| period.predictions);
        (span, predictions.sum())
    }

    fn report_overall(&mut self) -> QualityReport {
        let (span, predictions) = self.span();
        let mut pairs = Vec::new();
        for period in self.periods.values_mut() {
            pairs.extend_from_slice(period.book.pairs());
        }
        // Sorted runs, which the stable sort recognises and merges.
        pairs.sort();
        QualityReport::new(span, predictions, Quality::of(&pairs))
    }

    fn rank(&mut self, pair: Pair, insert: bool) {
        if let Some(ranks) = &mut self.ranks {
            ranks.change(pair, insert);
        }
    }

    /// The period that holds `at`, about to be changed.
    fn period(&mut self, at: EventTime) -> &mut Period {
        self.overall = None;
        self.periods
            .entry(at.window_start(self.size, self.offset))
            .or_default()
    }

    /// The end of the period that starts at `start`.
    fn end(&self, start: EventTime) -> EventTime {
        start.saturating_add(self.size)
    }

    fn count_after_close(&mut self, at: EventTime) {
        let start = at.window_start(self.size, self.offset);
        self.after_close += u64::from(self.end(start) <= self.closed_until);
    }
}

impl Period {
    fn report(&mut self, span: (EventTime, EventTime)) -> QualityReport {
        QualityReport::new(span, self.predictions, self.book.quality().clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_engine::time::{hours, secs};

    use super::*;
    use crate::evaluate::calibration::CalibrationBin;
    use crate::evaluate::pair::tests::pairs;

    fn at(second: i64) -> EventTime {
        EventTime::from_seconds(second)
    }

    fn pair(score: f64, label: bool) -> Pair {
        Pair::new(score, label, 0.5).unwrap()
    }

    /// Start in seconds, predictions and labels of each report.
    fn check(reports: &[QualityReport], expected: &[(i64, u64, u64)]) {
        let row = |r: &QualityReport| {
            (
                r.period_start.as_micros() / 1_000_000,
                r.predictions,
                r.labels,
            )
        };
        assert_eq!(reports.iter().map(row).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn weeks_start_on_monday() {
        let mut periods = Periods::weekly();
        // 2013-01-06 and 2013-01-07, a Sunday and a Monday.
        periods.predicted(at(1_357_516_799));
        periods.predicted(at(1_357_516_800));
        let reports = periods.close(EventTime::MAX, hours(48));
        let starts: Vec<String> = reports.iter().map(|r| r.period_start.to_string()).collect();
        assert_eq!(starts, ["2012-12-31T00:00:00Z", "2013-01-07T00:00:00Z"]);
        assert_eq!(reports[0].period_end, reports[1].period_start);
    }

    #[test]
    fn a_period_is_reported_once_when_its_labels_have_had_time() {
        let mut periods = Periods::new(secs(10), secs(0));
        for second in [3, 5, 15, 25] {
            periods.predicted(at(second));
        }
        periods.insert(at(5), pair(0.5, true));
        check(&periods.close(at(13), secs(4)), &[]);
        check(&periods.close(at(14), secs(4)), &[(0, 2, 1)]);
        periods.insert(at(15), pair(0.5, true));
        check(&periods.close(at(24), secs(4)), &[(10, 1, 1)]);
        check(&periods.close(at(14), secs(4)), &[]);
        check(&periods.close(EventTime::MAX, secs(4)), &[(20, 1, 0)]);
        check(&periods.close(EventTime::MAX, secs(4)), &[]);
    }

    #[test]
    fn a_label_after_the_close_is_counted_and_in_the_overall_report() {
        let mut periods = Periods::new(secs(10), secs(0));
        periods.predicted(at(5));
        periods.predicted(at(15));
        periods.insert(at(15), pair(0.1, false));
        check(&periods.close(at(10), secs(0)), &[(0, 1, 0)]);
        periods.insert(at(5), pair(0.9, true));
        assert_eq!(periods.after_close(), 1);
        let overall = periods.overall();
        assert_eq!((overall.period_start, overall.period_end), (at(0), at(20)));
        assert_eq!(
            (overall.label_coverage, overall.auc),
            (Some(1.0), Some(1.0))
        );
        periods.remove(at(15), pair(0.1, false));
        assert_eq!(periods.overall().auc, None);
        assert_eq!(periods.overall().label_coverage, Some(0.5));

        let mut other = Periods::new(secs(10), secs(0));
        other.insert(at(5), pair(0.8, true));
        other.insert(at(15), pair(0.8, true));
        periods.merge(other);
        assert_eq!(periods.after_close(), 2);
    }

    #[test]
    fn nothing_gives_an_empty_report() {
        let mut periods = Periods::weekly();
        check(&periods.close(EventTime::MAX, secs(0)), &[]);
        let overall = periods.overall();
        assert_eq!((overall.predictions, overall.label_coverage), (0, None));
        assert_eq!(overall.period_start, overall.period_end);
    }

    proptest! {
        /// Pairs are spread over three workers, asked for reports or not, saved and read again.
        #[test]
        fn the_number_of_workers_cannot_be_seen(
            pairs in pairs(0..60),
            seconds in prop::collection::vec(-30i64..30, 60),
            ask_between in any::<bool>(),
        ) {
            let mut alone = Periods::new(secs(10), secs(3));
            let mut workers = vec![alone.clone(); 3];
            for (index, (&pair, &second)) in pairs.iter().zip(&seconds).enumerate() {
                let worker = &mut workers[index % 3];
                for periods in [&mut alone, &mut *worker] {
                    periods.predicted(at(second));
                    periods.insert(at(second), pair);
                }
                if ask_between {
                    worker.overall();
                }
            }
            let mut merged = workers.pop().expect("there are three");
            workers.into_iter().for_each(|worker| merged.merge(worker));
            let bytes = postcard::to_allocvec(&merged).unwrap();
            let mut merged: Periods = postcard::from_bytes(&bytes).unwrap();
            let bits = |periods: &mut Periods| {
                let overall = periods.overall().clone();
                serde_json::to_string(&(overall, periods.close(EventTime::MAX, secs(0)))).unwrap()
            };
            prop_assert_eq!(bits(&mut merged), bits(&mut alone));
        }
    }

    /// The figures of a report that are means, with those of its bins.
    fn means(report: &QualityReport) -> Vec<Option<f64>> {
        let of_bin = |bin: &CalibrationBin| [bin.mean_score, bin.positives_share];
        let bins = report.calibration.iter().flat_map(of_bin);
        let losses = [report.log_loss, report.baseline_log_loss, report.brier];
        losses.into_iter().chain([report.ece]).chain(bins).collect()
    }

    /// Expects figures so far that are those of all pairs: counts and the area under the curve
    /// exactly, means but for the rounding of sums.
    fn check_so_far(periods: &mut Periods) -> Result<(), TestCaseError> {
        let so_far = periods.so_far();
        let overall = periods.overall().clone();
        let exact = |report: &QualityReport| QualityReport {
            log_loss: None,
            baseline_log_loss: None,
            brier: None,
            ece: None,
            calibration: Vec::new(),
            ..report.clone()
        };
        prop_assert_eq!(exact(&so_far), exact(&overall));
        let counts = |report: &QualityReport| -> Vec<u64> {
            report.calibration.iter().map(|bin| bin.n).collect()
        };
        prop_assert_eq!(counts(&so_far), counts(&overall));
        for (found, expected) in means(&so_far).into_iter().zip(means(&overall)) {
            let distance = found.unwrap_or(-1.0) - expected.unwrap_or(-1.0);
            prop_assert!(distance.abs() <= 1e-12, "{:?} is not {:?}", found, expected);
        }
        Ok(())
    }

    proptest! {
        /// Pairs come, labels are revised (some before they come), periods are closed, the state is
        /// saved and read again, and in between somebody looks.
        #[test]
        fn the_figures_so_far_are_those_of_all_pairs(
            pairs in pairs(0..80),
            turns in prop::collection::vec((-40i64..40, 0..8_u8), 80),
        ) {
            let mut periods = Periods::new(secs(10), secs(3));
            for (index, (&pair, &(second, turn))) in pairs.iter().zip(&turns).enumerate() {
                periods.predicted(at(second));
                periods.insert(at(second), pair);
                // One that has come, or is still to come in this period, or never comes.
                let other = index * 3 / 2 % pairs.len();
                match turn {
                    0 => periods.remove(at(turns[other].0), pairs[other]),
                    1 => periods.remove(at(second), pair),
                    2 | 3 => check_so_far(&mut periods)?,
                    4 => drop(periods.close(at(second), secs(5))),
                    5 => {
                        let bytes = postcard::to_allocvec(&periods).unwrap();
                        periods = postcard::from_bytes(&bytes).unwrap();
                    }
                    _ => {}
                }
            }
            check_so_far(&mut periods)?;
        }
    }
}
