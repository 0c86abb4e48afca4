//! Two keyed streams brought together, for steps with two inputs.

use serde::{Deserialize, Serialize};
use thalweg_engine::flow::Keyed;
use thalweg_engine::key::Key;
use thalweg_engine::record::Data;

/// A record of one of two streams.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Either<L, R> {
    Left(L),
    Right(R),
}

impl<L, R> Either<L, R> {
    /// The value as its own stream has it.
    pub(super) fn plain(&self) -> Plain<'_, L, R> {
        match self {
            Self::Left(value) => Plain::Left(value),
            Self::Right(value) => Plain::Right(value),
        }
    }
}

/// A value of one of two streams, written without a word of which.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Plain<'a, L, R> {
    Left(&'a L),
    Right(&'a R),
}

/// Unites two streams under their common key; the names tell their steps apart.
pub(super) fn unite<'s, K: Key, L: Data, R: Data>(
    id: &str,
    (left_name, left): (&str, Keyed<'s, K, L>),
    (right_name, right): (&str, Keyed<'s, K, R>),
) -> Keyed<'s, K, Either<L, R>> {
    let ((left, left_key), (right, right_key)) = (left.into_parts(), right.into_parts());
    let right = right.map(&format!("{id}.{right_name}"), Either::Right);
    left.map(&format!("{id}.{left_name}"), Either::Left)
        .merge(&format!("{id}.both"), [right])
        .key_by(move |record| match record {
            Either::Left(value) => left_key(value),
            Either::Right(value) => right_key(value),
        })
}
