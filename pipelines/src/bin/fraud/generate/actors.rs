//! Who pays, and who is paid.

use thalweg::connectors::generator::Rng;

/// Merchants at which a card mostly pays.
const FAVOURITES: usize = 6;

pub(super) struct Card {
    /// Of the logarithm of what it mostly pays.
    pub(super) log_amount: f64,
    favourites: [u32; FAVOURITES],
    /// When it comes back from abroad, if it is there.
    pub(super) abroad_until_us: i64,
}

pub(super) struct Merchant {
    /// By how much it is dearer than others, as a logarithm.
    pub(super) log_price: f64,
    pub(super) is_online: bool,
    pub(super) is_abroad: bool,
}

pub(super) struct Actors {
    pub(super) cards: Vec<Card>,
    pub(super) merchants: Vec<Merchant>,
    /// The merchants of each kind, by number.
    online: Vec<u32>,
    abroad: Vec<u32>,
}

impl Actors {
    pub(super) fn new(cards: usize, rng: &mut Rng) -> Self {
        let count = (cards / 10).clamp(40, 5_000);
        let merchants: Vec<_> = (0..count)
            .map(|number| Merchant {
                // Every tenth sells what costs next to nothing.
                log_price: if number % 10 == 3 {
                    -2.5
                } else {
                    rng.normal() * 0.5
                },
                is_online: number % 4 == 1,
                is_abroad: number % 8 == 5 || number % 8 == 6,
            })
            .collect();
        let of_kind = |is: fn(&Merchant) -> bool| {
            let numbered = (0..).zip(&merchants);
            numbered.filter(|(_, m)| is(m)).map(|(n, _)| n).collect()
        };
        let (online, abroad) = (of_kind(|m| m.is_online), of_kind(|m| m.is_abroad));
        let mut favourite = || loop {
            // The first merchants are the most popular ones.
            let number = (rng.unit().powi(2) * count as f64) as usize;
            if !merchants[number].is_abroad {
                return number as u32;
            }
        };
        let favourites: Vec<_> = (0..cards)
            .map(|_| std::array::from_fn(|_| favourite()))
            .collect();
        let cards = favourites
            .into_iter()
            .map(|favourites| Card {
                log_amount: 3.0 + rng.normal() * 0.5,
                favourites,
                abroad_until_us: i64::MIN,
            })
            .collect();
        Self {
            cards,
            merchants,
            online,
            abroad,
        }
    }

    pub(super) fn any_card(&self, rng: &mut Rng) -> u64 {
        rng.below(self.cards.len() as u64)
    }

    /// Where the card goes by itself.
    pub(super) fn usual_merchant(&self, card: u64, at_us: i64, rng: &mut Rng) -> u32 {
        let card = &self.cards[card as usize];
        if at_us < card.abroad_until_us {
            return pick(&self.abroad, rng);
        }
        if rng.chance(0.75) {
            return pick(&card.favourites, rng);
        }
        self.any_merchant(rng)
    }

    pub(super) fn any_merchant(&self, rng: &mut Rng) -> u32 {
        rng.below(self.merchants.len() as u64) as u32
    }

    pub(super) fn online_merchant(&self, rng: &mut Rng) -> u32 {
        pick(&self.online, rng)
    }

    pub(super) fn foreign_merchant(&self, rng: &mut Rng) -> u32 {
        pick(&self.abroad, rng)
    }

    /// What the card pays at the merchant when nothing is the matter, in money.
    pub(super) fn usual_amount(&self, card: u64, merchant: u32, rng: &mut Rng) -> f64 {
        let usual = self.cards[card as usize].log_amount;
        let price = self.merchants[merchant as usize].log_price;
        (usual + price + rng.normal() * 0.5).exp()
    }
}

fn pick(numbers: &[u32], rng: &mut Rng) -> u32 {
    numbers[rng.below(numbers.len() as u64) as usize]
}
