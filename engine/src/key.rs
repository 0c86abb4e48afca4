//! Keys: how a key finds its key group and its worker.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xxhash_rust::xxh3::xxh3_64;

/// What a stream can be keyed by. Implemented for every type that meets the bounds.
///
/// Two equal keys must hash equally on every machine and in every version, because the hash
/// decides which [`KeyGroup`] holds the key's state.
pub trait Key:
    Clone + Eq + Ord + Hash + Debug + Send + Serialize + DeserializeOwned + 'static
{
}
impl<T> Key for T where
    T: Clone + Eq + Ord + Hash + Debug + Send + Serialize + DeserializeOwned + 'static
{
}

/// The number of key groups: the unit in which state moves between workers.
pub const KEY_GROUPS: usize = 256;

/// A key group's number, below [`KEY_GROUPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(pub u8);

impl KeyGroup {
    /// The group of a key with this hash.
    pub const fn of(hash: u64) -> Self {
        Self((hash >> 56) as u8)
    }

    /// The worker that owns the group, of `workers` in all.
    pub const fn owner(self, workers: usize) -> usize {
        self.0 as usize * workers / KEY_GROUPS
    }
}

/// The key of everything that a step takes in on one worker, whatever the records' own keys.
///
/// Each worker has one of its own, in a group that it owns. After a restart with another number of
/// workers a worker may therefore own the state of several such keys: what a step keeps under them
/// must be parts that add up, wherever each of them is kept.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LocalKey(u32);

impl LocalKey {
    /// The key of this worker, of `workers` in all.
    ///
    /// # Panics
    /// When `worker` is not below `workers`, or there are more workers than key groups.
    pub fn of(worker: usize, workers: usize) -> Self {
        assert!(
            worker < workers && workers <= KEY_GROUPS,
            "invariant: each worker owns a key group"
        );
        (0..)
            .map(Self)
            .find(|key| KeyGroup::of(key_hash(key)).owner(workers) == worker)
            .expect("invariant: some key falls into each group")
    }
}

/// The stable hash of a key (xxh3 of what the key feeds its hasher, little-endian).
#[inline]
pub fn key_hash<K: Hash>(key: &K) -> u64 {
    let mut hasher = StableHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Collects what a key hashes and runs xxh3 over it once.
#[derive(Default)]
pub(crate) struct StableHasher {
    short: [u8; 32],
    used: usize,
    long: Vec<u8>,
}

impl Hasher for StableHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let end = self.used + bytes.len();
        if self.long.is_empty() && end <= self.short.len() {
            self.short[self.used..end].copy_from_slice(bytes);
            self.used = end;
        } else {
            if self.long.is_empty() {
                self.long.extend_from_slice(&self.short[..self.used]);
            }
            self.long.extend_from_slice(bytes);
        }
    }

    fn write_u16(&mut self, i: u16) {
        self.write(&i.to_le_bytes());
    }

    fn write_u32(&mut self, i: u32) {
        self.write(&i.to_le_bytes());
    }

    #[inline]
    fn write_u64(&mut self, i: u64) {
        self.write(&i.to_le_bytes());
    }

    fn write_u128(&mut self, i: u128) {
        self.write(&i.to_le_bytes());
    }

    #[inline]
    fn write_usize(&mut self, i: usize) {
        self.write_u64(i as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        if self.long.is_empty() {
            xxh3_64(&self.short[..self.used])
        } else {
            xxh3_64(&self.long)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stable_across_versions() {
        assert_eq!(key_hash(&1_u64), xxh3_64(&1_u64.to_le_bytes()));
        assert_eq!(key_hash(&7_u64), key_hash(&7_usize));
        let long = "a key that is longer than the hasher's inline buffer can hold";
        let bytes: Vec<u8> = long.bytes().chain([0xff]).collect();
        assert_eq!(key_hash(&long), xxh3_64(&bytes));
    }

    #[test]
    fn every_worker_owns_its_local_key() {
        for workers in [1, 2, 3, 16, KEY_GROUPS] {
            for worker in 0..workers {
                let group = KeyGroup::of(key_hash(&LocalKey::of(worker, workers)));
                assert_eq!(group.owner(workers), worker, "of {workers}");
            }
        }
    }

    #[test]
    fn every_group_has_one_owner_and_workers_share_evenly() {
        for workers in 1..=16 {
            let mut owned = vec![0; workers];
            (0..=255).for_each(|group| owned[KeyGroup(group).owner(workers)] += 1);
            let (least, most) = (owned.iter().min(), owned.iter().max());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least <= 1)
            );
        }
    }
}
