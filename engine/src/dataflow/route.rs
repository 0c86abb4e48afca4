//! Sends each record to the worker that owns its key, and every watermark to all workers.

use super::unary::unary;
use super::{Edge, Site};
use crate::record::{Data, Packet};
use crate::watermark::Watermark;

/// Addresses every record to the worker that `owner` names.
///
/// With one worker there is nothing to do: its packets are already addressed to it.
pub(crate) fn route<'s, T: Data>(
    site: &Site<'s>,
    input: Edge<'s, T>,
    owner: impl Fn(&T) -> usize + 'static,
) -> Edge<'s, T> {
    let (worker, workers) = (site.worker(), site.workers());
    if workers == 1 {
        return input;
    }
    let mut sent = vec![Watermark::START; workers];
    unary(input, "route", move |packet: Packet<T>, given| {
        let share = packet.records.len() / workers + 1;
        let mut parts: Vec<Vec<_>> = (0..workers).map(|_| Vec::with_capacity(share)).collect();
        for record in packet.records {
            parts[owner(&record.value)].push(record);
        }
        for (to, records) in parts.into_iter().enumerate() {
            if !records.is_empty() || sent[to] != packet.watermark {
                sent[to] = packet.watermark;
                given.push(Packet {
                    from: worker,
                    to,
                    records,
                    watermark: packet.watermark,
                });
            }
        }
    })
}
