//! Sorted counts by key: what ids, categories and buckets are counted in.

use serde::{Deserialize, Serialize};

/// How often each key occurs, in one sorted vector: 16 bytes a key, no hash order. A new key costs
/// a shift of those above it, so there should be some thousands at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts<K>(Vec<(K, u64)>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Counts a key so many times more.
    pub(crate) fn add(&mut self, key: K, times: u64) {
        match self.place(key) {
            Ok(place) => self.0[place].1 += times,
            Err(place) => self.0.insert(place, (key, times)),
        }
    }

    /// Counts a key once less.
    pub(crate) fn remove(&mut self, key: K) {
        let Ok(place) = self.place(key) else { return };
        self.0[place].1 -= 1;
        if self.0[place].1 == 0 {
            self.0.remove(place);
        }
    }

    /// Takes in other counts.
    pub(crate) fn merge(&mut self, later: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&later.0);
            return;
        }
        for (key, times) in &later.0 {
            self.add(*key, *times);
        }
    }

    /// How often a key occurs.
    pub(crate) fn get(&self, key: K) -> u64 {
        self.place(key).map_or(0, |place| self.0[place].1)
    }

    /// The number of different keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keys and how often each occurs, least key first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.0.iter().copied()
    }

    fn place(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |entry| entry.0)
    }
}
