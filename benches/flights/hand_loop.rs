//! The features of `flights` by hand: one thread, one pass, a hash map per key.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg::prelude::*;
use thalweg_operators::infer::{Binding, Scorer};

use crate::events::{Code, Event, Landed, Readings, Scheduled, Weather, What};

/// Rows scored at once.
const BATCH_ROWS: usize = 64;

/// What a run of the loop came to.
pub(crate) struct Report {
    pub(crate) records: usize,
    pub(crate) seconds: f64,
}

/// The names of the columns of a row, in the order in which [`State::row`] makes them.
const NAMES: [&str; 34] = [
    "hour",
    "weekday",
    "distance",
    "planned_minutes",
    "temp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "origin_departures_1h",
    "origin_delay_2h",
    "origin_delay_max_2h",
    "origin_late_2h",
    "origin_departure_delay_2h",
    "origin_delay_6h",
    "dest_delay_6h",
    "dest_late_7d",
    "carrier_landed_3h",
    "carrier_delay_3h",
    "carrier_delay_max_3h",
    "carrier_late_7d",
    "route_delay_1d",
    "route_landed_28d",
    "route_late_28d",
    "route_delay_28d",
    "plane_last_delay",
    "plane_since_landed",
    "plane_flights_24h",
    "plane_delay_24h",
    "late_share_2h",
    "late_share_24h",
    "late_share",
];

#[derive(Serialize)]
struct Prediction {
    flight: u32,
    departs: EventTime,
    carrier: Code,
    origin: Code,
    dest: Code,
    probability: f32,
    baseline: f64,
}

/// Reads, computes, scores and writes; the model is loaded before the time begins to count.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn run(out: &Path) -> Report {
    let model = Onnx::load(crate::pipelines("models/flights-delay")).unwrap();
    let names = NAMES.map(str::to_owned);
    let binding = Binding::resolve(model.features(), &names).unwrap();
    let mut scorer = Scorer::new(Box::new(model.build().unwrap()), binding);
    let begun = Instant::now();
    let mut weather = read::<Weather>("weather");
    weather.sort_by_key(|w| w.at);
    let mut events: Vec<(EventTime, Event)> = Vec::new();
    events.extend(
        read::<Scheduled>("scheduled")
            .into_iter()
            .map(|s| (s.at, Event::scheduled(s))),
    );
    events.extend(
        read::<Landed>("landed")
            .into_iter()
            .map(|l| (l.at, Event::landed(l))),
    );
    events.sort_by_key(|(at, _)| *at);
    let records = events.len() + weather.len();
    let mut tables: HashMap<Code, Weather> = HashMap::new();
    let mut weather = weather.into_iter().peekable();
    let mut state = State::default();
    let mut file = BufWriter::new(File::create(out).unwrap());
    let (mut rows, mut asked) = (Vec::new(), Vec::new());
    for (at, event) in events {
        while let Some(row) = weather.next_if(|row| row.at <= at) {
            tables.insert(row.origin, row);
        }
        let latest = tables.get(&event.origin);
        let latest = latest.filter(|row| at.since(row.at) <= hours(3));
        let event = event.with_weather(latest);
        state.take_in(at, &event);
        if event.is_scheduled() {
            rows.push(state.row(at, &event));
            asked.push(event);
        }
        if rows.len() == BATCH_ROWS {
            score(&mut scorer, &mut rows, &mut asked, &mut file);
        }
    }
    score(&mut scorer, &mut rows, &mut asked, &mut file);
    file.flush().unwrap();
    Report {
        records,
        seconds: begun.elapsed().as_secs_f64(),
    }
}

fn read<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let path = crate::pipelines("data/flights").join(format!("{name}.csv.zst"));
    let file = zstd::Decoder::new(File::open(path).unwrap()).unwrap();
    let rows = csv::Reader::from_reader(file).into_deserialize();
    rows.map(|row| row.unwrap()).collect()
}

fn score(
    scorer: &mut Scorer,
    rows: &mut Vec<Vec<f64>>,
    asked: &mut Vec<Event>,
    file: &mut impl Write,
) {
    let scores = scorer.score(rows.iter().map(Vec::as_slice));
    for ((row, event), score) in rows.drain(..).zip(asked.drain(..)).zip(scores) {
        let What::Scheduled { departs, .. } = event.what else {
            continue;
        };
        let share = row[NAMES.len() - 1];
        let prediction = Prediction {
            flight: event.flight,
            departs,
            carrier: event.carrier,
            origin: event.origin,
            dest: event.dest,
            probability: score.unwrap(),
            baseline: if share.is_nan() { 0.5 } else { share },
        };
        serde_json::to_writer(&mut *file, &prediction).unwrap();
        file.write_all(b"\n").unwrap();
    }
}

