//! Where a message stands in its topic, as one number.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::protocol::MessageIdData;
use crate::broker::Problem;

/// Where a message stands in a topic's partition: its id in Pulsar.
///
/// As the engine's offset it is one number: 28 bits for the ledger, 24 for the entry, 12 for the place
/// in the batch. So offsets grow as messages follow each other, have gaps, and mean the same for ever.
/// Where an id has no room in it the job ends with an error: a ledger's from 268,435,456 on, an entry's
/// from 16,777,216 on. A batch of more than 4,096 messages is a dead letter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The ledger, which is one stretch of the topic.
    pub ledger: u64,
    /// The entry in the ledger: a message, or a batch of them.
    pub entry: u64,
    /// The place in the batch, from 0 on.
    pub index: u32,
}

const ENTRY_BITS: u32 = 24;
const INDEX_BITS: u32 = 12;
const LEDGER_BITS: u32 = u64::BITS - ENTRY_BITS - INDEX_BITS;

impl Position {
    /// Messages of a batch that have room in an offset.
    pub(super) const BATCH_MAX: u32 = 1 << INDEX_BITS;

    /// The first position of a ledger.
    pub(super) fn start_of(ledger: u64) -> Self {
        Self {
            ledger,
            ..Self::default()
        }
    }

    /// The position of the message of this place in the batch that an entry holds.
    pub(super) fn of(id: &MessageIdData, index: u32) -> Self {
        Self {
            ledger: id.ledger_id,
            entry: id.entry_id,
            index,
        }
    }

    /// The engine's offset.
    pub(super) fn offset(self) -> Result<u64, Problem> {
        let fits = |value: u64, bits: u32| value >> bits == 0;
        let index = u64::from(self.index);
        if !fits(self.ledger, LEDGER_BITS)
            || !fits(self.entry, ENTRY_BITS)
            || !fits(index, INDEX_BITS)
        {
            return Err(Problem::new(
                format!("the message {self} has an id that is too large for an offset"),
                "have ledgers rolled over sooner, or smaller batches sent; or read with a \
                 subscription by key (`key_shared`), which numbers messages as they come",
            ));
        }
        Ok(self.ledger << (ENTRY_BITS + INDEX_BITS) | self.entry << INDEX_BITS | index)
    }

    /// The position that an offset stands for.
    pub(super) fn at(offset: u64) -> Self {
        Self {
            ledger: offset >> (ENTRY_BITS + INDEX_BITS),
            entry: offset >> INDEX_BITS & ((1 << ENTRY_BITS) - 1),
            index: (offset & ((1 << INDEX_BITS) - 1)) as u32,
        }
    }

    /// From where a broker gives the whole entry, whose first messages are passed over then: ids in
    /// a batch have it begin with the entry, and not after it.
    pub(super) fn start(self) -> MessageIdData {
        MessageIdData {
            ledger_id: self.ledger,
            entry_id: self.entry,
            batch_index: i32::try_from(self.index).ok(),
            ..MessageIdData::default()
        }
    }
}

impl fmt::Display for Position {
    /// As Pulsar's tools write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.ledger, self.entry, self.index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn position(ledger: u64, entry: u64, index: u32) -> Position {
        Position {
            ledger,
            entry,
            index,
        }
    }

    proptest! {
        #[test]
        fn offsets_are_ordered_as_messages_are_and_lead_back(
            a in (0_u64..1 << 28, 0_u64..1 << 24, 0_u32..1 << 12),
            b in (0_u64..1 << 28, 0_u64..1 << 24, 0_u32..1 << 12),
        ) {
            let (a, b) = (position(a.0, a.1, a.2), position(b.0, b.1, b.2));
            let (of_a, of_b) = (a.offset().unwrap(), b.offset().unwrap());
            prop_assert_eq!(of_a.cmp(&of_b), a.cmp(&b));
            prop_assert_eq!(Position::at(of_a), a);
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        assert!(position(1 << 28, 0, 0).offset().is_err());
        assert!(position(0, 1 << 24, 0).offset().is_err());
        let problem = position(7, 8, 1 << 12).offset().unwrap_err();
        assert!(problem.reason.contains("7:8:4096"), "{}", problem.reason);
        assert!(
            position((1 << 28) - 1, (1 << 24) - 1, (1 << 12) - 1)
                .offset()
                .is_ok()
        );
        // After the last message of a batch comes the next entry.
        let last = position(3, 4, (1 << 12) - 1).offset().unwrap();
        assert_eq!(Position::at(last + 1), position(3, 5, 0));
    }
}
