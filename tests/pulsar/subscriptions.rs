//! Sources that read with a subscription, which is told what is done.

use std::time::Duration;

use serde_json::Value;
use thalweg_connectors::pulsar::{PulsarSink, PulsarSource, Start, SubscriptionKind};
use thalweg_engine::source::Source;

use crate::broker::{Broker, shared};
use crate::flows::ids;
use crate::job::{Event, Running, wait_for};

/// What a subscription still has to give, all partitions together.
fn backlog(broker: &Broker, topic: &str, name: &str) -> u64 {
    let stats = broker.admin("GET", &format!("{topic}/stats"), "");
    let stats: Value = serde_json::from_str(&stats).unwrap();
    stats["subscriptions"][name]["msgBacklog"].as_u64().unwrap()
}

fn start(
    broker: &Broker,
    input: &str,
    output: &str,
    kind: SubscriptionKind,
    until_end: bool,
) -> (Running, std::sync::Arc<thalweg_connectors::pulsar::Reports>) {
    let pulsar = broker.pulsar();
    let input = input.to_owned();
    let sink = PulsarSink::json(&pulsar, output);
    let reports = sink.reports();
    let running = Running::start(2, move || {
        let source = PulsarSource::json(&pulsar, &*input).subscription("job", kind);
        let source = if until_end {
            source.until_end()
        } else {
            source
        };
        (source, sink.clone())
    });
    (running, reports)
}

#[test]
fn a_job_goes_on_where_its_subscription_has_got_to() {
    use SubscriptionKind as Kind;
    let Some(broker) = shared() else { return };
    for kind in [Kind::Exclusive, Kind::Failover] {
        let (input, output) = (broker.topic("in", 0), broker.topic("out", 0));
        broker.produce(&input, 0..3_000, "LZ4");
        let (running, _) = start(broker, &input, &output, kind, true);
        assert_eq!(running.join().unwrap().records_in, 3_000);
        assert_eq!(backlog(broker, &input, "job"), 0);
        // Nothing is left, then only what is new.
        let (running, _) = start(broker, &input, &output, kind, true);
        assert_eq!(running.join().unwrap().records_in, 0);
        broker.produce(&input, 3_000..4_000, "LZ4");
        let (running, _) = start(broker, &input, &output, kind, true);
        assert_eq!(running.join().unwrap().records_in, 1_000);
        assert!(ids(&broker.contents(&output)).into_iter().eq(0..4_000));
    }
}

#[test]
fn what_is_done_is_acknowledged_while_a_job_runs() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 0), broker.topic("out", 0));
    broker.produce(&input, 0..100, "NONE");
    let (running, reports) = start(broker, &input, &output, SubscriptionKind::Exclusive, false);
    wait_for("what was there", || reports.delivered() == 100);
    wait_for("acknowledgements", || backlog(broker, &input, "job") == 0);
    broker.produce_alone(&input, 100..105, "NONE");
    wait_for("what came later", || reports.delivered() == 105);
    wait_for("acknowledgements", || backlog(broker, &input, "job") == 0);
    // A second job with the same subscription is refused.
    let second = PulsarSource::<Event>::json(
        &broker.pulsar().patience(Duration::from_millis(500)),
        &*input,
    );
    let second = second.subscription("job", SubscriptionKind::Exclusive);
    second.check().unwrap();
    let refusal = second.open(0, 0).map(drop).unwrap_err().to_string();
    assert!(refusal.contains("is another job reading"), "{refusal}");
    running.stop();
}

#[test]
fn jobs_that_share_a_subscription_by_key_have_everything_between_them() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 0), broker.topic("out", 0));
    let kind = SubscriptionKind::KeyShared;
    let (one, one_reports) = start(broker, &input, &output, kind, false);
    let (two, two_reports) = start(broker, &input, &output, kind, false);
    let source = broker.topic("source", 0);
    broker.produce(&source, 0..2_000, "NONE");
    // Each message alone and with a key, so that they can be divided.
    let (pulsar, to) = (broker.pulsar(), input.clone());
    let feeding = Running::start(1, move || {
        let sink = PulsarSink::json(&pulsar, &*to)
            .batch_records(1)
            .key(|event: &Event| Some(event.id.to_string()));
        (PulsarSource::json(&pulsar, &*source).until_end(), sink)
    });
    feeding.join().unwrap();
    let delivered = || (one_reports.delivered(), two_reports.delivered());
    wait_for("every record", || delivered().0 + delivered().1 >= 2_000);
    wait_for("acknowledgements", || backlog(broker, &input, "job") == 0);
    let (one, two) = (one.stop(), two.stop());
    assert_eq!(one.records_in + two.records_in, 2_000);
    assert!(one.records_in > 0 && two.records_in > 0, "they share");
    assert!(ids(&broker.contents(&output)).into_iter().eq(0..2_000));
}

#[test]
fn a_subscription_knows_where_it_is_and_may_have_no_end() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("in", 0);
    let source = || PulsarSource::<Event>::json(&broker.pulsar(), &*topic);
    let at = source()
        .subscription("job", SubscriptionKind::Exclusive)
        .start(Start::At(Default::default()));
    let refusal = at.check().unwrap_err().to_string();
    assert!(refusal.contains("knows where it is"), "{refusal}");
    let endless = source()
        .subscription("job", SubscriptionKind::KeyShared)
        .until_end();
    let refusal = endless.check().unwrap_err().to_string();
    assert!(
        refusal.contains("make the subscription exclusive"),
        "{refusal}"
    );
}
