//! The life cycle of an alert: pending, firing, resolved, with hysteresis.

use serde::{Deserialize, Serialize};

use super::alert::AlertState;

/// When an alert fires and when it resolves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// A value above this is too high.
    pub threshold: f64,
    /// How many windows in a row must be too high before the alert fires; 0 is taken as 1.
    pub for_windows: u32,
    /// A value below this counts towards resolving; at most the threshold. Between the two an
    /// alert stays what it is, so that a value near the threshold does not flap.
    pub resolve_below: f64,
    /// How many windows in a row must be below before the alert resolves; 0 is taken as 1.
    pub resolve_after: u32,
    /// A window with fewer samples is skipped: it neither counts nor breaks a row of windows.
    pub minimum_samples: u64,
}

impl Rule {
    /// Fires on the first window above `threshold`, resolves on the first below 0.8 of it, and
    /// asks for no minimum of samples.
    pub fn above(threshold: f64) -> Self {
        Self {
            threshold,
            for_windows: 1,
            resolve_below: 0.8 * threshold,
            resolve_after: 1,
            minimum_samples: 0,
        }
    }
}

/// Where one subject and statistic stands in its life cycle; the state of an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Nothing is wrong.
    #[default]
    Quiet,
    /// Too high, but not for long enough.
    Pending {
        /// Windows in a row that were too high.
        windows: u32,
    },
    /// An alert has fired and is not resolved.
    Firing {
        /// Windows in a row that were low enough to resolve.
        windows_below: u32,
    },
}

impl Lifecycle {
    /// Takes the value of the next window and gives the alert it sets off, if any.
    ///
    /// A window with too few samples, or whose value is NaN, changes nothing.
    pub fn observe(&mut self, rule: &Rule, value: f64, samples: u64) -> Option<AlertState> {
        if samples < rule.minimum_samples || value.is_nan() {
            return None;
        }
        match *self {
            Self::Quiet => self.too_high(rule, value, 0),
            Self::Pending { windows } => self.too_high(rule, value, windows),
            Self::Firing { windows_below } => self.low_enough(rule, value, windows_below),
        }
    }

    /// While not firing, after `windows` windows in a row that were too high.
    fn too_high(&mut self, rule: &Rule, value: f64, windows: u32) -> Option<AlertState> {
        if value <= rule.threshold {
            *self = Self::Quiet;
            return None;
        }
        let windows = windows + 1;
        if windows < rule.for_windows {
            *self = Self::Pending { windows };
            return None;
        }
        *self = Self::Firing { windows_below: 0 };
        Some(AlertState::Firing)
    }

    /// While firing, after `windows_below` windows in a row that were low enough.
    fn low_enough(&mut self, rule: &Rule, value: f64, windows_below: u32) -> Option<AlertState> {
        if value >= rule.resolve_below {
            *self = Self::Firing { windows_below: 0 };
            return None;
        }
        let windows_below = windows_below + 1;
        if windows_below < rule.resolve_after {
            *self = Self::Firing { windows_below };
            return None;
        }
        *self = Self::Quiet;
        Some(AlertState::Resolved)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs `values` through the life cycle, 100 samples each, and writes down what came of each
    /// window: `F` firing, `R` resolved, `.` nothing.
    fn check(rule: &Rule, values: &[f64], expected: &str) {
        let mut lifecycle = Lifecycle::default();
        let found: String = values
            .iter()
            .map(|&value| match lifecycle.observe(rule, value, 100) {
                None => '.',
                Some(AlertState::Firing) => 'F',
                Some(AlertState::Resolved) => 'R',
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn fires_above_and_resolves_well_below() {
        check(&Rule::above(0.2), &[0.1, 0.3, 0.4, 0.1, 0.1, 0.3], ".F.R.F");
    }

    #[test]
    fn the_threshold_itself_neither_fires_nor_resolves() {
        check(&Rule::above(0.25), &[0.25, 0.26, 0.25, 0.2, 0.19], ".F..R");
    }

    #[test]
    fn hovering_around_the_threshold_does_not_flap() {
        check(&Rule::above(0.2), &[0.21, 0.19, 0.21, 0.17, 0.21], "F....");
    }

    #[test]
    fn fires_only_after_windows_in_a_row() {
        let rule = Rule {
            for_windows: 3,
            ..Rule::above(0.2)
        };
        check(&rule, &[0.3, 0.3, 0.1, 0.3, 0.3, 0.3, 0.3], ".....F.");
    }

    #[test]
    fn resolves_only_after_windows_in_a_row() {
        let rule = Rule {
            resolve_after: 2,
            ..Rule::above(0.2)
        };
        check(&rule, &[0.3, 0.1, 0.17, 0.1, 0.1, 0.1], "F...R.");
    }

    #[test]
    fn infinity_is_too_high_and_nan_is_skipped() {
        let rule = Rule {
            for_windows: 2,
            ..Rule::above(0.2)
        };
        check(
            &rule,
            &[f64::INFINITY, f64::NAN, f64::INFINITY, f64::NAN],
            "..F.",
        );
    }

    #[test]
    fn windows_with_few_samples_neither_count_nor_break_a_row() {
        let rule = Rule {
            for_windows: 2,
            minimum_samples: 200,
            ..Rule::above(0.2)
        };
        let mut lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.observe(&rule, 0.9, 200), None);
        assert_eq!(lifecycle.observe(&rule, 0.9, 199), None);
        assert_eq!(lifecycle.observe(&rule, 0.0, 199), None);
        assert_eq!(lifecycle, Lifecycle::Pending { windows: 1 });
        assert_eq!(lifecycle.observe(&rule, 0.9, 200), Some(AlertState::Firing));
        assert_eq!(lifecycle.observe(&rule, 0.0, 199), None);
        assert_eq!(
            lifecycle.observe(&rule, 0.0, 200),
            Some(AlertState::Resolved)
        );
    }

    proptest! {
        #[test]
        fn firing_and_resolved_strictly_alternate(
            windows in prop::collection::vec((0.0..0.5f64, 0..300u64), 0..200),
            for_windows in 0..4u32,
            resolve_after in 0..4u32,
            ratio in 0.0..=1.0f64,
        ) {
            let rule = Rule {
                threshold: 0.2,
                for_windows,
                resolve_below: 0.2 * ratio,
                resolve_after,
                minimum_samples: 100,
            };
            let mut lifecycle = Lifecycle::default();
            let mut next = AlertState::Firing;
            for (value, samples) in windows {
                // A restart between any two windows changes nothing.
                let json = serde_json::to_string(&lifecycle).unwrap();
                lifecycle = serde_json::from_str(&json).unwrap();
                if let Some(state) = lifecycle.observe(&rule, value, samples) {
                    prop_assert_eq!(state, next);
                    prop_assert!(samples >= 100);
                    next = match state {
                        AlertState::Firing => {
                            prop_assert!(value > rule.threshold);
                            AlertState::Resolved
                        }
                        AlertState::Resolved => {
                            prop_assert!(value < rule.resolve_below);
                            AlertState::Firing
                        }
                    };
                }
            }
        }
    }
}
