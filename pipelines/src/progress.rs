//! What one sees while a job runs: a bar on a terminal, a log line now and then elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use thalweg_engine::clock::Clock;
use thalweg_engine::telemetry::{Counter, Gauge, Latency, Telemetry};
use thalweg_engine::time::{EventTime, millis, secs};
use tracing::info;

use crate::format;
use crate::settings::Settings;

/// Redraws of the bar in a second.
const REDRAWS_PER_SECOND: u8 = 10;

/// The time between two log lines.
const LOG_INTERVAL: Duration = secs(5);

/// Records per second are a mean over so much time.
const RATE_WINDOW: Duration = secs(3);

/// The bar's length in steps.
const BAR_STEPS: u64 = 1_000;

/// A bar on standard error; nothing shows before [`Progress::start`].
pub(crate) fn bar() -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
    ProgressBar::with_draw_target(Some(BAR_STEPS), target)
}

/// Watches a job on a thread of its own.
pub(crate) struct Progress {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows the job's figures on the bar, or logs them where the bar cannot be seen.
    pub(crate) fn start(
        telemetry: &Arc<Telemetry>,
        clock: &Clock,
        settings: &Settings,
        bar: ProgressBar,
    ) -> Self {
        let (stop, stopped) = channel();
        let hidden = bar.is_hidden();
        let interval = if hidden {
            LOG_INTERVAL
        } else {
            millis(1_000 / u64::from(REDRAWS_PER_SECOND))
        };
        let rate_window = if hidden { LOG_INTERVAL } else { RATE_WINDOW };
        let mut watch = Watch::new(telemetry, clock, rate_window);
        let settings = settings.clone();
        let show = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let figures = watch.look();
                if hidden {
                    figures.log();
                } else {
                    figures.draw(&bar, settings.span());
                }
            }
            bar.finish_and_clear();
        };
        let thread = std::thread::Builder::new()
            .name("progress".to_owned())
            .spawn(show);
        // A job without its progress is better than none.
        Self {
            stop,
            thread: thread.ok(),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) {
        drop(self.stop);
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

/// Looks at a running job's telemetry.
struct Watch {
    telemetry: Arc<Telemetry>,
    clock: Clock,
    auc: Gauge,
    alerts: Counter,
    meter: Meter,
    event_time: Option<EventTime>,
}

impl Watch {
    fn new(telemetry: &Arc<Telemetry>, clock: &Clock, rate_window: Duration) -> Self {
        Self {
            telemetry: Arc::clone(telemetry),
            clock: clock.clone(),
            auc: telemetry.gauge("quality_auc"),
            alerts: telemetry.counter("alerts_fired"),
            meter: Meter::new(rate_window),
            event_time: None,
        }
    }

    fn look(&mut self) -> Figures {
        let records_in = self.telemetry.records_in();
        // At the end all partitions are complete and there is no time any more: the last one stays.
        self.event_time = self.telemetry.event_time().or(self.event_time);
        Figures {
            event_time: self.event_time,
            records_in,
            per_second: self.meter.per_second(self.clock.now_ns(), records_in),
            latency: self.telemetry.sink_latency(),
            auc: self.auc.get(),
            alerts: self.alerts.get(),
        }
    }
}

/// The job's figures at one moment.
struct Figures {
    event_time: Option<EventTime>,
    records_in: u64,
    per_second: f64,
    latency: Latency,
    auc: f64,
    alerts: u64,
}

impl Figures {
    fn draw(&self, bar: &ProgressBar, span: Option<(EventTime, EventTime)>) {
        let share = span
            .zip(self.event_time)
            .map(|(span, time)| share_of(span, time));
        let template = if span.is_some() { MEASURED } else { UNMEASURED };
        bar.set_style(style(template));
        bar.set_prefix(self.event_time.map_or("starting".to_owned(), |time| {
            format!("{} UTC", format::minute(time))
        }));
        bar.set_message(self.line());
        bar.set_position((share.unwrap_or(0.0) * BAR_STEPS as f64) as u64);
        bar.tick();
    }

    fn line(&self) -> String {
        let auc = if self.auc.is_finite() {
            format!("{:.4}", self.auc)
        } else {
            "-".to_owned()
        };
        format!(
            "{} records, {}/s   latency p50 {}, p99 {}   AUC {auc}   alerts {}",
            format::count(self.records_in),
            format::per_second(self.per_second),
            format::latency(self.latency.p50),
            format::latency(self.latency.p99),
            format::count(self.alerts),
        )
    }

    fn log(&self) {
        info!(
            event_time = self.event_time.map(tracing::field::display),
            records_in = self.records_in,
            events_per_second = self.per_second.round() as u64,
            latency_p50_us = self.latency.p50.round() as u64,
            latency_p99_us = self.latency.p99.round() as u64,
            auc = self.auc.is_finite().then_some(self.auc),
            alerts = self.alerts,
            "progress"
        );
    }
}

const MEASURED: &str = "{prefix}  {wide_bar:.cyan/dim}  {percent:>3} %\n{wide_msg}";
const UNMEASURED: &str = "{spinner:.cyan} {prefix}\n{wide_msg}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("invariant: the template is valid");
    style.progress_chars("━╸─")
}

