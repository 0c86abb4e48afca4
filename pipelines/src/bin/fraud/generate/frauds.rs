//! The kinds of fraud: what a fraudster is going to pay, and when.

use thalweg::connectors::generator::Rng;

use super::actors::Actors;
use super::drift::{Course, Drift};

/// A payment that is going to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Planned {
    pub(super) at_us: i64,
    pub(super) card: u64,
    pub(super) merchant: u32,
    pub(super) amount: f64,
    pub(super) is_fraud: bool,
}

const SECOND: f64 = 1e6;
const MINUTE: f64 = 60.0 * SECOND;
const HOUR: f64 = 60.0 * MINUTE;

/// How probable it is that a usual payment is followed by the beginning of one of these.
const TESTING: f64 = 0.000_12;
const SPREE: f64 = 0.000_6;
const COLLUSION: f64 = 0.000_06;
/// Nothing is the matter with these, but they look like it.
const SHOPPING: f64 = 0.002;

/// What begins at this moment, if anything.
pub(super) fn begin(at_us: i64, actors: &Actors, course: &Course, rng: &mut Rng) -> Vec<Planned> {
    let mut planned = Vec::new();
    if rng.chance(TESTING) {
        testing(at_us, actors, course, rng, &mut planned);
    }
    if rng.chance(SPREE) {
        spree(
            at_us,
            actors.any_card(rng),
            actors,
            course,
            rng,
            &mut planned,
        );
    }
    if rng.chance(COLLUSION) {
        collusion(at_us, actors, rng, &mut planned);
    }
    if rng.chance(SHOPPING) {
        shopping(at_us, actors, rng, &mut planned);
    }
    planned
}

fn after(at_us: i64, us: f64) -> i64 {
    at_us.saturating_add(us as i64)
}

fn between(rng: &mut Rng, low: f64, high: f64) -> f64 {
    low + rng.unit() * (high - low)
}

/// Whoever has bought card numbers tries with small amounts, at one merchant, which of them work; and
/// soon uses some of those.
fn testing(
    at_us: i64,
    actors: &Actors,
    course: &Course,
    rng: &mut Rng,
    planned: &mut Vec<Planned>,
) {
    let merchant = actors.online_merchant(rng);
    let tactics = course.level(Drift::Tactics);
    let mut now_us = at_us;
    for _ in 0..15 + rng.below(25) {
        now_us = after(now_us, rng.exponential((20.0 + 400.0 * tactics) * SECOND));
        let card = actors.any_card(rng);
        planned.push(Planned {
            at_us: now_us,
            card,
            merchant,
            amount: between(rng, 0.5, 2.5) * (1.0 + 3.0 * tactics),
            is_fraud: true,
        });
        if rng.chance(0.3) {
            let later = after(now_us, rng.exponential(6.0 * HOUR));
            spree(later, card, actors, course, rng, planned);
        }
    }
}

/// Whoever has a stolen card spends what they can before it is blocked.
fn spree(
    at_us: i64,
    card: u64,
    actors: &Actors,
    course: &Course,
    rng: &mut Rng,
    planned: &mut Vec<Planned>,
) {
    let tactics = course.level(Drift::Tactics);
    let mut now_us = at_us;
    for _ in 0..3 + rng.below(8) {
        let merchant = match rng.below(10) {
            0..4 => actors.online_merchant(rng),
            4..8 => actors.foreign_merchant(rng),
            _ => actors.any_merchant(rng),
        };
        let factor = between(rng, 1.5, 6.0);
        let factor = factor + tactics * (1.0 - factor);
        planned.push(Planned {
            at_us: now_us,
            card,
            merchant,
            amount: actors.usual_amount(card, merchant, rng).max(5.0) * factor,
            is_fraud: true,
        });
        let pause = (12.0 + 120.0 * tactics) * MINUTE;
        now_us = after(now_us, rng.exponential(pause));
    }
}

/// A merchant and the holders of some cards share the money that is paid for nothing.
fn collusion(at_us: i64, actors: &Actors, rng: &mut Rng, planned: &mut Vec<Planned>) {
    let merchant = actors.any_merchant(rng);
    for _ in 0..6 + rng.below(10) {
        let card = actors.any_card(rng);
        let mut now_us = after(at_us, rng.exponential(3.0 * HOUR));
        let amount = 50.0 * (1 + rng.below(6)) as f64;
        for _ in 0..3 + rng.below(5) {
            planned.push(Planned {
                at_us: now_us,
                card,
                merchant,
                amount,
                is_fraud: true,
            });
            now_us = after(now_us, rng.exponential(5.0 * HOUR));
        }
    }
}

/// Somebody spends an afternoon in town.
fn shopping(at_us: i64, actors: &Actors, rng: &mut Rng, planned: &mut Vec<Planned>) {
    let card = actors.any_card(rng);
    let mut now_us = at_us;
    for _ in 0..3 + rng.below(5) {
        let merchant = actors.any_merchant(rng);
        planned.push(Planned {
            at_us: now_us,
            card,
            merchant,
            amount: actors.usual_amount(card, merchant, rng) * between(rng, 1.0, 3.0),
            is_fraud: false,
        });
        now_us = after(now_us, rng.exponential(20.0 * MINUTE));
    }
}
