//! The alert: what is sent when a watched statistic starts or stops being too high.

use std::fmt;

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::statistics::Statistic;

/// Word of a drift that has begun or ended.
///
/// Of one step, subject and statistic, alerts strictly alternate between firing and resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The same for the firing and the resolving of one step, subject and statistic, in every run.
    pub dedup_key: String,
    /// The step id of the drift watch.
    pub step: String,
    /// What drifted: a column of the reference, a feature or the score.
    pub subject: String,
    /// The statistic that crossed its threshold.
    pub statistic: Statistic,
    /// The statistic's value in this window.
    pub value: f64,
    /// The threshold for firing.
    pub threshold: f64,
    /// Whether the drift begins or ends.
    pub state: AlertState,
    /// The start of the window that decided it, inclusive.
    pub window_start: EventTime,
    /// The end of the window that decided it, exclusive.
    pub window_end: EventTime,
    /// How many samples the value rests on: values of the subject, or rows for the null rate.
    pub samples: u64,
    /// The version of the model whose rows were watched, where one is known.
    pub model_version: Option<String>,
    /// The alert in a sentence for people.
    pub message: String,
}

/// Whether an alert's drift begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The statistic has been over its threshold for as many windows as asked for.
    Firing,
    /// The statistic has come down well below the threshold again.
    Resolved,
}

impl Alert {
    /// The key by which receivers recognise what belongs together: `step/subject/statistic`, with
    /// `%` and `/` within step and subject escaped as `%25` and `%2F`.
    pub fn dedup_key(step: &str, subject: &str, statistic: Statistic) -> String {
        let escaped = |part: &str| part.replace('%', "%25").replace('/', "%2F");
        format!("{}/{}/{statistic}", escaped(step), escaped(subject))
    }
}

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dedup_keys_of_different_subjects_differ() {
        let key = Alert::dedup_key;
        assert_eq!(
            key("watch", "dep_delay", Statistic::Psi),
            "watch/dep_delay/psi"
        );
        assert_ne!(
            key("a/b", "c", Statistic::Psi),
            key("a", "b/c", Statistic::Psi)
        );
        assert_ne!(
            key("a", "b/c", Statistic::Psi),
            key("a", "b%2Fc", Statistic::Psi)
        );
    }

    #[test]
    fn the_json_is_flat_and_reads_back() {
        let alert = Alert {
            dedup_key: Alert::dedup_key("watch", "score", Statistic::Psi),
            step: "watch".into(),
            subject: "score".into(),
            statistic: Statistic::Psi,
            value: 0.25,
            threshold: 0.2,
            state: AlertState::Firing,
            window_start: EventTime::from_micros(0),
            window_end: EventTime::from_micros(10),
            samples: 300,
            model_version: None,
            message: "score has drifted".into(),
        };
        let json = serde_json::to_string(&alert).unwrap();
        assert_eq!(
            json,
            "{\"dedup_key\":\"watch/score/psi\",\"step\":\"watch\",\"subject\":\"score\",\
             \"statistic\":\"psi\",\"value\":0.25,\"threshold\":0.2,\"state\":\"firing\",\
             \"window_start\":0,\"window_end\":10,\"samples\":300,\"model_version\":null,\
             \"message\":\"score has drifted\"}"
        );
        assert_eq!(serde_json::from_str::<Alert>(&json).unwrap(), alert);
    }
}
