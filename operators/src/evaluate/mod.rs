//! Evaluation: how good a binary classifier's scores were, told by labels that come later.
//!
//! A [`Pair`] is a prediction joined with its label. A [`ScoreBook`] is a multiset of pairs out of
//! which a pair can be taken again when its label is revised; its [`Quality`] is exact and, bit
//! for bit, a function of the pairs alone, whatever the order and the split they came in.
//! [`Periods`] keeps a book for each period of event time and makes a [`QualityReport`] of a period
//! once its labels have had time to come.
//!
//! The module is pure logic: it knows no streams and no clock. Joining predictions with labels,
//! and forgetting those that never get one, is the work of the step that feeds it.
//!
//! ```
//! use thalweg_engine::time::{EventTime, days};
//! use thalweg_operators::evaluate::{Pair, Periods};
//!
//! let mut periods = Periods::weekly();
//! let monday = EventTime::from_seconds(4 * 86_400);
//! for (score, late) in [(0.9, true), (0.2, false), (0.4, true)] {
//!     periods.predicted(monday);
//!     periods.insert(monday, Pair::new(score, late, 0.5)?);
//! }
//! periods.predicted(monday); // never gets a label
//!
//! // The last label is revised.
//! periods.remove(monday, Pair::new(0.4, true, 0.5)?);
//! periods.insert(monday, Pair::new(0.4, false, 0.5)?);
//!
//! let reports = periods.close(EventTime::from_seconds(12 * 86_400), days(1));
//! assert_eq!(reports[0].label_coverage, Some(0.75));
//! assert_eq!(reports[0].auc, Some(1.0));
//! # Ok::<(), thalweg_operators::evaluate::InvalidPair>(())
//! ```

mod auc;
mod calibration;
mod loss;
mod pair;
mod periods;
mod quality;
mod ranks;
mod report;
mod score_book;

pub use calibration::{CALIBRATION_BINS, CalibrationBin};
pub use loss::LOG_LOSS_CLIP;
pub use pair::{InvalidPair, Pair};
pub use periods::Periods;
pub use quality::Quality;
pub use report::QualityReport;
pub use score_book::ScoreBook;
