//! Drift: how far the rows that come now have moved from the rows a model was made from.
//!
//! Everything rests on one structure, the [`Histogram`] of a column over bins that a
//! [`Reference`] has fixed beforehand. Integer counts over fixed bins can be added, merged and
//! retracted, so a statistic is the same for any number of workers and any order of arrival.
//!
//! The way of a row: each worker's [`Monitor`] counts it into the partial histograms of its
//! event-time window; the [`Merger`] adds up the [`WindowPartial`]s of all workers and makes one
//! [`DriftReport`] of each complete window; [`Alerting`] turns reports into [`Alert`]s. All three
//! are state alone, kept over a restart as they are; what they are told to do with it stands in
//! one [`WatchPlan`], which a [`Watch`] resolves before anything starts.
//!
//! The module is pure logic: it knows no streams and no clock. It leaves out sequential detectors
//! and drift over categories as strings; [`statistics`] works on plain counts, of categories too.
//!
//! ```
//! use thalweg_engine::time::{EventTime, hours};
//! use thalweg_operators::drift::{
//!     AlertState, Alerting, Column, Merger, Monitor, Reference, Watch,
//! };
//!
//! let trained_on: Vec<f64> = (0..1000).map(f64::from).collect();
//! let reference = Reference::from_columns(vec![Column::from_values("amount", &trained_on)])?;
//! let plan = Watch::against_reference(reference)
//!     .psi(0.2)
//!     .every(hours(1))
//!     .minimum_samples(100)
//!     .plan("watch", &["amount"])?;
//!
//! let (mut monitor, mut merger) = (Monitor::default(), Merger::default());
//! let mut alerting = Alerting::default();
//!
//! for second in 0..500 {
//!     monitor.add(&plan, EventTime::from_seconds(second), &[900.0]);
//! }
//! let watermark = EventTime::from_seconds(3600);
//! for partial in monitor.take_closed(&plan, watermark) {
//!     merger.merge(&plan, partial);
//! }
//! let reports = merger.advance(&plan, watermark);
//! let alerts = alerting.observe(&plan, &reports[0]);
//! assert_eq!(alerts[0].state, AlertState::Firing);
//! assert_eq!(alerts[0].dedup_key, "watch/amount/psi");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alert;
mod alerting;
mod column;
mod histogram;
mod lifecycle;
mod merger;
mod monitor;
mod partial;
mod plan;
mod reference;
mod report;
pub mod statistics;
#[cfg(test)]
mod vectors;
mod watch;

pub use alert::{Alert, AlertState};
pub use alerting::Alerting;
pub use column::Column;
pub use histogram::Histogram;
pub use lifecycle::{Lifecycle, Rule};
pub use merger::Merger;
pub use monitor::Monitor;
pub use partial::WindowPartial;
pub use plan::{StateMismatch, WatchPlan};
pub use reference::{InvalidReference, Reference, ReferenceError};
pub use report::{DriftReport, Shares, SubjectReport};
pub use statistics::Statistic;
pub use watch::{Watch, WatchError};
