//! A broker that goes away, and comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use thalweg_connectors::pulsar::{PulsarSink, PulsarSource};
use thalweg_engine::source::{ReadBatch, ReadStatus, Source as _};

use crate::broker::own;
use crate::flows::all_ids;
use crate::job::{Event, Running, wait_for};

#[test]
fn a_broker_that_is_killed_mid_run_and_comes_back_costs_nothing() {
    let Some(broker) = own() else { return };
    let (input, output) = (broker.topic("in", 2), broker.topic("out", 2));
    let pulsar = broker.pulsar();
    let sink = PulsarSink::json(&pulsar, &*output);
    let (from, reports) = (input.clone(), sink.reports());
    let running = Running::start(2, move || {
        (PulsarSource::json(&pulsar, &*from), sink.clone())
    });
    broker.produce(&input, 0..60_000, "LZ4");
    wait_for("the first records", || reports.delivered() > 0);
    broker.kill();
    std::thread::sleep(Duration::from_millis(300));
    broker.start_again();
    broker.produce(&input, 60_000..120_000, "NONE");
    wait_for("every record", || reports.delivered() == 120_000);
    let fates = running.stop();
    // Read once each, although the broker gives again what it has given before.
    assert_eq!((fates.records_in, fates.processed), (120_000, 120_000));
    // Written at least once each: what the broker had no time to acknowledge was sent again.
    let all = all_ids(&broker.contents(&output));
    let ids: BTreeSet<_> = all.iter().copied().collect();
    assert!(ids.into_iter().eq(0..120_000));
    assert!(all.len() < 180_000, "{} copies", all.len());
}

#[test]
fn a_partition_whose_broker_is_away_is_not_silent() {
    let Some(broker) = own() else { return };
    let source = PulsarSource::<Event>::json(&broker.pulsar(), broker.topic("in", 1));
    source.partitions().unwrap();
    let mut reader = source.open(0, 0).unwrap();
    let mut read = || reader.read(&mut ReadBatch::new(), 10).unwrap();
    wait_for("silence", || read() == ReadStatus::Waiting);
    broker.kill();
    wait_for("the outage", || read() == ReadStatus::Away);
    broker.start_again();
    wait_for("silence again", || read() == ReadStatus::Waiting);
}
