//! Count: the number of events of the key in the window, whatever they carry; zero when empty.
//!
//! Every event is a row of the log where something counts, so the count is a difference of two
//! positions and keeps no state of its own.

#[cfg(test)]
mod tests {
    use crate::features::testing::{check, reading};
    use thalweg_engine::time::secs;

    #[test]
    fn the_window_is_open_at_its_start_and_closed_at_its_end() {
        check(
            |f| {
                f.over(secs(10)).count("n");
                f.ever().count("ever");
            },
            &[
                reading(0, 1.0),
                reading(9, f64::NAN),
                reading(9, 1.0),
                reading(10, 1.0),
                reading(40, 1.0),
            ],
            &[
                &[1.0, 1.0],
                &[2.0, 2.0],
                &[3.0, 3.0],
                &[3.0, 4.0],
                &[1.0, 5.0],
            ],
        );
    }
}
