//! How long to wait before the next try.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crate::rng::Rng;

/// Exponential back-off with full jitter (Marc Brooker, "Exponential Backoff And Jitter", 2015):
/// any time up to a bound that doubles with every try, so that many who failed at once do not come
/// back at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) retries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            retries: 8,
        }
    }
}

impl Backoff {
    /// The wait before the retry of this number, from 0; none when there are to be no more. At least
    /// what the server has `asked` for, within bounds.
    pub(crate) fn wait(
        &self,
        retry: u32,
        asked: Option<Duration>,
        rng: &mut Rng,
    ) -> Option<Duration> {
        if retry >= self.retries {
            return None;
        }
        let most = self
            .first
            .saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX))
            .min(self.longest);
        let wait = most.mul_f64(rng.unit());
        Some(
            asked
                .unwrap_or_default()
                .clamp(wait, self.longest.max(wait)),
        )
    }
}

/// Random numbers that are others each time.
pub(crate) fn jitter() -> Rng {
    Rng::new(RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_end() {
        let backoff = Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(50),
            retries: 4,
        };
        let mut rng = Rng::new(1);
        for (retry, most) in [(0, 10), (1, 20), (2, 40), (3, 50)] {
            let waits: Vec<_> = (0..200)
                .filter_map(|_| backoff.wait(retry, None, &mut rng))
                .collect();
            let longest = waits.iter().max().unwrap();
            assert!(*longest <= Duration::from_millis(most));
            assert!(*longest > Duration::from_millis(most * 9 / 10));
            assert!(*waits.iter().min().unwrap() < Duration::from_millis(most / 5));
        }
        assert_eq!(backoff.wait(4, None, &mut rng), None);
        let asked = |millis| backoff.wait(0, Some(Duration::from_millis(millis)), &mut Rng::new(1));
        assert_eq!(asked(30), Some(Duration::from_millis(30)));
        assert_eq!(asked(9_000), Some(Duration::from_millis(50)));
    }
}
