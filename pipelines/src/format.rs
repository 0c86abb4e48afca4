//! Figures as people read them.

use std::fmt::Display;

use thalweg_engine::time::EventTime;

/// A count with its thousands set apart: `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, rounded to a whole count.
pub(crate) fn per_second(rate: f64) -> String {
    count(rate.round() as u64)
}

/// A latency in the unit that suits it.
pub(crate) fn latency(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1_000_000.0 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// The size of a file in the unit that suits it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A figure of quality; a dash where there is none.
pub(crate) fn figure(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

/// An instant to the minute: `2013-01-01 10:00`.
pub(crate) fn minute(time: EventTime) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(date), Some(clock)) if text.as_bytes()[10] == b'T' => format!("{date} {clock}"),
        _ => text,
    }
}

/// A count and the thing counted, in the plural where it is one.
pub(crate) fn things(n: impl Display + PartialEq<usize>, thing: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let check = |n, expected| assert_eq!(count(n), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }

    #[test]
    fn units_suit_the_figure() {
        let check = |us, expected| assert_eq!(latency(us), expected);
        check(412.0, "412 us");
        check(1_240.0, "1.24 ms");
        check(48_300.0, "48 ms");
        check(2_500_000.0, "2.5 s");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(55_100_000), "55.1 MB");
    }

    #[test]
    fn instants_are_shown_to_the_minute() {
        assert_eq!(
            minute(EventTime::from_seconds(1_357_034_400)),
            "2013-01-01 10:00"
        );
        assert_eq!(minute(EventTime::MAX), EventTime::MAX.to_string());
    }
}
