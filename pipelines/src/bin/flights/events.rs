//! The events of the two streams and of the weather table, as they stand in the data files.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use thalweg::prelude::*;

/// A code of at most eight ASCII characters: a carrier, an airport, a tail number. Copied freely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Code([u8; 8]);

impl Code {
    fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() > 8 || !text.is_ascii() || bytes.contains(&0) {
            return None;
        }
        let mut code = [0; 8];
        code[..bytes.len()].copy_from_slice(bytes);
        Some(Self(code))
    }

    fn as_str(&self) -> &str {
        let length = self.0.iter().position(|byte| *byte == 0).unwrap_or(8);
        std::str::from_utf8(&self.0[..length]).expect("invariant: codes are ASCII")
    }

    fn is_empty(self) -> bool {
        self.0[0] == 0
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(CodeVisitor)
    }
}

struct CodeVisitor;

impl Visitor<'_> for CodeVisitor {
    type Value = Code;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a code of at most eight ASCII characters")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Code, E> {
        Code::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Instants in the files are whole seconds since the Unix epoch.
mod seconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use thalweg::prelude::EventTime;

    pub(super) fn serialize<S: Serializer>(at: &EventTime, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(at.as_micros().div_euclid(1_000_000))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<EventTime, D::Error> {
        i64::deserialize(d).map(EventTime::from_seconds)
    }
}

/// One hour before a scheduled departure: the question.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Scheduled {
    pub(crate) flight: u32,
    #[serde(with = "seconds")]
    pub(crate) at: EventTime,
    pub(crate) carrier: Code,
    pub(crate) origin: Code,
    pub(crate) dest: Code,
    pub(crate) tail: Code,
    pub(crate) distance: f64,
    #[serde(with = "seconds")]
    pub(crate) departs: EventTime,
    #[serde(with = "seconds")]
    pub(crate) arrives: EventTime,
    pub(crate) minute: u16,
    pub(crate) weekday: u8,
}

impl Scheduled {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.distance.is_finite() || self.distance < 0.0 {
            return Err(format!(
                "distance {} is not a distance in miles",
                self.distance
            ));
        }
        if self.minute >= 24 * 60 || self.weekday >= 7 {
            return Err(format!(
                "minute {} of weekday {} is no time",
                self.minute, self.weekday
            ));
        }
        Ok(())
    }
}

/// The moment a flight has arrived: the label, and news for the features.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Landed {
    pub(crate) flight: u32,
    #[serde(with = "seconds")]
    pub(crate) at: EventTime,
    pub(crate) carrier: Code,
    pub(crate) origin: Code,
    pub(crate) dest: Code,
    pub(crate) tail: Code,
    pub(crate) departure_delay: f64,
    pub(crate) arrival_delay: f64,
}

impl Landed {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, delay) in [
            ("departure_delay", self.departure_delay),
            ("arrival_delay", self.arrival_delay),
        ] {
            if !delay.is_finite() {
                return Err(format!("{name} {delay} is not a number of minutes"));
            }
        }
        Ok(())
    }

    pub(crate) fn is_late(&self) -> bool {
        self.arrival_delay > 15.0
    }
}

/// The weather at an airport in the hour before.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Weather {
    #[serde(with = "seconds")]
    pub(crate) at: EventTime,
    pub(crate) origin: Code,
    pub(crate) temp: Option<f32>,
    pub(crate) humid: Option<f32>,
    pub(crate) wind_speed: Option<f32>,
    pub(crate) wind_gust: Option<f32>,
    pub(crate) precip: Option<f32>,
    pub(crate) pressure: Option<f32>,
    pub(crate) visib: Option<f32>,
}

impl Weather {
    pub(crate) fn check(&self) -> Result<(), String> {
        let all = [
            self.temp,
            self.humid,
            self.wind_speed,
            self.wind_gust,
            self.precip,
        ];
        let rest = [self.pressure, self.visib];
        match all
            .into_iter()
            .chain(rest)
            .flatten()
            .find(|value| !value.is_finite())
        {
            Some(value) => Err(format!("{value} is not a measurement")),
            None => Ok(()),
        }
    }
}

