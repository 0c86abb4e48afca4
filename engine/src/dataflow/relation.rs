//! placeholder
use super::{Edge, Site};
use crate::key::Key;
use crate::record::Data;
use crate::relation::{Change, Fact};
use std::time::Duration;
pub(crate) fn join_latest<'s, K: Key, L: Data + Fact, R: Data + Fact>(
    site: &Site<'s>,
    _l: Edge<'s, (K, L)>,
    _r: Edge<'s, (K, R)>,
    _h: Duration,
) -> Edge<'s, Change<K, L, R>> {
    super::empty::empty(site)
}
