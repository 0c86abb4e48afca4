//! What is measured of a run: wall time and processor time.

use std::time::Instant;

/// So many events in so much time.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) events: usize,
    pub(crate) seconds: f64,
    pub(crate) core_seconds: f64,
}

impl Measured {
    /// Measures what `work` does for the events, in this process.
    pub(crate) fn of(events: usize, work: impl FnOnce()) -> Self {
        let (begun, busy) = (Instant::now(), processor_seconds());
        work();
        Self {
            events,
            seconds: begun.elapsed().as_secs_f64(),
            core_seconds: processor_seconds() - busy,
        }
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    pub(crate) fn per_core(&self) -> f64 {
        self.events as f64 / self.core_seconds
    }

    /// The least time of both, each for itself.
    pub(crate) fn or_better(self, other: Self) -> Self {
        if self.events == 0 {
            return other;
        }
        Self {
            events: other.events,
            seconds: self.seconds.min(other.seconds),
            core_seconds: self.core_seconds.min(other.core_seconds),
        }
    }

    pub(crate) fn print(&self, what: &str) {
        let (wall, core) = (self.per_second(), self.per_core());
        eprintln!("  {what:<24}{wall:>10.0} events/s {core:>10.0} per core");
    }
}

/// Processor time that this process has had, of all its threads, in user and kernel mode.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // After the program's name, which may hold anything: fields 14 and 15, in hundredths.
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks = |field: &str| field.parse::<f64>().unwrap();
    (ticks(fields[11]) + ticks(fields[12])) / 100.0
}
