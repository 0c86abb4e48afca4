//! For how long a reader has found nothing: what makes a partition idle.
//!
//! The reader tells its worker, behind whatever it has read before. So neither what still waits to be
//! taken, nor a job that is held up, nor a source that cannot be reached is taken for silence.

use std::time::Duration;

use crate::source::ReadStatus;

/// What one reader has heard of late.
pub(crate) struct Silence {
    idle_after: Duration,
    lasted: Duration,
    /// How much of it the worker has been told.
    told: Duration,
}

impl Silence {
    pub(crate) fn new(idle_after: Duration) -> Self {
        Self {
            idle_after,
            lasted: Duration::ZERO,
            told: Duration::ZERO,
        }
    }

    /// Something has come.
    pub(crate) fn end(&mut self) {
        self.lasted = Duration::ZERO;
    }

    /// Nothing was found in a look that took so long. The process may have been stopped meanwhile, so no
    /// single look makes a partition idle.
    pub(crate) fn listen(&mut self, status: ReadStatus, looked: Duration) {
        match status {
            ReadStatus::Waiting => self.lasted += looked.min(self.idle_after / 2),
            ReadStatus::Away => self.end(),
            ReadStatus::More | ReadStatus::End => {}
        }
    }

    /// Whether the worker should be told.
    pub(crate) fn is_news(&self) -> bool {
        self.lasted.abs_diff(self.told) >= self.idle_after / 10
    }

    /// How long it has lasted, which the worker is told now.
    pub(crate) fn tell(&mut self) -> Duration {
        self.told = self.lasted;
        self.lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{millis, secs};

    /// After such looks: what the worker would be told, if it is news.
    fn told(looks: &[(ReadStatus, Duration)]) -> Option<Duration> {
        let mut silence = Silence::new(secs(5));
        for (status, looked) in looks {
            silence.listen(*status, *looked);
        }
        silence.is_news().then(|| silence.tell())
    }

    #[test]
    fn looks_that_find_nothing_add_up() {
        assert_eq!(told(&[(ReadStatus::Waiting, millis(499))]), None);
        let looks = [(ReadStatus::Waiting, millis(500)); 11];
        assert_eq!(told(&looks), Some(millis(5_500)));
    }

    #[test]
    fn one_long_look_makes_nobody_idle() {
        let stopped = (ReadStatus::Waiting, secs(100));
        assert!(told(&[stopped]).is_some_and(|silent| silent < secs(5)));
    }

    #[test]
    fn what_cannot_be_reached_is_not_silent() {
        let (waiting, away) = (
            (ReadStatus::Waiting, secs(2)),
            (ReadStatus::Away, secs(100)),
        );
        assert_eq!(told(&[waiting, away]), None);
        assert_eq!(told(&[away, waiting]), Some(secs(2)));
    }

    #[test]
    fn the_end_of_a_silence_is_news_where_it_had_been_told_of() {
        let mut silence = Silence::new(secs(5));
        silence.listen(ReadStatus::Waiting, secs(2));
        silence.end();
        assert!(!silence.is_news());
        silence.listen(ReadStatus::Waiting, secs(2));
        assert_eq!(silence.tell(), secs(2));
        assert!(!silence.is_news());
        silence.end();
        assert!(silence.is_news());
        assert_eq!(silence.tell(), Duration::ZERO);
    }
}
