//! Min and max: the least and the greatest present value; missing when there are none.
//!
//! Every window is a suffix of the key's log, so one monotone stack for a column and a direction
//! serves all window lengths: a row is on the stack while no later row ties or beats it, and the
//! extreme of a window is the first row of the stack inside the window. The stack is a bit per row
//! (see [`crate::window`]).

/// Which end of the order is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    /// The least value.
    Min,
    /// The greatest value.
    Max,
}

impl Direction {
    /// Whether `later` takes the place of `earlier`: it ties or beats it.
    #[inline]
    pub(crate) fn replaces(self, later: f64, earlier: f64) -> bool {
        match self {
            Self::Min => later <= earlier,
            Self::Max => later >= earlier,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn extremes_leave_with_their_window() {
        check(
            |f| {
                f.over(secs(3))
                    .min("min_3", |e| e.value)
                    .max("max_3", |e| e.value);
                f.over(secs(10)).max("max_10", |e| e.value);
                f.ever().min("min", |e| e.value).max("max", |e| e.value);
            },
            &[
                reading(0, f64::NAN),
                reading(1, 5.0),
                reading(2, 1.0),
                reading(4, 3.0),
                reading(5, 3.0),
                reading(11, f64::NEG_INFINITY),
            ],
            &[
                &[f64::NAN; 5],
                &[5.0, 5.0, 5.0, 5.0, 5.0],
                &[1.0, 5.0, 5.0, 1.0, 5.0],
                &[1.0, 3.0, 5.0, 1.0, 5.0],
                &[3.0, 3.0, 5.0, 1.0, 5.0],
                &[f64::NAN, f64::NAN, 3.0, 1.0, 5.0],
            ],
        );
    }
}
