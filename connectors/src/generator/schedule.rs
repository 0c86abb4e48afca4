//! When events happen, and what changes in the course of time.

use std::time::Duration;

/// The times of events, in seconds from the start.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Events per second outside bursts.
    pub(crate) rate: f64,
    pub(crate) bursts: Option<Bursts>,
    pub(crate) changes: Vec<Change>,
}

/// At the start of every `every`, for `length`, there are `factor` times as many events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    pub(crate) every: Duration,
    pub(crate) length: Duration,
    pub(crate) factor: f64,
}

/// From `after` on, a level goes to another in a straight line that takes `over`.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) after: Duration,
    pub(crate) over: Duration,
    pub(crate) to: f64,
}

impl Schedule {
    /// What is wrong with it, if anything.
    pub(crate) fn problem(&self) -> Option<String> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        if !positive(self.rate) {
            return Some(format!("{} events a second is no rate", self.rate));
        }
        let Bursts {
            every,
            length,
            factor,
        } = self.bursts?;
        if length.is_zero() || length > every {
            return Some(
                "a burst lasts longer than nothing and no longer than its period".to_owned(),
            );
        }
        (!positive(factor)).then(|| format!("a burst cannot have {factor} times as many events"))
    }

    /// When the event of this number happens.
    pub(crate) fn seconds(&self, number: u64) -> f64 {
        let number = number as f64;
        let Some(Bursts {
            every,
            length,
            factor,
        }) = self.bursts
        else {
            return number / self.rate;
        };
        let (every, length) = (every.as_secs_f64(), length.as_secs_f64());
        let in_burst = self.rate * factor * length;
        let in_period = in_burst + self.rate * (every - length);
        let periods = (number / in_period).floor();
        let rest = number - periods * in_period;
        let within = if rest < in_burst {
            rest / (self.rate * factor)
        } else {
            length + (rest - in_burst) / self.rate
        };
        periods * every + within
    }

    /// The level of this name so many seconds after the start.
    pub(crate) fn level(&self, name: &str, seconds: f64) -> f64 {
        let mut level = 0.0;
        for change in self.changes.iter().filter(|change| change.name == name) {
            let gone = seconds - change.after.as_secs_f64();
            if gone >= 0.0 {
                let over = change.over.as_secs_f64();
                let share = if gone < over { gone / over } else { 1.0 };
                level += share * (change.to - level);
            }
        }
        level
    }
}

#[cfg(test)]
mod tests {
    use thalweg_engine::time::secs;

    use super::*;

    fn schedule(bursts: Option<Bursts>) -> Schedule {
        let change = |after, over, to| Change {
            name: "price".to_owned(),
            after: secs(after),
            over: secs(over),
            to,
        };
        Schedule {
            rate: 10.0,
            bursts,
            changes: vec![change(100, 50, 2.0), change(200, 0, -1.0)],
        }
    }

    #[test]
    fn events_come_at_their_rate() {
        assert_eq!(schedule(None).seconds(25), 2.5);
        let bursts = Bursts {
            every: secs(10),
            length: secs(2),
            factor: 5.0,
        };
        let bursts = schedule(Some(bursts));
        // 100 in the two seconds of the burst, 80 in the eight after it.
        for (number, expected) in [
            (0, 0.0),
            (50, 1.0),
            (100, 2.0),
            (140, 6.0),
            (180, 10.0),
            (230, 11.0),
        ] {
            assert!((bursts.seconds(number) - expected).abs() < 1e-9, "{number}");
        }
        let times: Vec<_> = (0..2_000).map(|n| bursts.seconds(n)).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn levels_change_on_schedule() {
        let schedule = schedule(None);
        for (seconds, expected) in [
            (99.0, 0.0),
            (100.0, 0.0),
            (125.0, 1.0),
            (150.0, 2.0),
            (199.0, 2.0),
            (200.0, -1.0),
        ] {
            assert_eq!(schedule.level("price", seconds), expected, "{seconds}");
        }
        assert_eq!(schedule.level("other", 300.0), 0.0);
    }
}
