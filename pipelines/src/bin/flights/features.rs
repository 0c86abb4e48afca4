//! The features: the flight itself, the weather, and what has landed so far by airport, carrier,
//! route and plane.

use thalweg::prelude::*;

use crate::events::{Event, Readings, What};

/// Attaches all features; only scheduled flights get rows, landings update what they count.
pub(crate) fn declare<'s>(events: Stream<'s, Event>) -> FeatureStream<'s, Event> {
    events
        .key_by(|e| e.origin)
        .features("origin", |f| {
            flight(f);
            weather(f);
            f.over(hours(1))
                .count_if("origin_departures_1h", Event::is_scheduled);
            f.over(hours(2))
                .mean("origin_delay_2h", Event::arrival_delay)
                .max("origin_delay_max_2h", Event::arrival_delay)
                .share("origin_late_2h", Event::late)
                .mean("origin_departure_delay_2h", Event::departure_delay);
            f.over(hours(6))
                .mean("origin_delay_6h", Event::arrival_delay);
        })
        .key_by(|e| e.dest)
        .features("dest", |f| {
            f.rows_for(Event::is_scheduled);
            f.over(hours(6)).mean("dest_delay_6h", Event::arrival_delay);
            f.over(days(7)).share("dest_late_7d", Event::late);
        })
        .key_by(|e| e.carrier)
        .features("carrier", |f| {
            f.rows_for(Event::is_scheduled);
            f.over(hours(3))
                .count_if("carrier_landed_3h", |e| !e.is_scheduled())
                .mean("carrier_delay_3h", Event::arrival_delay)
                .max("carrier_delay_max_3h", Event::arrival_delay);
            f.over(days(7)).share("carrier_late_7d", Event::late);
        })
        .key_by(|e| (e.origin, e.dest))
        .features("route", |f| {
            f.rows_for(Event::is_scheduled);
            f.over(days(1)).mean("route_delay_1d", Event::arrival_delay);
            f.over(days(28))
                .count_if("route_landed_28d", |e| !e.is_scheduled())
                .share("route_late_28d", Event::late)
                .mean("route_delay_28d", Event::arrival_delay);
        })
        .key_by(Event::plane)
        .features("plane", |f| {
            f.rows_for(Event::is_scheduled);
            f.last("plane_last_delay", Event::arrival_delay);
            f.since_last("plane_since_landed", |e| !e.is_scheduled());
            f.over(hours(24))
                .count_if("plane_flights_24h", Event::is_scheduled)
                .mean("plane_delay_24h", Event::arrival_delay);
        })
        .key_by(|_| ())
        .features("everywhere", |f| {
            f.rows_for(Event::is_scheduled);
            f.over(hours(2)).share("late_share_2h", Event::late);
            f.over(hours(24)).share("late_share_24h", Event::late);
            f.ever().share("late_share", Event::late);
        })
}

/// What is known of the flight itself.
fn flight(f: &mut Features<Event>) {
    f.rows_for(Event::is_scheduled);
    f.value("hour", |e| {
        scheduled(e, |minute, _, _, _| f64::from(minute) / 60.0)
    });
    f.value("weekday", |e| {
        scheduled(e, |_, weekday, _, _| f64::from(weekday))
    });
    f.value("distance", |e| scheduled(e, |_, _, distance, _| distance));
    f.value("planned_minutes", |e| {
        scheduled(e, |_, _, _, minutes| minutes)
    });
}

/// Minute of day, weekday, distance and planned duration in minutes of a scheduled flight.
fn scheduled(event: &Event, pick: impl Fn(u16, u8, f64, f64) -> f64) -> Option<f64> {
    match event.what {
        What::Scheduled {
            minute,
            weekday,
            distance,
            planned_minutes,
            ..
        } => Some(pick(minute, weekday, distance, planned_minutes)),
        What::Landed { .. } => None,
    }
}

/// The weather of the last full hour at the origin.
fn weather(f: &mut Features<Event>) {
    let mut column = |name: &str, pick: fn(&Readings) -> f32| {
        f.value(name, move |e: &Event| match &e.what {
            What::Scheduled { weather, .. } => Some(pick(weather)),
            What::Landed { .. } => None,
        });
    };
    column("temp", |w| w.temp);
    column("humid", |w| w.humid);
    column("wind_speed", |w| w.wind_speed);
    column("wind_gust", |w| w.wind_gust);
    column("precip", |w| w.precip);
    column("pressure", |w| w.pressure);
    column("visib", |w| w.visib);
}
