//! What counts as drift: days unlike the ones that the model was trained on.

use std::path::Path;

use thalweg::prelude::*;

/// Left out, because they fill up in the course of the first week, whatever happens then.
const LEFT_OUT: [&str; 10] = [
    "amount_z_7d",
    "online_7d",
    "abroad_7d",
    "frauds_7d",
    "merchant_z_7d",
    "merchant_fraud_7d",
    "pair_count_7d",
    "pair_sum_7d",
    "fraud_share",
    // Hours that a last, unfinished day lacks.
    "hour",
];

/// Fires in the second day in a row that is unlike the training data.
pub(crate) fn daily(reference: &Path) -> Watch {
    Watch::against(reference)
        .every(days(1))
        .psi(0.2)
        .for_windows(2)
        .except(LEFT_OUT)
}
