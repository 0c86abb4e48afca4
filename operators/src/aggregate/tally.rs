//! Events per id, for a bounded number of different ids.

use serde::{Deserialize, Serialize};

use super::counts::Counts;

/// How many events each id has, as long as there are no more than `limit` different ids.
///
/// Up to twice as many are held, so that ids which come and go around the limit don't have the
/// tally made anew all the time. Beyond that they are dropped, and what is kept is the number of
/// removals after which there may be `limit` ids again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tally(Content);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Content {
    Held(Counts<u64>),
    Beyond(u64),
}

impl Default for Tally {
    fn default() -> Self {
        Self(Content::Held(Counts::default()))
    }
}

impl Tally {
    /// Takes an event in.
    pub(crate) fn add(&mut self, id: u64, limit: usize) {
        if let Content::Held(counts) = &mut self.0 {
            counts.add(id, 1);
            self.settle(limit);
        }
    }

    /// Takes in another tally.
    pub(crate) fn merge(&mut self, later: &Self, limit: usize) {
        if let (Content::Held(counts), Content::Held(more)) = (&mut self.0, &later.0) {
            counts.merge(more);
            self.settle(limit);
        } else {
            let surplus = self.surplus(limit).max(later.surplus(limit));
            self.0 = Content::Beyond(surplus);
        }
    }

    /// Lets an event go.
    pub(crate) fn remove(&mut self, id: u64) {
        match &mut self.0 {
            Content::Held(counts) => counts.remove(id),
            Content::Beyond(removals) => *removals = removals.saturating_sub(1),
        }
    }

    /// Whether the tally need not be made anew.
    pub(crate) fn is_exact(&self) -> bool {
        !matches!(self.0, Content::Beyond(0))
    }

    /// The events of each id, unless there are more than `limit` ids.
    pub(crate) fn within(&self, limit: usize) -> Option<&Counts<u64>> {
        match &self.0 {
            Content::Held(counts) if counts.len() <= limit => Some(counts),
            _ => None,
        }
    }

    /// Drops the ids when there are too many.
    fn settle(&mut self, limit: usize) {
        if let Content::Held(counts) = &self.0
            && counts.len() > limit.saturating_mul(2)
        {
            self.0 = Content::Beyond(self.surplus(limit));
        }
    }

    /// How many ids there are at least beyond the limit; each takes a removal or more to leave.
    fn surplus(&self, limit: usize) -> u64 {
        match &self.0 {
            Content::Held(counts) => counts.len().saturating_sub(limit) as u64,
            Content::Beyond(removals) => *removals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_anew_only_after_as_many_removals_as_may_matter() {
        let mut tally = Tally::default();
        for id in 0..7 {
            tally.add(id, 3);
        }
        for id in 0..3 {
            tally.remove(id);
            assert!(tally.is_exact() && tally.within(3).is_none());
        }
        tally.remove(3);
        assert!(!tally.is_exact());
    }

    #[test]
    fn ids_around_the_limit_come_and_go() {
        let mut tally = Tally::default();
        for id in 0..5 {
            tally.add(id, 3);
        }
        assert!(tally.within(3).is_none());
        tally.remove(0);
        tally.remove(1);
        assert_eq!(tally.within(3).map(Counts::len), Some(3));
    }
}
