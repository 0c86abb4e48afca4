//! The records of the two topics, and the one kind of event that the features are made of.

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;

/// Somebody pays with a card. Instants are microseconds since the Unix epoch.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Payment {
    pub(crate) payment: u64,
    pub(crate) at: EventTime,
    pub(crate) card: u64,
    pub(crate) merchant: u32,
    pub(crate) amount: f64,
    /// Whether it was made from afar, and not with the card at hand.
    pub(crate) online: bool,
    /// Whether the merchant is in another country than the card.
    pub(crate) abroad: bool,
}

impl Payment {
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.amount.is_finite() && self.amount > 0.0 {
            Ok(())
        } else {
            Err(format!("amount {} is not an amount of money", self.amount))
        }
    }
}

/// What became of a payment: reported as fraud, or settled.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Label {
    pub(crate) payment: u64,
    pub(crate) at: EventTime,
    pub(crate) card: u64,
    pub(crate) merchant: u32,
    pub(crate) fraud: bool,
}

/// What happens to a card at a merchant.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Event {
    pub(crate) payment: u64,
    pub(crate) at: EventTime,
    pub(crate) card: u64,
    pub(crate) merchant: u32,
    what: What,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum What {
    Paid {
        amount: f64,
        online: bool,
        abroad: bool,
    },
    Known {
        fraud: bool,
    },
}

impl Event {
    pub(crate) fn payment(p: Payment) -> Self {
        let Payment {
            payment,
            at,
            card,
            merchant,
            amount,
            online,
            abroad,
        } = p;
        let what = What::Paid {
            amount,
            online,
            abroad,
        };
        Self {
            payment,
            at,
            card,
            merchant,
            what,
        }
    }

    pub(crate) fn label(l: Label) -> Self {
        let Label {
            payment,
            at,
            card,
            merchant,
            fraud,
        } = l;
        Self {
            payment,
            at,
            card,
            merchant,
            what: What::Known { fraud },
        }
    }

    pub(crate) fn is_payment(&self) -> bool {
        matches!(self.what, What::Paid { .. })
    }

    pub(crate) fn amount(&self) -> Option<f64> {
        match self.what {
            What::Paid { amount, .. } => Some(amount),
            What::Known { .. } => None,
        }
    }

    /// The amount as people feel it: twice as much is one step more.
    pub(crate) fn log_amount(&self) -> Option<f64> {
        self.amount().map(|amount| (1.0 + amount).log2())
    }

    /// Whether it is of the size that is not looked at.
    pub(crate) fn is_small(&self) -> Option<bool> {
        self.amount().map(|amount| amount < 3.0)
    }

    pub(crate) fn is_online(&self) -> Option<bool> {
        match self.what {
            What::Paid { online, .. } => Some(online),
            What::Known { .. } => None,
        }
    }

    pub(crate) fn is_abroad(&self) -> Option<bool> {
        match self.what {
            What::Paid { abroad, .. } => Some(abroad),
            What::Known { .. } => None,
        }
    }

    /// The merchant of a payment.
    pub(crate) fn paid_merchant(&self) -> Option<u64> {
        self.is_payment().then_some(u64::from(self.merchant))
    }

    /// The card of a payment.
    pub(crate) fn paid_card(&self) -> Option<u64> {
        self.is_payment().then_some(self.card)
    }

    /// Counts reported frauds among payments, so that their mean is the share known so far. Settled
    /// payments do not count, as they are known a day later than frauds.
    pub(crate) fn reported(&self) -> Option<f64> {
        match self.what {
            What::Paid { .. } => Some(0.0),
            What::Known { fraud } => fraud.then_some(1.0),
        }
    }

    /// Whether it was fraud, once that is known.
    pub(crate) fn fraud(&self) -> Option<bool> {
        match self.what {
            What::Known { fraud } => Some(fraud),
            What::Paid { .. } => None,
        }
    }
}
