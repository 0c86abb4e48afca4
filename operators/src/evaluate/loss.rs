//! Losses of a single prediction.

/// Probabilities are kept this far from 0 and 1 in the log loss, so that one confident error does
/// not make it infinite; scikit-learn's bound before its 1.3.
pub const LOG_LOSS_CLIP: f64 = 1e-15;

/// The negative natural logarithm of what `probability` gave to the `label` that came.
pub(super) fn log_loss(probability: f64, label: bool) -> f64 {
    let clipped = probability.clamp(LOG_LOSS_CLIP, 1.0 - LOG_LOSS_CLIP);
    if label {
        -clipped.ln()
    } else {
        -(1.0 - clipped).ln()
    }
}

/// The squared distance of `probability` from the `label` that came (0 or 1). Source: Brier,
/// "Verification of forecasts expressed in terms of probability" (1950), for two classes.
pub(super) fn brier(probability: f64, label: bool) -> f64 {
    (probability - f64::from(u8::from(label))).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn log_loss_is_of_the_label_that_came() {
        check(log_loss(0.9, true), 0.105_360_515_657_826_28);
        check(log_loss(0.9, false), 2.302_585_092_994_045_5);
        check(log_loss(0.5, true), std::f64::consts::LN_2);
    }

    #[test]
    fn a_confident_error_is_bounded() {
        check(log_loss(0.0, true), 34.538_776_394_910_684);
        assert!((log_loss(1.0, false) - 34.539).abs() < 0.001);
        assert!(log_loss(1.0, true) < 2e-15);
    }

    #[test]
    fn brier_is_the_squared_error() {
        check(brier(0.9, true), 0.01);
        check(brier(0.9, false), 0.81);
    }
}
