//! What counts as drift: the model was trained on January to March, and the year goes on.

use std::path::Path;
use std::time::Duration;

use thalweg::prelude::*;

/// Midnight in New York, in winter.
const MIDNIGHT: Duration = hours(5);

/// The weather. All flights of an hour share it, so a week of it is a few weather systems, not
/// thousands of samples, and its PSI is high by chance.
const WEATHER: [&str; 6] = [
    "temp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "visib",
];

/// Left out, because no week is like the months of training:
const LEFT_OUT: [&str; 9] = [
    // A week cut short by the start or the end of the data lacks weekdays.
    "weekday",
    // Goes in waves of a week and more.
    "pressure",
    // One number for the whole city that hardly moves within a week.
    "late_share_24h",
    "late_share",
    // They look back for a week or four, so they say again, later, what the others have said.
    "dest_late_7d",
    "carrier_late_7d",
    "route_landed_28d",
    "route_late_28d",
    "route_delay_28d",
];

/// What lasts: a season, a calm autumn, the rush before Christmas. Fires in the second week in a
/// row that is unlike the training data, and resolves after two that are like it again.
pub(crate) fn weekly(reference: &Path) -> Watch {
    let watch = Watch::against(reference)
        .every(days(7))
        // The epoch was a Thursday: weeks start on Monday.
        .offset(days(4) + MIDNIGHT)
        .psi(0.25)
        .for_windows(2)
        .resolve_after(2)
        .except(LEFT_OUT);
    WEATHER
        .into_iter()
        .fold(watch, |watch, column| watch.psi_for(column, 1.0))
}

/// What is over in a day: a snowstorm, a hurricane, a day on which everything runs late. Only the
/// score is watched, as it sums all of them up, and it takes a day unlike nearly all others.
pub(crate) fn daily(reference: &Path) -> Watch {
    Watch::against(reference)
        .every(days(1))
        .offset(MIDNIGHT)
        .only(["score"])
        .psi(3.0)
        .resolve_ratio(0.5)
}
