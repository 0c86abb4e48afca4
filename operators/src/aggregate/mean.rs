//! Mean: the sum of the present values over their number; missing when there are none.

use super::moments::Moments;

/// The mean, NaN when there are no values.
pub(crate) fn mean(moments: &Moments) -> f64 {
    if moments.count == 0 {
        return f64::NAN;
    }
    moments.sum.value() / moments.count as f64
}

#[cfg(test)]
mod tests {
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn averages_what_is_present_and_is_missing_when_nothing_is() {
        check(
            |f| {
                f.over(secs(10)).mean("mean", |e| e.value);
            },
            &[
                reading(0, f64::NAN),
                reading(1, 2.0),
                reading(2, 4.0),
                reading(11, f64::NAN),
                reading(12, f64::NAN),
            ],
            &[&[f64::NAN], &[2.0], &[3.0], &[4.0], &[f64::NAN]],
        );
    }
}
