//! Memory of a million keys, as the process has it.

use std::process::Command;
use std::time::Duration;

use thalweg::prelude::EventTime;
use thalweg_engine::state::KeyedState;
use thalweg_operators::features::KeyFeatures;

use super::declare::{Event, Last, plan};

pub(crate) const KEYS: u64 = 1_000_000;
/// Events of each key in the longest window.
pub(crate) const LIVE: u64 = 32;
pub(crate) const WINDOWS: u32 = 5;

/// As [`bytes_per_key`], in a process of its own, so that nothing else is measured.
pub(crate) fn measured_apart(last: Last) -> f64 {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own).arg(last.name()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Prints what [`measured_apart`] reads, where an argument asks for it.
pub(crate) fn print_if_asked() -> bool {
    let asked = std::env::args().find_map(|argument| Last::named(&argument));
    asked
        .map(|last| println!("{}", bytes_per_key(last)))
        .is_some()
}

/// Resident memory that a key takes, with its place in the table of keys, once every key has had more
/// events than are live.
fn bytes_per_key(last: Last) -> f64 {
    let windows = (0..WINDOWS).map(|n| Duration::from_secs(LIVE >> (WINDOWS - 1 - n)));
    let mut plan = plan(windows, last);
    let mut keys = KeyedState::<u64, KeyFeatures>::default();
    let mut row = Vec::new();
    let before = resident_bytes();
    for second in 0..LIVE + 8 {
        let at = EventTime::from_seconds(second.cast_signed());
        for key in 0..KEYS {
            row.clear();
            let event = Event::nth(key * 1_000 + second);
            plan.update(keys.entry(&key), &event, at, &mut row);
        }
    }
    assert_eq!(
        row[row.len() - 8],
        LIVE as f64,
        "events in the longest window"
    );
    assert_eq!(keys.len() as u64, KEYS);
    (resident_bytes() - before) as f64 / KEYS as f64
}

/// Resident memory of this process, as Linux has it in `/proc/self/smaps_rollup`.
fn resident_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = rss.unwrap().trim().split(' ').next().unwrap();
    kib.parse::<u64>().unwrap() * 1_024
}
