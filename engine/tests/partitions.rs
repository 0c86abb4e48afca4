//! Sources whose partitions come while the job runs, and that want to know what is done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use thalweg_engine::job::{JobOptions, Order, StopHandle};
use thalweg_engine::ledger::Fates;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, Sink, SinkError, Writer};
use thalweg_engine::source::{
    Found, ReadBatch, ReadStatus, Reader, Source, SourceError, WatermarkPolicy,
};
use thalweg_engine::telemetry::Telemetry;
use thalweg_engine::time::{EventTime, hours, millis, secs};
use thalweg_engine::{RunError, run};

/// Logs that grow, in number and in length; values tell their second.
#[derive(Clone, Default)]
struct Logs {
    logs: Arc<Mutex<Vec<Vec<i64>>>>,
    committed: Arc<Mutex<Vec<u64>>>,
    page: Page,
}

impl Logs {
    fn append(&self, partition: usize, values: impl IntoIterator<Item = i64>) {
        let mut logs = self.logs.lock().unwrap();
        let needed = logs.len().max(partition + 1);
        logs.resize(needed, Vec::new());
        logs[partition].extend(values);
    }
}

impl Logs {
    fn committed(&self) -> Vec<u64> {
        self.committed.lock().unwrap().clone()
    }
}

impl Source<i64> for Logs {
    fn describe(&self) -> String {
        "logs".to_owned()
    }

    fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }

    fn partitions(&self) -> Result<Vec<u32>, SourceError> {
        Ok((0..).take(self.logs.lock().unwrap().len()).collect())
    }

    fn start_offset(&self, _: u32, found: Found) -> Result<u64, SourceError> {
        Ok(match found {
            Found::AtStart => 2,
            Found::Later => 0,
        })
    }

    fn open(&self, partition: u32, offset: u64) -> Result<Box<dyn Reader<i64>>, SourceError> {
        Ok(Box::new(LogReader {
            logs: self.clone(),
            partition: partition as usize,
            next: offset as usize,
        }))
    }

    fn discover_every(&self) -> Option<Duration> {
        Some(millis(5))
    }

    fn commit_every(&self) -> Option<Duration> {
        Some(millis(5))
    }

    /// What is said to be done must be there for everyone to see, unless it was filtered out.
    fn commit(&self, done: &[(u32, u64)]) -> Result<(), SourceError> {
        let visible = self.page.visible.lock().unwrap();
        let logs = self.logs.lock().unwrap();
        let mut committed = self.committed.lock().unwrap();
        committed.resize(logs.len(), 0);
        for &(partition, offset) in done {
            let log = &logs[partition as usize][..offset as usize];
            let start = if partition == 0 { 2 } else { 0 };
            let missing: Vec<_> = log[start..]
                .iter()
                .filter(|value| *value % 3 != 0 && !visible.contains(*value))
                .collect();
            assert!(missing.is_empty(), "committed too early: {missing:?}");
            assert!(committed[partition as usize] < offset);
            committed[partition as usize] = offset;
        }
        Ok(())
    }
}

struct LogReader {
    logs: Logs,
    partition: usize,
    next: usize,
}

impl Reader<i64> for LogReader {
    fn read(
        &mut self,
        batch: &mut ReadBatch<i64>,
        limit: usize,
    ) -> Result<ReadStatus, SourceError> {
        let logs = self.logs.logs.lock().unwrap();
        let values = logs[self.partition].iter().enumerate();
        let fresh = values.skip(self.next).take(limit);
        batch.extend(fresh.map(|(offset, value)| (offset as u64, Ok(*value))));
        self.next += batch.len();
        drop(logs);
        if batch.is_empty() {
            std::thread::sleep(millis(1));
            return Ok(ReadStatus::Waiting);
        }
        Ok(ReadStatus::More)
    }
}

/// A sink whose records are visible only once they have been flushed.
#[derive(Clone, Default)]
struct Page {
    pending: Arc<Mutex<Vec<i64>>>,
    visible: Arc<Mutex<BTreeSet<i64>>>,
    /// Whether nothing is visible before the page is complete.
    is_bound: bool,
}

impl Sink<i64> for Page {
    fn describe(&self) -> String {
        "page".to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Writer<i64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Writer<i64> for Page {
    fn write(&mut self, records: &[Record<i64>], _: &mut Refused) -> Result<(), SinkError> {
        let values = records.iter().map(|record| record.value);
        self.pending.lock().unwrap().extend(values);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        match self.is_bound {
            true => Ok(()),
            false => self.close(),
        }
    }

    fn shows_when_flushed(&self) -> bool {
        !self.is_bound
    }

    fn close(&mut self) -> Result<(), SinkError> {
        let pending = std::mem::take(&mut *self.pending.lock().unwrap());
        self.visible.lock().unwrap().extend(pending);
        Ok(())
    }
}

/// Waits until `is_so`, for at most half a minute.
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        std::thread::sleep(millis(1));
    }
    panic!("{what} never came");
}

