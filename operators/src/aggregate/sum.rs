//! Sum: the total of the present values; zero when there are none.
//!
//! Kept as a [`Compensated`](super::compensated::Compensated) total, so a spike that has left leaves
//! nothing behind.

#[cfg(test)]
mod tests {
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn sums_the_window_and_is_zero_when_it_is_empty() {
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
            },
            &[
                reading(0, 1.0),
                reading(5, 2.0),
                reading(10, 4.0),
                reading(11, f64::NAN),
            ],
            &[&[1.0], &[3.0], &[6.0], &[6.0]],
        );
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
            },
            &[reading(0, 1.0), reading(50, f64::INFINITY)],
            &[&[1.0], &[0.0]],
        );
    }

    #[test]
    fn an_overflow_ends_when_the_values_have_left() {
        let huge = f64::MAX;
        check(
            |f| {
                f.over(secs(10)).sum("sum", |e| e.value);
                f.ever().sum("ever", |e| e.value);
            },
            &[
                reading(0, huge),
                reading(1, huge),
                reading(5, 3.0),
                reading(12, 4.0),
            ],
            &[
                &[huge, huge],
                &[f64::INFINITY, f64::INFINITY],
                &[f64::INFINITY, f64::INFINITY],
                &[7.0, f64::INFINITY],
            ],
        );
    }
}