/// A sliding window's values with their running sum.
struct Values {
    length_us: i64,
    inside: VecDeque<(i64, f64)>,
    sum: f64,
}

impl Values {
    fn over(length: Duration) -> Self {
        Self {
            length_us: length.as_micros() as i64,
            inside: VecDeque::new(),
            sum: 0.0,
        }
    }

    fn advance(&mut self, now: i64) {
        while let Some((at, value)) = self.inside.front()
            && *at <= now - self.length_us
        {
            self.sum -= value;
            self.inside.pop_front();
        }
    }

    fn add(&mut self, now: i64, value: f64) {
        self.advance(now);
        self.sum += value;
        self.inside.push_back((now, value));
    }

    fn count(&mut self, now: i64) -> f64 {
        self.advance(now);
        self.inside.len() as f64
    }

    /// Also the share, where the values are zero and one.
    fn mean(&mut self, now: i64) -> f64 {
        self.advance(now);
        if self.inside.is_empty() {
            f64::NAN
        } else {
            self.sum / self.inside.len() as f64
        }
    }
}

/// A sliding window's greatest value: a monotone queue.
struct Greatest {
    length_us: i64,
    queue: VecDeque<(i64, f64)>,
}

impl Greatest {
    fn over(length: Duration) -> Self {
        Self {
            length_us: length.as_micros() as i64,
            queue: VecDeque::new(),
        }
    }

    fn add(&mut self, now: i64, value: f64) {
        while self.queue.back().is_some_and(|(_, known)| *known <= value) {
            self.queue.pop_back();
        }
        self.queue.push_back((now, value));
    }

    fn get(&mut self, now: i64) -> f64 {
        while self
            .queue
            .front()
            .is_some_and(|(at, _)| *at <= now - self.length_us)
        {
            self.queue.pop_front();
        }
        self.queue.front().map_or(f64::NAN, |(_, value)| *value)
    }
}

struct Origin {
    departures_1h: Values,
    delay_2h: Values,
    delay_max_2h: Greatest,
    late_2h: Values,
    departure_delay_2h: Values,
    delay_6h: Values,
}

struct Dest {
    delay_6h: Values,
    late_7d: Values,
}

struct Carrier {
    delay_3h: Values,
    delay_max_3h: Greatest,
    late_7d: Values,
}

struct Route {
    delay_1d: Values,
    late_28d: Values,
    delay_28d: Values,
}

struct Plane {
    /// Before the event at hand: when it last landed and how late.
    last: Option<(i64, f64)>,
    flights_24h: Values,
    delay_24h: Values,
}

/// All features' state.
struct State {
    origins: HashMap<Code, Origin>,
    dests: HashMap<Code, Dest>,
    carriers: HashMap<Code, Carrier>,
    routes: HashMap<(Code, Code), Route>,
    planes: HashMap<(Code, u32), Plane>,
    late_2h: Values,
    late_24h: Values,
    late: (f64, f64),
}

impl Default for State {
    fn default() -> Self {
        Self {
            origins: HashMap::new(),
            dests: HashMap::new(),
            carriers: HashMap::new(),
            routes: HashMap::new(),
            planes: HashMap::new(),
            late_2h: Values::over(hours(2)),
            late_24h: Values::over(hours(24)),
            late: (0.0, 0.0),
        }
    }
}

impl State {
    fn origin(&mut self, event: &Event) -> &mut Origin {
        self.origins.entry(event.origin).or_insert_with(|| Origin {
            departures_1h: Values::over(hours(1)),
            delay_2h: Values::over(hours(2)),
            delay_max_2h: Greatest::over(hours(2)),
            late_2h: Values::over(hours(2)),
            departure_delay_2h: Values::over(hours(2)),
            delay_6h: Values::over(hours(6)),
        })
    }

    fn dest(&mut self, event: &Event) -> &mut Dest {
        self.dests.entry(event.dest).or_insert_with(|| Dest {
            delay_6h: Values::over(hours(6)),
            late_7d: Values::over(days(7)),
        })
    }

    fn carrier(&mut self, event: &Event) -> &mut Carrier {
        self.carriers
            .entry(event.carrier)
            .or_insert_with(|| Carrier {
                delay_3h: Values::over(hours(3)),
                delay_max_3h: Greatest::over(hours(3)),
                late_7d: Values::over(days(7)),
            })
    }

