//! The features operator over its keyed state, without a dataflow around it.

use std::iter::zip;

use thalweg::prelude::*;
use thalweg_engine::look_ahead::{Ahead, BLOCKS_UNDER_WAY, Stage, stages};
use thalweg_engine::state::KeyedState;
use thalweg_operators::features::{FeaturePlan, KeyFeatures};

use super::payments::Payment;

/// Declares the sixteen features.
pub(crate) fn declare(f: &mut Features<Payment>) {
    let amount = f.column(|p: &Payment| p.amount);
    for (name, length) in [("1m", minutes(1)), ("1h", hours(1)), ("24h", hours(24))] {
        let name = |what: &str| format!("{what}_{name}");
        f.over(length)
            .count(&name("count"))
            .sum(&name("sum"), amount)
            .mean(&name("mean"), amount)
            .std(&name("std"), amount)
            .max(&name("max"), amount);
    }
    f.over(hours(24)).distinct("merchants_24h", |p| p.merchant);
}

/// The operator and the state of all cards.
pub(crate) struct Operator {
    plan: FeaturePlan<Payment>,
    cards: KeyedState<u64, KeyFeatures>,
}

impl Operator {
    pub(crate) fn new() -> Self {
        let mut features = Features::new();
        declare(&mut features);
        let plan = features.build().unwrap();
        Self {
            plan,
            cards: KeyedState::default(),
        }
    }

    /// Appends the row of each payment to `rows`.
    pub(crate) fn update(&mut self, payments: &[Payment], rows: &mut Vec<f64>) {
        let mut ahead = [Ahead::default(); BLOCKS_UNDER_WAY];
        for (block, range, stage) in stages(payments.len()) {
            let (payments, ahead) = (&payments[range], &mut ahead[block % BLOCKS_UNDER_WAY]);
            match stage {
                Stage::LookUp => {
                    let keys = payments.iter().map(|payment| &payment.card);
                    *ahead = self.cards.look_ahead(keys);
                }
                Stage::Touch(reach) => {
                    let states = self.cards.sighted(ahead);
                    self.plan.touch(reach, payments.iter(), &states);
                }
                Stage::Process => {
                    for (payment, hash) in zip(payments, ahead.hashes()) {
                        let state = self.cards.entry_hashed(hash, &payment.card);
                        self.plan.update(state, payment, payment.at(), rows);
                    }
                }
            }
        }
    }
}