/// A flow from the logs to their page, that runs beside the test.
struct Running {
    logs: Logs,
    stop: StopHandle,
    telemetry: Arc<Telemetry>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start(logs: &Logs, workers: usize, order: Order) -> Self {
        let (stop, telemetry) = (StopHandle::default(), Arc::new(Telemetry::default()));
        let options = JobOptions {
            workers,
            order,
            batch_records: 7,
            ..JobOptions::default()
        };
        let (ends, stopped, told) = (logs.clone(), stop.clone(), Arc::clone(&telemetry));
        let thread = std::thread::spawn(move || {
            run(options, told, stopped, move |flow| {
                // No partition becomes idle while the test runs.
                let policy = WatermarkPolicy::disorder(secs(0)).idle_after(hours(1));
                flow.source("logs", ends.clone())
                    .event_time(|second| EventTime::from_seconds(*second), policy)
                    .filter("thirds", |value| value % 3 != 0)
                    .sink("page", ends.page.clone());
                Ok(())
            })
        });
        Self {
            logs: logs.clone(),
            stop,
            telemetry,
            thread,
        }
    }

    fn sees(&self, value: i64) -> bool {
        self.logs.page.visible.lock().unwrap().contains(&value)
    }

    fn stop(self) -> Fates {
        self.stop.stop();
        self.thread.join().unwrap().unwrap();
        let fates = self.telemetry.ledger().fates();
        assert!(fates.balance(), "{fates:?}");
        fates
    }
}

#[test]
fn partitions_that_come_later_are_read_and_what_is_done_is_committed() {
    for workers in [1, 3] {
        let logs = Logs::default();
        logs.append(0, 1000..2000);
        let running = Running::start(&logs, workers, Order::Arrival);
        wait_for("the first partition", || running.sees(1999));
        assert!(!running.sees(1000), "the source says where it begins");
        // One that comes later is read from its beginning, however old its events are.
        logs.append(1, 1..500);
        wait_for("an old partition", || running.sees(499));
        // One that is empty stops nobody.
        logs.append(3, []);
        logs.append(2, 5000..5500);
        wait_for("a new partition", || running.sees(5498));
        logs.append(0, 6000..6100);
        wait_for("the first partition", || running.sees(6098));
        wait_for("a commit", || logs.committed() == [1100, 499, 500, 0]);
        logs.append(3, [7000]);
        let fates = {
            wait_for("the empty partition", || running.sees(7000));
            running.stop()
        };
        assert_eq!(fates.records_in, 998 + 499 + 500 + 100 + 1);
        assert_eq!(logs.committed(), [1100, 499, 500, 1]);
    }
}

#[test]
fn what_waits_for_the_watermark_is_not_done() {
    let logs = Logs::default();
    logs.append(0, 1000..2000);
    let running = Running::start(&logs, 2, Order::EventTime);
    wait_for("the first partition", || running.sees(1997));
    // The watermark does not go back, but it does not go on either.
    logs.append(1, 1..500);
    wait_for("an old partition", || running.sees(499));
    logs.append(0, 6000..6100);
    let all = 998 + 499 + 100;
    wait_for("every record", || running.telemetry.records_in() == all);
    let fates = running.stop();
    // Of the last hundred a third was filtered out before, and 1999 itself had not been passed.
    assert_eq!((fates.records_in, fates.held), (all, 67));
    assert_eq!(logs.committed(), [999, 499]);
}

#[test]
fn what_is_visible_only_at_the_end_is_done_only_then_and_partitions_are_found_meanwhile() {
    let mut logs = Logs::default();
    logs.page.is_bound = true;
    logs.append(0, 1000..2000);
    let running = Running::start(&logs, 2, Order::Arrival);
    wait_for("every record", || running.telemetry.records_in() == 998);
    // A commit would have been due many times.
    std::thread::sleep(millis(100));
    assert_eq!(logs.committed(), [] as [u64; 0]);
    logs.append(1, 1..500);
    wait_for("another partition", || {
        running.telemetry.records_in() == 998 + 499
    });
    assert!(!running.sees(499));
    let fates = running.stop();
    assert_eq!(fates.records_in, 998 + 499);
    assert_eq!(logs.committed(), [1000, 499]);
}
