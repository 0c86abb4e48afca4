//! Relations that change after the fact: what a join with a table of latest values gives.

use std::fmt::Debug;
use std::hash::Hash;

use serde::{Deserialize, Serialize};

/// What a relation can hold. Implemented for every type that meets the bounds.
pub trait Fact: Ord + Hash + Debug {}
impl<T: Ord + Hash + Debug> Fact for T {}

/// A pair found by a join, or one whose right side was revised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change<K, L, R> {
    /// A fact has met the value of its key.
    Added {
        /// The key.
        key: K,
        /// The fact.
        left: L,
        /// The value.
        right: R,
    },
    /// The value that a fact had met was revised.
    Revised {
        /// The key.
        key: K,
        /// The fact.
        left: L,
        /// The value as it was.
        old: R,
        /// The value as it is now.
        new: R,
    },
}
