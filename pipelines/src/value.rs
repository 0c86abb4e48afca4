//! The values of settings as text: the same rules on the command line, in the environment and in
//! a file.
//!
//! Errors quote the value, say what is wrong with it and what to give instead.

use std::str::FromStr;
use std::time::Duration;

use thalweg_engine::checkpoint::Location;
use thalweg_engine::job::{Order, Pace};
use thalweg_engine::sink::{Deliveries, Delivery};
use thalweg_engine::time::EventTime;
use toml::value::{Datetime, Offset};
use tracing::level_filters::LevelFilter;

/// Most worker threads in one process.
const WORKERS_MAX: usize = 256;

/// Most records that a reader hands over at once.
const BATCH_RECORDS_MAX: usize = 65_536;

/// Reads a number of workers.
pub(crate) fn workers(text: &str) -> Result<usize, String> {
    number_up_to(text, WORKERS_MAX, "a number of workers")
}

/// Reads a number of processes.
pub(crate) fn processes(text: &str) -> Result<usize, String> {
    number_up_to(text, WORKERS_MAX, "a number of processes")
}

/// Reads a time: `500ms`, `4s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let read = units.into_iter().find_map(|(unit, length_ms)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number
            .checked_mul(length_ms)
            .filter(|length_ms| *length_ms > 0)
    });
    let read = read.map(Duration::from_millis);
    read.ok_or_else(|| format!("`{text}` is not a time: give one such as `500ms`, `4s` or `2m`"))
}

/// Reads a number of records for a batch.
pub(crate) fn batch(text: &str) -> Result<usize, String> {
    number_up_to(text, BATCH_RECORDS_MAX, "a number of records for a batch")
}

fn number_up_to(text: &str, most: usize, what: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("`{text}` is not {what}: give a whole number from 1 to {most}"))
}

/// The most bytes that one value may be allowed to have.
const BYTES_MAX: usize = 1 << 30;

/// Reads a number of bytes: `4096`, `64KiB`, `1MiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    let number = digits.trim().parse::<usize>().ok();
    let number = number.and_then(|number| number.checked_mul(unit));
    let number = number.filter(|number| (1..=BYTES_MAX).contains(number));
    number.ok_or_else(|| {
        format!(
            "`{text}` is not a number of bytes: give one from 1 to `1GiB`, such as `65536`, `64KiB` or \
             `1MiB`"
        )
    })
}

/// How deep JSON is ever read.
const JSON_DEPTH_MAX: usize = 128;

/// Reads how deep JSON may be nested.
pub(crate) fn json_depth(text: &str) -> Result<usize, String> {
    number_up_to(text, JSON_DEPTH_MAX, "a depth of JSON")
}

/// The most checkpoints that can be kept.
const RETAIN_MAX: usize = 10_000;

/// Reads how many checkpoints to keep.
pub(crate) fn retain(text: &str) -> Result<usize, String> {
    number_up_to(text, RETAIN_MAX, "a number of checkpoints")
}

/// Reads the length of an epoch.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let (digits, unit_ms) = [("ms", 1), ("s", 1_000), ("m", 60_000)]
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))
        .unwrap_or((text, 0));
    let length_ms = digits.trim().parse::<u64>().ok();
    let length_ms = length_ms.and_then(|number| number.checked_mul(unit_ms));
    let is_allowed = |ms: &u64| (10..=3_600_000).contains(ms);
    let length_ms = length_ms.filter(is_allowed).ok_or_else(|| {
        format!("`{text}` is not the length of an epoch: give 10ms to 60m, such as 500ms or 2s")
    })?;
    Ok(Duration::from_millis(length_ms))
}

/// Reads the place of checkpoints, which stays a text.
pub(crate) fn location(text: &str) -> Result<String, String> {
    let location = text.parse::<Location>();
    location.map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// Reads a rate of replay: `1000x`, `0.5x` or `max`.
pub(crate) fn rate(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times = text
        .strip_suffix('x')
        .and_then(|times| f64::from_str(times).ok());
    let times = times.filter(|times| times.is_finite() && *times > 0.0);
    times.map(Pace::Times).ok_or_else(|| {
        format!(
            "`{text}` is not a rate: give a multiple of event time such as `1000x` or `0.5x`, or \
             `max` to replay flat out"
        )
    })
}

/// Writes a rate as [`rate`] reads it.
pub(crate) fn rate_text(pace: Pace) -> String {
    match pace {
        Pace::Max => "max".to_owned(),
        Pace::Times(times) => format!("{times}x"),
    }
}

/// Reads an order of processing.
pub(crate) fn order(text: &str) -> Result<Order, String> {
    match text {
        "arrival" => Ok(Order::Arrival),
        "event-time" => Ok(Order::EventTime),
        _ => Err(format!(
            "`{text}` is not an order: give `arrival` or `event-time`"
        )),
    }
}

/// Writes an order as [`order`] reads it.
pub(crate) fn order_text(order: Order) -> &'static str {
    match order {
        Order::Arrival => "arrival",
        Order::EventTime => "event-time",
    }
}

/// Reads when sinks deliver: for all of them, and for single ones.
pub(crate) fn deliveries(text: &str) -> Result<Deliveries, String> {
    let mut deliveries = Deliveries::default();
    for word in text.split(',').map(str::trim) {
        match word.split_once('=') {
            None if deliveries.all.is_none() => deliveries.all = Some(delivery(word)?),
            None => {
                return Err(format!(
                    "`{text}` says twice how all sinks deliver: say it once, and name the others, as \
                     in immediate,predictions=exactly_once"
                ));
            }
            Some((sink, word)) => {
                let sink = sink.trim().to_owned();
                let twice = deliveries.by_sink.insert(sink, delivery(word.trim())?);
                if twice.is_some() {
                    return Err(format!("`{text}` names a sink twice: name it once"));
                }
            }
        }
    }
    Ok(deliveries)
}

