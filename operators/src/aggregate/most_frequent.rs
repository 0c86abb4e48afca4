//! Most frequent: the id with the most events, and how many it has; the least such id where several
//! have as many. None when there are no events, or more different ids than the limit.

use serde::{Deserialize, Serialize};
use thalweg_engine::time::EventTime;

use super::Aggregate;
use super::kept::of_ids;
use super::tally::Tally;

/// The id with the most events, exact for a limited number of different ids.
///
/// An id takes 16 bytes; at most twice the limit are held.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, Frequency, MostFrequent};
///
/// let (most, at) = (MostFrequent::up_to(1_000), EventTime::from_seconds(1));
/// let mut state = most.empty();
/// for id in [7, 8, 7] {
///     most.add(&mut state, at, &id);
/// }
/// assert_eq!(most.finish(&state, at), Some(Frequency { id: 7, count: 2 }));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MostFrequent {
    limit: usize,
}

impl MostFrequent {
    /// For up to `limit` different ids; beyond it there is no answer.
    pub fn up_to(limit: usize) -> Self {
        Self { limit }
    }
}

/// An id and how many events it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frequency {
    /// The id.
    pub id: u64,
    /// Its events in the window.
    pub count: u64,
}

impl Aggregate for MostFrequent {
    of_ids!();

    type Output = Option<Frequency>;

    fn finish(&self, tally: &Tally, _end: EventTime) -> Option<Frequency> {
        let mut most: Option<Frequency> = None;
        for (id, count) in tally.within(self.limit)?.iter() {
            if most.is_none_or(|most| count > most.count) {
                most = Some(Frequency { id, count });
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::exactly;

    #[test]
    fn agrees_with_its_oracle() {
        for limit in [0, 4, 100] {
            let most = MostFrequent::up_to(limit);
            oracle::check(&most, oracle::ids(), exactly, |events, _| {
                let tally = oracle::tally(events);
                let most = *tally.values().max()?;
                let id = *tally.iter().find(|(_, count)| **count == most)?.0;
                (tally.len() <= limit).then_some(Frequency { id, count: most })
            });
        }
    }
}
