//! What counts as drift: days unlike the ones that the model was trained on.

use std::path::Path;

use thalweg::prelude::*;

/// Left out:
const LEFT_OUT: [&str; 12] = [
    // They fill up in the course of the first week, whatever happens then.
    "amount_z_7d",
    "online_7d",
    "abroad_7d",
    "frauds_7d",
    "merchant_z_7d",
    "merchant_fraud_7d",
    "pair_count_7d",
    "pair_sum_7d",
    "fraud_share",
    // A last, unfinished day lacks hours.
    "hour",
    // Few cards pay twice in a minute.
    "std_1m",
    // Nearly all scores are next to nothing, where it does not matter which of them is greater.
    "score",
];

/// Fires in the second day in a row that is unlike the training data.
pub(crate) fn daily(reference: &Path) -> Watch {
    Watch::against(reference)
        .every(days(1))
        .psi(0.2)
        .for_windows(2)
        .except(LEFT_OUT)
}
