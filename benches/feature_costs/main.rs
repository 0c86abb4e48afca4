//! What per-event features cost: memory for a million keys, and time against the length of a
//! window, the events in it, and the number of windows.
//!
//! Writes the curves to `benches/feature_costs.svg` and ends with one line of JSON on standard
//! output.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod curves;
mod declare;
mod memory;
mod plot;

use std::path::Path;

use declare::Last;

fn main() {
    if memory::print_if_asked() {
        return;
    }
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    eprintln!(
        "memory: {} keys with {} live events each, {} windows x {} aggregates",
        memory::KEYS,
        memory::LIVE,
        memory::WINDOWS,
        declare::AGGREGATES,
    );
    let bytes_per_key = memory::measured_apart(Last::Share);
    let with_ids = memory::measured_apart(Last::Distinct);
    eprintln!("  {bytes_per_key:.0} bytes a key, resident; {with_ids:.0} with an id per event");
    let curves = [
        curves::window_length(),
        curves::live_events(),
        curves::windows(),
    ];
    for curve in &curves {
        eprintln!("{}", curve.title);
        for (x, ns) in &curve.points {
            eprintln!("  {x:>12} {ns:>8.0} ns an event");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/feature_costs.svg");
    plot::draw(&path, &curves).unwrap();
    eprintln!("curves: benches/feature_costs.svg");
    let [length, live, windows] = &curves;
    let line = serde_json::json!({
        "bench": "feature_costs",
        "bytes_per_key": bytes_per_key.round(),
        "bytes_per_key_with_ids": with_ids.round(),
        "longest_window_over_shortest": length.last_over_first(),
        "most_live_events_over_fewest": live.last_over_first(),
        "most_windows": windows.points.last().unwrap().0,
        "most_windows_over_one": windows.last_over_first(),
    });
    println!("{line}");
}
