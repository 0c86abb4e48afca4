//! Brokers that go away, and pipelines that are killed.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use thalweg_connectors::kafka::{ID_HEADER, Kafka, KafkaSink, KafkaSource, Start};
use thalweg_engine::record::{Origin, Record};
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{ReadBatch, ReadStatus, Source as _};
use thalweg_engine::time::EventTime;

use crate::broker::{own, shared};
use crate::flows::ids;
use crate::job::{Event, Running, logs_of, wait_for};

#[test]
fn a_broker_that_is_killed_mid_run_and_comes_back_costs_nothing() {
    let Some(broker) = own() else { return };
    let (input, output) = (broker.topic("in", 3), broker.topic("out", 3));
    let kafka = broker.kafka();
    let sink = KafkaSink::json(&kafka, &*output);
    let (from, reports) = (input.clone(), sink.reports());
    let running = Running::start(2, move || {
        let source = KafkaSource::json(&kafka, &*from).group("restarted");
        (source, sink.clone())
    });
    let append = |ids: std::ops::Range<u64>| {
        for id in ids.step_by(20_000) {
            let partition = (id / 20_000 % 3) as i32;
            broker.append(&input, partition, (id..id + 20_000).map(Event::text));
        }
    };
    append(0..120_000);
    wait_for("the first records", || reports.delivered() > 0);
    broker.kill();
    std::thread::sleep(Duration::from_millis(300));
    broker.start_again();
    append(120_000..240_000);
    wait_for("every record", || reports.delivered() == 240_000);
    let fates = running.stop();
    assert_eq!((fates.records_in, fates.processed), (240_000, 240_000));
    assert!(ids(&broker.contents(&output)).into_iter().eq(0..240_000));
}

#[test]
fn an_outage_is_told_once_and_so_is_its_end() {
    let Some(broker) = own() else { return };
    let sink = KafkaSink::<Event>::json(&broker.kafka(), broker.topic("out", 1));
    let record = |id| Record {
        time: EventTime::default(),
        origin: Origin::default(),
        ingested_ns: 0,
        value: Event { id },
    };
    let logs = logs_of(|| {
        let mut writer = sink.open().unwrap();
        let mut refused = Refused::default();
        writer.write(&[record(0)], &mut refused).unwrap();
        writer.flush().unwrap();
        broker.kill();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(5));
                broker.start_again();
            });
            writer.write(&[record(1)], &mut refused).unwrap();
            writer.flush().unwrap();
        });
    });
    let warned = |what: &str| {
        let lines = logs.lines().filter(|line| line.contains("WARN"));
        lines.filter(|line| line.contains(what)).count()
    };
    assert_eq!(
        warned("trying again until the brokers can be reached"),
        1,
        "{logs}"
    );
    assert_eq!(warned("the brokers can be reached again"), 1, "{logs}");
    let errors = logs.lines().filter(|line| line.contains(" ERROR "));
    assert_eq!(errors.count(), 0, "{logs}");
}

#[test]
fn a_partition_whose_broker_is_away_is_not_silent() {
    let Some(broker) = own() else { return };
    let topic = broker.topic("in", 1);
    let source = KafkaSource::<Event>::json(&broker.kafka(), &*topic);
    source.partitions().unwrap();
    let mut reader = source.open(0, 0).unwrap();
    let mut read = || reader.read(&mut ReadBatch::new(), 10).unwrap();
    wait_for("silence", || read() == ReadStatus::Waiting);
    broker.kill();
    wait_for("the outage", || read() == ReadStatus::Away);
    broker.start_again();
    // As a job looks for new partitions now and then.
    wait_for("silence again", || {
        source.partitions().is_ok() && read() == ReadStatus::Waiting
    });
}

const BROKERS: &str = "THALWEG_TEST_PIPELINE_BROKERS";

/// Not a test of its own: the pipeline that the test below runs as a process, and kills.
#[test]
#[ignore = "run by the test that kills it"]
fn pipeline() {
    let Ok(brokers) = std::env::var(BROKERS) else {
        return;
    };
    let topic = |name| std::env::var(name).unwrap();
    let (input, output) = (topic("INPUT"), topic("OUTPUT"));
    let running = Running::start(2, move || {
        let kafka = Kafka::at(&*brokers);
        let source = KafkaSource::json(&kafka, &*input)
            .group(&*input)
            .start(Start::Committed);
        (source, KafkaSink::json(&kafka, &*output))
    });
    running.join().unwrap();
}

#[test]
fn a_pipeline_that_is_killed_goes_on_and_loses_nothing() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 4), broker.topic("out", 2));
    let run = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::pipeline", "--ignored"])
            .env(BROKERS, broker.address("THALWEG_TEST_KAFKA"))
            .env("INPUT", &input)
            .env("OUTPUT", &output)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut sent = 0;
    let mut send = || {
        for partition in 0..4 {
            broker.append(&input, partition, (sent..sent + 5_000).map(Event::text));
            sent += 5_000;
        }
        sent
    };
    for kill in 0..6 {
        let mut pipeline = run();
        send();
        std::thread::sleep(Duration::from_millis(400 + 350 * kill));
        // With SIGKILL.
        pipeline.kill().unwrap();
        pipeline.wait().unwrap();
    }
    let sent = send();
    let mut pipeline = run();
    let came = || {
        let mut came = BTreeMap::<u64, Vec<_>>::new();
        for stored in broker.contents(&output) {
            let event: Event = serde_json::from_slice(&stored.value).unwrap();
            let id = stored.header(ID_HEADER).unwrap().to_vec();
            came.entry(event.id).or_default().push(id);
        }
        came
    };
    wait_for("every record", || came().len() as u64 == sent);
    pipeline.kill().unwrap();
    pipeline.wait().unwrap();
    let came = came();
    assert!(came.keys().copied().eq(0..sent));
    let copies: usize = came.values().map(Vec::len).sum();
    // A job that has committed does not begin again from the beginning.
    assert!(copies < 3 * sent as usize, "{copies} copies of {sent}");
    for (event, names) in came {
        let first = &names[0];
        assert!(names.iter().all(|name| name == first), "{event}: {names:?}");
    }
}
