//! Which topics a source reads, and the numbers that their partitions have in the engine.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::problem::Problem;

/// The topics that a source reads.
#[derive(Clone, Debug)]
pub enum Topics {
    /// These, each of which must be there.
    Named(Vec<String>),
    /// All whose whole name matches the regular expression; new ones are found while the job runs.
    /// The broker's own, which begin with two underscores, are left out.
    Pattern(String),
}

impl Topics {
    /// All topics whose whole name matches the regular expression.
    pub fn pattern(pattern: impl Into<String>) -> Self {
        Self::Pattern(pattern.into())
    }

    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Named(names) if names.len() == 1 => format!("topic `{}`", names[0]),
            Self::Named(names) => format!("topics `{}`", names.join("`, `")),
            Self::Pattern(pattern) => format!("topics matching `{pattern}`"),
        }
    }

    /// The regular expression, where there is one.
    pub(crate) fn regex(&self) -> Result<Option<Regex>, Problem> {
        let Self::Pattern(pattern) = self else {
            return Ok(None);
        };
        Regex::new(&format!("^(?:{pattern})$"))
            .map(Some)
            .map_err(|error| {
                Problem::new(
                    format!("`{pattern}` is no regular expression: {error}"),
                    "fix the pattern",
                )
            })
    }
}

impl From<&str> for Topics {
    fn from(name: &str) -> Self {
        Self::Named(vec![name.to_owned()])
    }
}

impl From<String> for Topics {
    fn from(name: String) -> Self {
        Self::Named(vec![name])
    }
}

impl<S: Into<String>> From<Vec<S>> for Topics {
    fn from(names: Vec<S>) -> Self {
        Self::Named(names.into_iter().map(Into::into).collect())
    }
}

/// The partitions found so far, with the numbers they have in the engine.
///
/// A number is the topic's place, in the order in which topics were named or found, times 65,536 plus
/// the broker's own number: so for a single topic both numbers are the same.
#[derive(Debug, Default)]
pub(crate) struct Table {
    topics: Vec<String>,
    found: Vec<u32>,
}

/// Partitions of a topic, and topics, at most.
const MOST: usize = 1 << 16;

impl Table {
    /// Takes in how many partitions each topic has now, and gives all found so far: new ones after
    /// those that were there.
    pub(crate) fn update(
        &mut self,
        counts: &BTreeMap<String, usize>,
        order: impl IntoIterator<Item = String>,
    ) -> Result<Vec<u32>, Problem> {
        for topic in order {
            let count = counts.get(&topic).copied().unwrap_or_default();
            let place = self.topics.iter().position(|known| *known == topic);
            let place = place.unwrap_or_else(|| {
                self.topics.push(topic);
                self.topics.len() - 1
            });
            if place >= MOST || count > MOST {
                return Err(Problem::new(
                    format!("there are more than {MOST} topics, or partitions in one"),
                    "read fewer topics",
                ));
            }
            for partition in 0..count {
                let number = (place << 16 | partition) as u32;
                if !self.found.contains(&number) {
                    self.found.push(number);
                }
            }
        }
        Ok(self.found.clone())
    }

    /// Whether a partition of this number has been found.
    #[cfg(feature = "pulsar")]
    pub(crate) fn has(&self, number: u32) -> bool {
        self.found.contains(&number)
    }

    /// The topic and the broker's own number of a partition.
    pub(crate) fn place(&self, number: u32) -> Option<(&str, i32)> {
        let topic = self.topics.get((number >> 16) as usize)?;
        Some((topic, (number & 0xffff) as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_places_stay_when_topics_and_partitions_come() {
        let mut table = Table::default();
        let mut update = |counts: &[(&str, usize)]| {
            let counts: BTreeMap<_, _> = counts
                .iter()
                .map(|(topic, count)| ((*topic).to_owned(), *count))
                .collect();
            let found = table.update(&counts, counts.keys().cloned()).unwrap();
            let place = |number: &u32| table.place(*number).unwrap();
            found
                .iter()
                .map(place)
                .map(|(topic, partition)| format!("{topic}{partition}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(update(&[("b", 2)]), ["b0", "b1"]);
        assert_eq!(update(&[("a", 1), ("b", 3)]), ["b0", "b1", "a0", "b2"]);
        // A topic that is gone keeps its numbers.
        assert_eq!(update(&[("c", 1)]), ["b0", "b1", "a0", "b2", "c0"]);
        assert_eq!(table.place(1), Some(("b", 1)));
        assert_eq!(table.place(9 << 16), None);
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        let regex = Topics::pattern("pay|refunds-.*").regex().unwrap().unwrap();
        assert!(regex.is_match("pay") && regex.is_match("refunds-eu"));
        assert!(!regex.is_match("payments") && !regex.is_match("my-pay"));
        let problem = Topics::pattern("(").regex().unwrap_err();
        assert_eq!(problem.remedy, "fix the pattern");
    }
}
