//! The seeded stream of card payments that every part of the job reads.

use serde::{Deserialize, Serialize};
use thalweg::prelude::EventTime;

/// Cards, of which a few are very busy.
pub(crate) const CARDS: usize = 100_000;
/// The exponent of Zipf's law that the cards' shares of the payments follow.
const EXPONENT: f64 = 1.1;
/// Merchants, all alike.
const MERCHANTS: u64 = 5_000;
/// Payments are spread over so much event time.
pub(crate) const SPAN_MS: i64 = 48 * 3_600_000;

/// One payment.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Payment {
    pub(crate) card: u64,
    pub(crate) merchant: u32,
    pub(crate) amount: f64,
    /// Milliseconds since the Unix epoch.
    pub(crate) ts: i64,
}

impl Payment {
    /// Its event time.
    pub(crate) fn at(&self) -> EventTime {
        EventTime::from_micros(self.ts * 1_000)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// So many payments in event-time order.
pub(crate) fn generate(count: usize, seed: u64) -> Vec<Payment> {
    let mut random = Random(seed);
    let mut total = 0.0;
    let shares: Vec<f64> = (1..=CARDS)
        .map(|rank| {
            total += (rank as f64).powf(-EXPONENT);
            total
        })
        .collect();
    let begin_ms = 1_700_000_000_000;
    let payment = |n: usize| {
        let wanted = random.uniform() * total;
        let rank = shares
            .partition_point(|share| *share <= wanted)
            .min(CARDS - 1);
        // Card numbers say nothing of how busy a card is.
        let card = Random(rank as u64).next();
        let merchant = (random.next() % MERCHANTS) as u32;
        let amount = (-(1.0 - random.uniform()).ln() * 5_000.0).round() / 100.0;
        let ts = begin_ms + SPAN_MS * n as i64 / count as i64;
        Payment {
            card,
            merchant,
            amount,
            ts,
        }
    };
    (0..count).map(payment).collect()
}