/// What was measured; NaN where nothing was.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Readings {
    pub(crate) temp: f32,
    pub(crate) humid: f32,
    pub(crate) wind_speed: f32,
    pub(crate) wind_gust: f32,
    pub(crate) precip: f32,
    pub(crate) pressure: f32,
    pub(crate) visib: f32,
}

impl Readings {
    const NONE: Self = Self {
        temp: f32::NAN,
        humid: f32::NAN,
        wind_speed: f32::NAN,
        wind_gust: f32::NAN,
        precip: f32::NAN,
        pressure: f32::NAN,
        visib: f32::NAN,
    };
}

impl From<&Weather> for Readings {
    fn from(weather: &Weather) -> Self {
        let measured = |value: Option<f32>| value.unwrap_or(f32::NAN);
        Self {
            temp: measured(weather.temp),
            humid: measured(weather.humid),
            wind_speed: measured(weather.wind_speed),
            wind_gust: measured(weather.wind_gust),
            precip: measured(weather.precip),
            pressure: measured(weather.pressure),
            visib: measured(weather.visib),
        }
    }
}

/// What happens to a flight, with what all features need of it, and no more: it is moved at every
/// step.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Event {
    pub(crate) flight: u32,
    pub(crate) carrier: Code,
    pub(crate) origin: Code,
    pub(crate) dest: Code,
    tail: Code,
    pub(crate) what: What,
}

/// The two kinds of event.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum What {
    /// One hour to the scheduled departure.
    Scheduled {
        departs: EventTime,
        distance: f64,
        planned_minutes: f64,
        minute: u16,
        weekday: u8,
        weather: Readings,
    },
    /// It has arrived, so many minutes late.
    Landed {
        departure_delay: f64,
        arrival_delay: f64,
    },
}

impl Event {
    pub(crate) fn scheduled(s: Scheduled) -> Self {
        let Scheduled {
            flight,
            carrier,
            origin,
            dest,
            tail,
            distance,
            departs,
            arrives,
            ..
        } = s;
        let (minute, weekday, weather) = (s.minute, s.weekday, Readings::NONE);
        let what = What::Scheduled {
            departs,
            distance,
            planned_minutes: arrives.since(departs).as_secs_f64() / 60.0,
            minute,
            weekday,
            weather,
        };
        Self {
            flight,
            carrier,
            origin,
            dest,
            tail,
            what,
        }
    }

    pub(crate) fn landed(l: Landed) -> Self {
        let Landed {
            flight,
            carrier,
            origin,
            dest,
            tail,
            departure_delay,
            arrival_delay,
            ..
        } = l;
        let what = What::Landed {
            departure_delay,
            arrival_delay,
        };
        Self {
            flight,
            carrier,
            origin,
            dest,
            tail,
            what,
        }
    }

    pub(crate) fn with_weather(mut self, latest: Option<&Weather>) -> Self {
        if let What::Scheduled { weather, .. } = &mut self.what {
            *weather = latest.map_or(Readings::NONE, Readings::from);
        }
        self
    }

    pub(crate) fn is_scheduled(&self) -> bool {
        matches!(self.what, What::Scheduled { .. })
    }

    /// The plane, as a key; a flight without a tail number is a plane of its own.
    pub(crate) fn plane(&self) -> (Code, u32) {
        (
            self.tail,
            if self.tail.is_empty() {
                self.flight + 1
            } else {
                0
            },
        )
    }

    pub(crate) fn arrival_delay(&self) -> Option<f64> {
        match self.what {
            What::Landed { arrival_delay, .. } => Some(arrival_delay),
            What::Scheduled { .. } => None,
        }
    }

    pub(crate) fn departure_delay(&self) -> Option<f64> {
        match self.what {
            What::Landed {
                departure_delay, ..
            } => Some(departure_delay),
            What::Scheduled { .. } => None,
        }
    }

    /// Whether it was late, once it has landed.
    pub(crate) fn late(&self) -> Option<bool> {
        self.arrival_delay().map(|delay| delay > 15.0)
    }
}
