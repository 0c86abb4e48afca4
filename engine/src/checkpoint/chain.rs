//! Which parts make up the state of a step.

use super::groups::KeyGroups;
use super::part::PartRef;

/// Adds the parts that an epoch has brought to those before, and leaves out what no longer counts: a
/// part is needed for a group until a base for the group comes after it.
///
/// A merged base says how things stood at the end of its epoch, so it goes after the parts of that epoch.
pub(super) fn extend(before: &[PartRef], new: &[PartRef]) -> Vec<PartRef> {
    let mut parts = before.to_vec();
    for part in new {
        let place = parts.iter().rposition(|other| other.epoch <= part.epoch);
        parts.insert(place.map_or(0, |place| place + 1), part.clone());
    }
    let mut is_needed = vec![true; parts.len()];
    // By content, the groups that a base further on begins anew.
    let mut covered: Vec<(&str, KeyGroups)> = Vec::new();
    for (part, is_needed) in parts.iter().zip(&mut is_needed).rev() {
        let known = covered
            .iter_mut()
            .find(|(content, _)| *content == part.content);
        let own = known
            .as_ref()
            .map_or(KeyGroups::NONE, |(_, groups)| *groups);
        *is_needed = !part.groups.without(own).is_empty();
        if part.kind.is_base() {
            match known {
                Some((_, groups)) => *groups = groups.union(part.groups),
                None => covered.push((&part.content, part.groups)),
            }
        }
    }
    let mut is_needed = is_needed.into_iter();
    parts.retain(|_| is_needed.next().unwrap_or(true));
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::manifest::Epoch;
    use crate::checkpoint::part::PartKind;
    use crate::key::KeyGroup;

    fn part(epoch: u64, kind: PartKind, groups: KeyGroups) -> PartRef {
        PartRef {
            file: format!("{epoch}-{}-{groups}", kind.word()),
            bytes: 1,
            xxh3: 0,
            kind,
            content: "keys".to_owned(),
            epoch: Epoch(epoch),
            worker: 0,
            groups,
            state_version: 1,
            fingerprint: 0,
        }
    }

    fn groups(groups: &[u8]) -> KeyGroups {
        groups.iter().copied().map(KeyGroup).collect()
    }

    fn check(before: &[PartRef], new: &[PartRef], expected: &[&str]) {
        let files: Vec<_> = extend(before, new)
            .into_iter()
            .map(|part| part.file)
            .collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn a_base_takes_the_place_of_what_it_is_for() {
        let base = part(1, PartKind::Base, groups(&[1, 2]));
        let delta = part(2, PartKind::Delta, groups(&[1]));
        let before = [base, delta];
        check(&before, &[], &["1-base-1-2", "2-delta-1"]);
        let half = part(3, PartKind::Base, groups(&[1]));
        check(&before, &[half], &["1-base-1-2", "3-base-1"]);
        let whole = part(3, PartKind::Base, groups(&[0, 1, 2]));
        check(&before, &[whole], &["3-base-0-2"]);
        let mut other = part(3, PartKind::Base, groups(&[0, 1, 2]));
        other.content = "waiting".to_owned();
        check(
            &before,
            &[other],
            &["1-base-1-2", "2-delta-1", "3-base-0-2"],
        );
    }

    #[test]
    fn a_merged_base_goes_before_later_changes() {
        let before = [
            part(1, PartKind::Base, groups(&[1, 2])),
            part(2, PartKind::Delta, groups(&[1])),
            part(3, PartKind::Delta, groups(&[2])),
        ];
        let merged = part(2, PartKind::Merged, groups(&[1, 2]));
        let change = part(4, PartKind::Delta, groups(&[1]));
        let expected = ["2-merged-1-2", "3-delta-2", "4-delta-1"];
        check(&before, &[merged.clone(), change.clone()], &expected);
        check(&before, &[change, merged], &expected);
    }

    proptest! {
        /// What counts for a group: everything from its last base on.
        #[test]
        fn every_group_keeps_what_counts_for_it(
            parts in proptest::collection::vec(
                (any::<bool>(), proptest::collection::btree_set(0..6u8, 1..6)), 0..12),
        ) {
            let parts: Vec<PartRef> = parts.iter().zip(1..).map(|((is_base, groups), epoch)| {
                let kind = if *is_base { PartKind::Base } else { PartKind::Delta };
                part(epoch, kind, groups.iter().copied().map(KeyGroup).collect())
            }).collect();
            let mut chain = Vec::new();
            for part in &parts {
                chain = extend(&chain, std::slice::from_ref(part));
            }
            let counts = |parts: &[PartRef], group| {
                let parts = parts.iter().filter(|part| part.groups.contains(group));
                let mut counting: Vec<String> = Vec::new();
                for part in parts {
                    if part.kind.is_base() {
                        counting.clear();
                    }
                    counting.push(part.file.clone());
                }
                counting
            };
            for group in (0..6).map(KeyGroup) {
                prop_assert_eq!(counts(&chain, group), counts(&parts, group));
            }
            let needed = |part: &PartRef| {
                (0..6).any(|group| counts(&parts, KeyGroup(group)).contains(&part.file))
            };
            prop_assert!(chain.iter().all(needed));
        }
    }
}