    fn route(&mut self, event: &Event) -> &mut Route {
        self.routes
            .entry((event.origin, event.dest))
            .or_insert_with(|| Route {
                delay_1d: Values::over(days(1)),
                late_28d: Values::over(days(28)),
                delay_28d: Values::over(days(28)),
            })
    }

    fn plane(&mut self, event: &Event) -> &mut Plane {
        self.planes.entry(event.plane()).or_insert_with(|| Plane {
            last: None,
            flights_24h: Values::over(hours(24)),
            delay_24h: Values::over(hours(24)),
        })
    }

    fn take_in(&mut self, at: EventTime, event: &Event) {
        let now = at.as_micros();
        let What::Landed {
            departure_delay,
            arrival_delay,
        } = event.what
        else {
            self.origin(event).departures_1h.add(now, 1.0);
            self.plane(event).flights_24h.add(now, 1.0);
            return;
        };
        let late = f64::from(arrival_delay > 15.0);
        let origin = self.origin(event);
        origin.delay_2h.add(now, arrival_delay);
        origin.delay_max_2h.add(now, arrival_delay);
        origin.late_2h.add(now, late);
        origin.departure_delay_2h.add(now, departure_delay);
        origin.delay_6h.add(now, arrival_delay);
        let dest = self.dest(event);
        dest.delay_6h.add(now, arrival_delay);
        dest.late_7d.add(now, late);
        let carrier = self.carrier(event);
        carrier.delay_3h.add(now, arrival_delay);
        carrier.delay_max_3h.add(now, arrival_delay);
        carrier.late_7d.add(now, late);
        let route = self.route(event);
        route.delay_1d.add(now, arrival_delay);
        route.late_28d.add(now, late);
        route.delay_28d.add(now, arrival_delay);
        let plane = self.plane(event);
        plane.last = Some((now, arrival_delay));
        plane.delay_24h.add(now, arrival_delay);
        self.late_2h.add(now, late);
        self.late_24h.add(now, late);
        self.late.0 += late;
        self.late.1 += 1.0;
    }

    /// The features of a scheduled flight, in the order of [`NAMES`].
    fn row(&mut self, at: EventTime, event: &Event) -> Vec<f64> {
        let now = at.as_micros();
        let mut row = Vec::with_capacity(NAMES.len());
        let What::Scheduled {
            distance,
            planned_minutes,
            minute,
            weekday,
            weather,
            ..
        } = &event.what
        else {
            return row;
        };
        row.extend([
            f64::from(*minute) / 60.0,
            f64::from(*weekday),
            *distance,
            *planned_minutes,
        ]);
        let measured = |pick: fn(&Readings) -> f32| f64::from(pick(weather));
        row.extend([
            measured(|w| w.temp),
            measured(|w| w.humid),
            measured(|w| w.wind_speed),
        ]);
        row.extend([measured(|w| w.wind_gust), measured(|w| w.precip)]);
        row.extend([measured(|w| w.pressure), measured(|w| w.visib)]);
        let origin = self.origin(event);
        row.extend([origin.departures_1h.count(now), origin.delay_2h.mean(now)]);
        row.extend([origin.delay_max_2h.get(now), origin.late_2h.mean(now)]);
        row.extend([
            origin.departure_delay_2h.mean(now),
            origin.delay_6h.mean(now),
        ]);
        let dest = self.dest(event);
        row.extend([dest.delay_6h.mean(now), dest.late_7d.mean(now)]);
        let carrier = self.carrier(event);
        row.extend([carrier.delay_3h.count(now), carrier.delay_3h.mean(now)]);
        row.extend([carrier.delay_max_3h.get(now), carrier.late_7d.mean(now)]);
        let route = self.route(event);
        row.extend([route.delay_1d.mean(now), route.delay_28d.count(now)]);
        row.extend([route.late_28d.mean(now), route.delay_28d.mean(now)]);
        let plane = self.plane(event);
        row.push(plane.last.map_or(f64::NAN, |(_, delay)| delay));
        row.push(
            plane
                .last
                .map_or(f64::NAN, |(at, _)| (now - at) as f64 / 1e6),
        );
        row.extend([plane.flights_24h.count(now), plane.delay_24h.mean(now)]);
        row.extend([self.late_2h.mean(now), self.late_24h.mean(now)]);
        row.push(self.late.0 / self.late.1);
        row
    }
}
