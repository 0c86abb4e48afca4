//! Sets of key groups.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::key::{KEY_GROUPS, KeyGroup};

/// A set of key groups. In text, ranges such as `0-127,130`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeyGroups([u64; KEY_GROUPS / 64]);

impl KeyGroups {
    /// No group.
    pub const NONE: Self = Self([0; KEY_GROUPS / 64]);
    /// Every group.
    pub const ALL: Self = Self([u64::MAX; KEY_GROUPS / 64]);

    /// The groups that a worker owns, of `workers` in all.
    pub fn of_worker(worker: usize, workers: usize) -> Self {
        every_group()
            .filter(|group| group.owner(workers) == worker)
            .collect()
    }

    /// Whether the group is among them.
    pub fn contains(self, group: KeyGroup) -> bool {
        let (word, bit) = place(group);
        self.0[word] & bit != 0
    }

    /// Adds a group.
    pub fn insert(&mut self, group: KeyGroup) {
        let (word, bit) = place(group);
        self.0[word] |= bit;
    }

    /// The groups of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// The groups of both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// These groups but for those of the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The groups, in order.
    pub fn iter(self) -> impl Iterator<Item = KeyGroup> {
        every_group().filter(move |group| self.contains(*group))
    }

    fn zip(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|word| {
            join(self.0[word], other.0[word])
        }))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut groups = Self::NONE;
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
            (first..=last).for_each(|group| groups.insert(KeyGroup(group)));
        }
        (groups.to_string() == text).then_some(groups)
    }
}

fn every_group() -> impl Iterator<Item = KeyGroup> {
    (0..=u8::MAX).map(KeyGroup)
}

fn place(group: KeyGroup) -> (usize, u64) {
    let group = usize::from(group.0);
    (group / 64, 1 << (group % 64))
}

impl FromIterator<KeyGroup> for KeyGroups {
    fn from_iter<I: IntoIterator<Item = KeyGroup>>(groups: I) -> Self {
        let mut all = Self::NONE;
        groups.into_iter().for_each(|group| all.insert(group));
        all
    }
}

impl fmt::Display for KeyGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = self.iter().map(|group| group.0).peekable();
        let mut separator = "";
        while let Some(first) = groups.next() {
            let mut last = first;
            while let Some(next) = groups.next_if(|next| *next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for KeyGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyGroups({self})")
    }
}

impl Serialize for KeyGroups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyGroups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format_args!("`{text}` are no key groups")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_ranges_and_read_back() {
        let check = |groups: &[u8], expected: &str| {
            let set: KeyGroups = groups.iter().copied().map(KeyGroup).collect();
            assert_eq!(set.to_string(), expected);
            assert_eq!(KeyGroups::parse(expected), Some(set));
            assert_eq!(set.len(), groups.len());
            assert_eq!(set.iter().map(|g| g.0).collect::<Vec<_>>(), groups);
        };
        check(&[], "");
        check(&[0, 1, 2, 7, 63, 64, 254, 255], "0-2,7,63-64,254-255");
        assert_eq!(KeyGroups::ALL.to_string(), "0-255");
        for bad in ["x", "1-", "256", "3-1", "1,2", "2,1", " 1"] {
            assert_eq!(KeyGroups::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn workers_share_all_groups() {
        for workers in 1..=16 {
            let mut all = KeyGroups::NONE;
            for worker in 0..workers {
                let own = KeyGroups::of_worker(worker, workers);
                assert!(all.intersection(own).is_empty() && !own.is_empty());
                all = all.union(own);
            }
            assert_eq!(all, KeyGroups::ALL);
        }
    }
}