/// How much of the span has passed at `time`, from 0 to 1.
fn share_of((first, last): (EventTime, EventTime), time: EventTime) -> f64 {
    (time.since(first).as_secs_f64() / last.since(first).as_secs_f64()).min(1.0)
}

/// The rate of a growing count over the last moments.
struct Meter {
    window_ns: u64,
    samples: VecDeque<(u64, u64)>,
}

impl Meter {
    fn new(window: Duration) -> Self {
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            window_ns,
            samples: VecDeque::from([(0, 0)]),
        }
    }

    /// Takes in the count at a time and returns its growth per second since the window began.
    fn per_second(&mut self, now_ns: u64, count: u64) -> f64 {
        self.samples.push_back((now_ns, count));
        let start_ns = now_ns.saturating_sub(self.window_ns);
        // The last sample before the window stays: its count is the one the window begins with.
        while self
            .samples
            .get(1)
            .is_some_and(|(at_ns, _)| *at_ns <= start_ns)
        {
            self.samples.pop_front();
        }
        let (first_ns, first) = self.samples[0];
        let seconds = now_ns.saturating_sub(first_ns) as f64 / 1e9;
        if seconds > 0.0 {
            count.saturating_sub(first) as f64 / seconds
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let mut meter = Meter::new(secs(2));
        assert_eq!(meter.per_second(0, 0), 0.0);
        assert_eq!(meter.per_second(SECOND_NS, 100), 100.0);
        assert_eq!(meter.per_second(2 * SECOND_NS, 200), 100.0);
        assert_eq!(meter.per_second(3 * SECOND_NS, 900), 400.0);
        assert_eq!(meter.per_second(4 * SECOND_NS, 900), 350.0);
        assert_eq!(meter.per_second(9 * SECOND_NS, 900), 0.0);
    }

    #[test]
    fn the_share_stays_between_0_and_1() {
        let at = EventTime::from_seconds;
        let check = |time, expected| assert_eq!(share_of((at(100), at(200)), at(time)), expected);
        check(50, 0.0);
        check(125, 0.25);
        check(900, 1.0);
    }

    #[test]
    fn figures_not_known_yet_are_dashes() {
        let telemetry = Arc::new(Telemetry::default());
        let clock = Clock::manual(EventTime::from_seconds(0));
        let mut watch = Watch::new(&telemetry, &clock, secs(3));
        let expected = "0 records, 0/s   latency p50 0 us, p99 0 us   AUC -   alerts 0";
        assert_eq!(watch.look().line(), expected);
        telemetry.gauge("quality_auc").set(0.71239);
        telemetry.counter("alerts_fired").add(1_234);
        assert!(watch.look().line().ends_with("AUC 0.7124   alerts 1,234"));
    }

    #[test]
    fn the_templates_are_valid() {
        style(MEASURED);
        style(UNMEASURED);
    }
}
