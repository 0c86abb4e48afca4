//! A stream with nothing on it, where an error has left no real one.

use timely::dataflow::operators::generic::operator;

use super::{Edge, Site};
use crate::record::Data;

pub(crate) fn empty<'s, T: Data>(site: &Site<'s>) -> Edge<'s, T> {
    operator::empty(site.scope)
}
