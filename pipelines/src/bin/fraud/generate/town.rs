//! What happens in town, in the order in which one hears of it.

use std::collections::{BTreeMap, VecDeque};

use thalweg::connectors::generator::Rng;
use thalweg::prelude::EventTime;

use super::Generate;
use super::actors::Actors;
use super::drift::{Course, Drift};
use super::frauds::{self, Planned};
use crate::event::{Label, Payment};

/// 1 January 2024, 00:00 UTC.
const START_US: i64 = 1_704_067_200_000_000;
const SECOND_US: f64 = 1e6;
const HOUR_US: f64 = 3_600.0 * SECOND_US;
const DAY_US: f64 = 24.0 * HOUR_US;
/// Payments of a card, in the whole stream and in a day.
const PER_CARD: u64 = 50;
const PER_CARD_AND_DAY: f64 = 5.0;
const CARDS_MIN: u64 = 100;
const CARDS_MAX: u64 = 200_000;
/// How long it takes at most to hear of a payment.
const DELAY_MAX_US: f64 = 2.0 * SECOND_US;

/// What one hears of.
pub(super) enum Happened {
    Payment { payment: Payment, is_fraud: bool },
    Label(Label),
}

/// The town at a moment.
pub(super) struct Town {
    rng: Rng,
    actors: Actors,
    course: Course,
    events: u64,
    /// Payments made so far.
    made: u64,
    /// When somebody next pays as usual.
    usual_us: i64,
    /// What is going to be paid, by when, and the number of the plan.
    planned: BTreeMap<(i64, u64), Planned>,
    plan: u64,
    /// What one is going to hear of, by when, and what number it has.
    news: BTreeMap<(i64, u64), Happened>,
    news_number: u64,
    now_us: i64,
    ready: VecDeque<Happened>,
}

impl Town {
    pub(super) fn new(generate: &Generate) -> Self {
        let mut rng = Rng::of(generate.seed, 0);
        let cards = (generate.events / PER_CARD).clamp(CARDS_MIN, CARDS_MAX);
        Self {
            actors: Actors::new(usize::try_from(cards).unwrap_or(usize::MAX), &mut rng),
            rng,
            course: Course::new(&generate.drift, generate.drift_after),
            events: generate.events,
            made: 0,
            usual_us: START_US,
            planned: BTreeMap::new(),
            plan: 0,
            news: BTreeMap::new(),
            news_number: 0,
            now_us: START_US,
            ready: VecDeque::new(),
        }
    }

    /// What one hears of next; nothing when all payments have been heard of.
    pub(super) fn next(&mut self) -> Option<Happened> {
        while self.ready.is_empty() {
            if self.made == self.events {
                // Labels that come later are left out, as the future is.
                let latest = self.now_us.saturating_add(DELAY_MAX_US as i64);
                self.hear_until(latest);
                return self.ready.pop_front();
            }
            self.pay();
            self.hear_until(self.now_us - 1);
        }
        self.ready.pop_front()
    }

    /// Makes the next payment of all.
    fn pay(&mut self) {
        self.course.advance(self.made as f64 / self.events as f64);
        let planned = match self.planned.first_entry() {
            Some(first) if first.key().0 <= self.usual_us => first.remove(),
            _ => self.usual(),
        };
        self.make(planned);
    }

    /// What somebody pays as usual, after which something may begin.
    fn usual(&mut self) -> Planned {
        let at_us = self.usual_us;
        let rng = &mut self.rng;
        for plan in frauds::begin(at_us, &self.actors, &self.course, rng) {
            self.plan += 1;
            self.planned.insert((plan.at_us, self.plan), plan);
        }
        let card = self.actors.any_card(rng);
        let travel = 0.000_5 + 0.02 * self.course.level(Drift::Travel);
        if rng.chance(travel) {
            let days = rng.exponential(3.0 * DAY_US) as i64;
            self.actors.cards[card as usize].abroad_until_us = at_us.saturating_add(days);
        }
        let merchant = self.actors.usual_merchant(card, at_us, rng);
        let amount = self.actors.usual_amount(card, merchant, rng);
        let spacing_us = DAY_US / (PER_CARD_AND_DAY * self.actors.cards.len() as f64);
        let pause_us = rng.exponential(spacing_us / busyness(at_us));
        self.usual_us = at_us.saturating_add(pause_us as i64);
        Planned {
            at_us,
            card,
            merchant,
            amount: amount * (1.0 + 0.5 * self.course.level(Drift::Amounts)),
            is_fraud: false,
        }
    }

    fn make(&mut self, planned: Planned) {
        let Planned {
            at_us,
            card,
            merchant,
            amount,
            is_fraud,
        } = planned;
        self.now_us = self.now_us.max(at_us);
        let kind = &self.actors.merchants[merchant as usize];
        let payment = Payment {
            payment: self.made,
            at: EventTime::from_micros(at_us),
            card,
            merchant,
            amount: (amount * 100.0).round().max(50.0) / 100.0,
            online: kind.is_online,
            abroad: kind.is_abroad,
        };
        self.made += 1;
        if let Some(known_us) = self.known_us(at_us, is_fraud) {
            let label = Label {
                payment: payment.payment,
                at: EventTime::from_micros(known_us),
                card,
                merchant,
                fraud: is_fraud,
            };
            self.tell(known_us, Happened::Label(label));
        }
        let delay_us = self.rng.exponential(0.3 * SECOND_US).min(DELAY_MAX_US);
        let heard_us = at_us.saturating_add(delay_us as i64);
        self.tell(heard_us, Happened::Payment { payment, is_fraud });
    }

    /// When it is known what became of a payment; of some it never is.
    fn known_us(&mut self, at_us: i64, is_fraud: bool) -> Option<i64> {
        let rng = &mut self.rng;
        let (never, least, more) = if is_fraud {
            (0.05, HOUR_US, 8.0 * HOUR_US)
        } else {
            (0.02, 24.0 * HOUR_US, 6.0 * HOUR_US)
        };
        let known_us = at_us.saturating_add((least + rng.exponential(more)) as i64);
        (!rng.chance(never)).then_some(known_us)
    }

    fn tell(&mut self, at_us: i64, happened: Happened) {
        self.news_number += 1;
        self.news.insert((at_us, self.news_number), happened);
    }

    fn hear_until(&mut self, until_us: i64) {
        let later = self.news.split_off(&(until_us.saturating_add(1), 0));
        let heard = std::mem::replace(&mut self.news, later);
        self.ready.extend(heard.into_values());
    }
}

/// How much is going on at this time of day, around 1.
fn busyness(at_us: i64) -> f64 {
    let hour = at_us.rem_euclid(DAY_US as i64) as f64 / HOUR_US;
    1.0 + 0.7 * ((hour - 8.0) / 24.0 * std::f64::consts::TAU).sin()
}
