//! What goes through the simulated pipeline.

use serde::{Deserialize, Serialize};

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) key: u64,
    pub(crate) second: i64,
}

/// What is published: of an event, how many there have been of its key by then, and the sum of their
/// ids; of a late event just its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) key: u64,
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

/// The rows of an outbox.
pub(crate) fn rows(mut outbox: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    while !outbox.is_empty() {
        let (row, rest) = postcard::take_from_bytes(outbox)
            .expect("invariant: an outbox comes back as it was staged");
        rows.push(row);
        outbox = rest;
    }
    rows
}

/// Adds a row to an outbox.
pub(crate) fn stage(row: &Row, outbox: &mut Vec<u8>) {
    let grown = postcard::to_extend(row, std::mem::take(outbox));
    *outbox = grown.expect("invariant: a row can be encoded");
}
