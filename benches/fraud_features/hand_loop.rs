//! The job by hand: a hash map of cards, each with a ring buffer, running sums and monotone queues.

use std::collections::{HashMap, VecDeque};

use super::payments::Payment;
use super::{FEATURES, Row};

/// Window lengths in milliseconds.
const LENGTHS_MS: [i64; 3] = [60_000, 3_600_000, 24 * 3_600_000];

#[derive(Default)]
struct Window {
    /// How many of the card's payments have left it.
    begin: u64,
    sum: f64,
    squares: f64,
    /// Number of the payment and its amount, falling.
    greatest: VecDeque<(u64, f64)>,
}

#[derive(Default)]
struct Card {
    /// The payments of the longest window.
    ring: VecDeque<Payment>,
    /// How many payments have left the ring.
    gone: u64,
    windows: [Window; 3],
    /// Payments per merchant in the longest window.
    merchants: HashMap<u32, u32>,
}

/// The state of all cards.
#[derive(Default)]
pub(crate) struct HandLoop {
    cards: HashMap<u64, Card>,
}

impl HandLoop {
    pub(crate) fn update(&mut self, payment: &Payment, row: &mut Row) {
        let card = self.cards.entry(payment.card).or_default();
        let number = card.gone + card.ring.len() as u64;
        card.ring.push_back(*payment);
        *card.merchants.entry(payment.merchant).or_insert(0) += 1;
        for (window, length) in card.windows.iter_mut().zip(LENGTHS_MS) {
            window.sum += payment.amount;
            window.squares += payment.amount * payment.amount;
            while window
                .greatest
                .back()
                .is_some_and(|(_, amount)| *amount <= payment.amount)
            {
                window.greatest.pop_back();
            }
            window.greatest.push_back((number, payment.amount));
            loop {
                let oldest = card.ring[(window.begin - card.gone) as usize];
                if oldest.ts > payment.ts - length {
                    break;
                }
                window.sum -= oldest.amount;
                window.squares -= oldest.amount * oldest.amount;
                window.begin += 1;
            }
            while window
                .greatest
                .front()
                .is_some_and(|(number, _)| *number < window.begin)
            {
                window.greatest.pop_front();
            }
        }
        while card.gone < card.windows[2].begin {
            if let Some(oldest) = card.ring.pop_front()
                && let Some(payments) = card.merchants.get_mut(&oldest.merchant)
            {
                *payments -= 1;
                if *payments == 0 {
                    card.merchants.remove(&oldest.merchant);
                }
            }
            card.gone += 1;
        }
        let mut feature = 0;
        let mut put = |value| {
            row[feature] = value;
            feature += 1;
        };
        for window in &card.windows {
            let count = (number + 1 - window.begin) as f64;
            let mean = window.sum / count;
            let variance = (window.squares - window.sum * mean) / (count - 1.0);
            put(count);
            put(window.sum);
            put(mean);
            put(if count < 2.0 {
                f64::NAN
            } else {
                variance.max(0.0).sqrt()
            });
            put(window.greatest[0].1);
        }
        put(card.merchants.len() as f64);
        assert_eq!(feature, FEATURES);
    }
}