fn delivery(text: &str) -> Result<Delivery, String> {
    match text {
        "immediate" => Ok(Delivery::Immediate),
        "exactly_once" => Ok(Delivery::ExactlyOnce),
        _ => Err(format!(
            "`{text}` is not a delivery: give `immediate` or `exactly_once`, or SINK=DELIVERY"
        )),
    }
}

/// Reads a switch.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!(
            "`{text}` is neither on nor off: give `true` or `false`"
        )),
    }
}

/// Reads an instant as RFC 3339 has it, with its offset from UTC.
pub(crate) fn instant(text: &str) -> Option<EventTime> {
    let Datetime {
        date: Some(date),
        time: Some(time),
        offset: Some(offset),
    } = Datetime::from_str(text).ok()?
    else {
        return None;
    };
    let ahead_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    // Days since 1970 of the proleptic Gregorian calendar, whose years are taken to begin in March.
    let month = (i64::from(date.month) + 9) % 12;
    let year = i64::from(date.year) - i64::from(date.month <= 2);
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + i64::from(date.day) - 1;
    let days = 365 * year + leap_days + day_of_year - 719_468;
    let minutes = (days * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute) - ahead_minutes;
    let seconds = minutes * 60 + i64::from(time.second);
    let micros = i64::from(time.nanosecond) / 1_000;
    Some(EventTime::from_micros(seconds * 1_000_000 + micros))
}

/// Reads how much is to be logged.
pub(crate) fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(format!(
            "`{text}` is not a log level: give `off`, `error`, `warn`, `info`, `debug` or `trace`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("4096"), Ok(4_096));
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("2 MiB"), Ok(2_097_152));
        for text in [
            "",
            "0",
            "-1",
            "1MB",
            "KiB",
            "99999999999999999999",
            "9999999999999GiB",
            "1025MiB",
        ] {
            let error = bytes(text).expect_err(text);
            assert!(error.contains("give one from 1 to `1GiB`"), "{error}");
        }
        assert_eq!(json_depth("128"), Ok(128));
        assert!(json_depth("129").is_err_and(|error| error.contains("from 1 to 128")));
    }

    #[test]
    fn rates_are_multiples_or_max() {
        assert_eq!(rate("max"), Ok(Pace::Max));
        assert_eq!(rate("1000x"), Ok(Pace::Times(1_000.0)));
        assert_eq!(rate("0.5x"), Ok(Pace::Times(0.5)));
        for text in [
            "", "x", "1000", "0x", "-1x", "infx", "NaNx", "fast", "10 x", "1000xx",
        ] {
            let error = rate(text).expect_err(text);
            assert!(
                error.starts_with(&format!("`{text}` is not a rate: give")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_delivery_is_for_all_sinks_or_for_one() {
        let (now, once) = (Delivery::Immediate, Delivery::ExactlyOnce);
        let parsed = |all, single: &[(&str, Delivery)]| {
            let by_sink = single.iter();
            let by_sink = by_sink.map(|(sink, delivery)| ((*sink).to_owned(), *delivery));
            Ok(Deliveries {
                all,
                by_sink: by_sink.collect(),
            })
        };
        assert_eq!(deliveries("immediate"), parsed(Some(now), &[]));
        assert_eq!(
            deliveries("alerts=immediate, exactly_once,scores = immediate"),
            parsed(Some(once), &[("alerts", now), ("scores", now)])
        );
        for (text, told) in [
            ("", "is not a delivery"),
            ("a=never", "is not a delivery"),
            ("immediate,exactly_once", "says twice"),
            ("a=immediate,a=immediate", "names a sink twice"),
        ] {
            let error = deliveries(text).expect_err(text);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in ["max", "1000x", "0.5x"] {
            assert_eq!(rate(text).map(rate_text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn workers_are_1_to_256() {
        assert_eq!(workers("1"), Ok(1));
        assert_eq!(workers("256"), Ok(256));
        for text in ["0", "257", "-1", "two", "1.5", ""] {
            let error = workers(text).expect_err(text);
            assert!(
                error.ends_with("give a whole number from 1 to 256"),
                "{error}"
            );
        }
    }

    #[test]
    fn times_have_a_unit() {
        for (text, length_ms) in [("500ms", 500), ("4s", 4_000), ("2m", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(length_ms)));
        }
        for text in [
            "",
            "4",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1 s",
            "1h",
            "99999999999999999999s",
        ] {
            let error = duration(text).expect_err(text);
            assert!(
                error.starts_with(&format!("`{text}` is not a time")),
                "{error}"
            );
        }
    }

    #[test]
    fn instants_are_read_as_they_are_written() {
        for seconds in [
            0,
            -1,
            951_782_399,
            951_868_800,
            1_357_034_400,
            4_107_542_400,
            -62_135_596_800,
        ] {
            let time = EventTime::from_seconds(seconds);
            assert_eq!(instant(&time.to_string()), Some(time), "{time}");
        }
        assert_eq!(instant("2013-01-01T10:00:00"), None, "in no time zone");
        assert_eq!(instant("2013-01-01"), None);
    }

    #[test]
    fn words_are_taken_as_documented() {
        assert_eq!(order("event-time"), Ok(Order::EventTime));
        assert!(order("event_time").is_err());
        assert_eq!(switch("1"), Ok(true));
        assert!(switch("yes please").is_err());
        assert_eq!(log_level("warn"), Ok(LevelFilter::WARN));
        assert!(log_level("loud").is_err());
    }
}
