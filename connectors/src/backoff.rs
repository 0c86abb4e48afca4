//! How long to wait before the next try.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

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
    /// what the server has `asked` for, within bounds. The `jitter` is a random number from 0 to 1.
    pub(crate) fn wait(
        &self,
        retry: u32,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        if retry >= self.retries {
            return None;
        }
        let most = self
            .first
            .saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX))
            .min(self.longest);
        let wait = most.mul_f64(jitter);
        Some(
            asked
                .unwrap_or_default()
                .clamp(wait, self.longest.max(wait)),
        )
    }
}

/// A random number from 0 to 1.
pub(crate) fn jitter() -> f64 {
    // The keys of a hash map are the standard library's only random numbers.
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
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
        for (retry, most) in [(0, 10), (1, 20), (2, 40), (3, 50)] {
            let wait = |jitter| backoff.wait(retry, None, jitter);
            assert_eq!(wait(1.0), Some(Duration::from_millis(most)));
            assert_eq!(wait(0.5), Some(Duration::from_millis(most) / 2));
            assert_eq!(wait(0.0), Some(Duration::ZERO));
        }
        assert_eq!(backoff.wait(4, None, 0.5), None);
        let asked = |millis| backoff.wait(0, Some(Duration::from_millis(millis)), 0.5);
        assert_eq!(asked(30), Some(Duration::from_millis(30)));
        assert_eq!(asked(9_000), Some(Duration::from_millis(50)));
        let jitters: Vec<_> = (0..100).map(|_| jitter()).collect();
        assert!(jitters.iter().all(|jitter| (0.0..1.0).contains(jitter)));
        assert!(jitters.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
