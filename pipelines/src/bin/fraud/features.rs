//! The features: the payment itself, what its card, its merchant and the two together have done
//! lately, and what is known of earlier frauds.

use thalweg::prelude::*;

use crate::event::Event;

/// Attaches all features; only payments get rows, labels update what they count.
pub(crate) fn declare<'s>(events: Stream<'s, Event>) -> FeatureStream<'s, Event> {
    events
        .key_by(|e| e.card)
        .features("card", |f| {
            payment(f);
            card(f);
        })
        .key_by(|e| e.merchant)
        .features("merchant", merchant)
        .key_by(|e| (e.card, e.merchant))
        .features("pair", |f| {
            f.rows_for(Event::is_payment);
            f.over(hours(24))
                .count_if("pair_count_24h", Event::is_payment);
            f.over(days(7))
                .count_if("pair_count_7d", Event::is_payment)
                .sum("pair_sum_7d", Event::amount);
        })
        .key_by(|_| ())
        .features("everywhere", |f| {
            f.rows_for(Event::is_payment);
            f.ever().mean("fraud_share", Event::reported);
        })
}

/// What is known of the payment itself.
fn payment(f: &mut Features<Event>) {
    let flag = |flag: Option<bool>| flag.map(|is| f64::from(u8::from(is)));
    f.rows_for(Event::is_payment);
    f.value("amount", Event::log_amount);
    f.value("online", move |e: &Event| flag(e.is_online()));
    f.value("abroad", move |e: &Event| flag(e.is_abroad()));
    f.value("hour", |e: &Event| {
        let second = e.at.as_micros().div_euclid(1_000_000).rem_euclid(86_400);
        second as f64 / 3_600.0
    });
}

fn card(f: &mut Features<Event>) {
    f.since_last("since_last", Event::is_payment);
    for (length, name) in [(minutes(1), "1m"), (hours(1), "1h"), (hours(24), "24h")] {
        let named = |statistic: &str| format!("{statistic}_{name}");
        f.over(length)
            .count_if(&named("count"), Event::is_payment)
            .sum(&named("sum"), Event::amount)
            .mean(&named("mean"), Event::log_amount)
            .std(&named("std"), Event::log_amount)
            .max(&named("max"), Event::log_amount);
    }
    f.over(hours(1))
        .distinct("merchants_1h", Event::paid_merchant)
        .share("abroad_1h", Event::is_abroad);
    f.over(hours(24))
        .distinct("merchants_24h", Event::paid_merchant)
        .share("small_24h", Event::is_small);
    f.over(days(7))
        .zscore("amount_z_7d", Event::log_amount)
        .share("online_7d", Event::is_online)
        .share("abroad_7d", Event::is_abroad)
        .count_if("frauds_7d", |e: &Event| e.fraud() == Some(true));
}

fn merchant(f: &mut Features<Event>) {
    f.rows_for(Event::is_payment);
    f.over(minutes(10))
        .count_if("merchant_count_10m", Event::is_payment)
        .distinct("merchant_cards_10m", Event::paid_card)
        .share("merchant_small_10m", Event::is_small);
    f.over(hours(24))
        .count_if("merchant_count_24h", Event::is_payment)
        .distinct("merchant_cards_24h", Event::paid_card)
        .mean("merchant_mean_24h", Event::log_amount)
        .std("merchant_std_24h", Event::log_amount);
    f.over(days(7))
        .zscore("merchant_z_7d", Event::log_amount)
        .share("merchant_fraud_7d", Event::fraud);
}
