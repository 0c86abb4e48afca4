//! Whole clusters in one process: each of their processes is a thread here.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::ClusterOptions;
use super::hosts::{self, Host};
use crate::flow::Flow;
use crate::job::{JobOptions, Order, StopHandle};
use crate::keyed::{Context, KeyedStep};
use crate::ledger::Fates;
use crate::record::Record;
use crate::runtime::{RunError, run};
use crate::telemetry::Telemetry;
use crate::testing::{Collect, Events, Live};
use crate::time::{EventTime, millis, secs};

/// Places for so many processes on ports that nobody else has.
pub(crate) fn free_hosts(processes: usize) -> Vec<Host> {
    let listeners: Vec<_> = (0..processes)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("there are free ports"))
        .collect();
    let addresses = listeners.iter().map(|listener| {
        let address = listener.local_addr().expect("it is bound");
        address.to_string()
    });
    let addresses: Vec<_> = addresses.collect();
    hosts::read(&addresses.join(","), Some(processes)).expect("they are addresses")
}

fn options(hosts: &[Host], process: usize) -> ClusterOptions {
    ClusterOptions {
        hosts: hosts.to_vec(),
        connect_timeout: secs(20),
        ..ClusterOptions::local("test", process, hosts.len())
    }
}

/// One process.
struct Process {
    thread: JoinHandle<Result<(), RunError>>,
    telemetry: Arc<Telemetry>,
    stop: StopHandle,
}

fn start(
    cluster: ClusterOptions,
    workers: usize,
    build: impl Fn(&mut Flow<'_>) + Send + Sync + 'static,
) -> Process {
    let (telemetry, stop) = (Arc::new(Telemetry::default()), StopHandle::default());
    let options = JobOptions {
        workers,
        order: Order::EventTime,
        cluster: Some(cluster),
        ..JobOptions::default()
    };
    let (own_telemetry, own_stop) = (Arc::clone(&telemetry), stop.clone());
    let thread = thread::spawn(move || {
        run(options, own_telemetry, own_stop, move |flow| {
            build(flow);
            Ok(())
        })
    });
    Process {
        thread,
        telemetry,
        stop,
    }
}

impl Process {
    fn end(self) -> Result<(), RunError> {
        let mut waits = 0;
        while !self.thread.is_finished() {
            waits += 1;
            assert!(waits < 6_000, "it does not end");
            thread::sleep(millis(10));
        }
        self.thread.join().expect("it does not panic")
    }
}

/// Adds up the numbers of each key, which must not be negative.
struct Sum;

impl KeyedStep<i64> for Sum {
    type Key = i64;
    type State = i64;
    type Out = (i64, i64);

    fn process(
        &mut self,
        _: &i64,
        sum: &mut i64,
        record: Record<i64>,
        context: &mut Context<'_, (i64, i64)>,
    ) {
        assert!(record.value >= 0, "minus");
        *sum += record.value;
        let sum = *sum;
        context.emit(record.map(|value| (value, sum)));
    }
}

/// Numbers in three partitions, every seventh filtered, every eleventh undoable.
fn numbers(flow: &mut Flow<'_>, collect: &Collect<(i64, i64)>) {
    let partition = |first: i64| (0..3_000).map(move |n| first + 3 * n).collect::<Vec<_>>();
    let sums = flow
        .source("numbers", Events::partitions([0, 1, 2].map(partition)))
        .event_time(|n: &i64| EventTime::from_seconds(*n), secs(5))
        .filter("no_sevens", |n| n % 7 != 0)
        .map("no_elevens", |n| {
            assert!(n % 11 != 0, "eleven");
            n
        })
        .key_by(|n| n % 10)
        .step("sum", "sum", Sum);
    sums.sink("collect", collect.clone());
}

fn outcome(processes: usize, workers: usize) -> (Vec<(i64, i64)>, Fates) {
    let hosts = free_hosts(processes);
    let collects: Vec<_> = (0..processes).map(|_| Collect::default()).collect();
    let all: Vec<_> = (0..processes)
        .map(|process| {
            let collect = collects[process].clone();
            start(options(&hosts, process), workers, move |flow| {
                numbers(flow, &collect)
            })
        })
        .collect();
    let first = Arc::clone(&all[0].telemetry);
    for process in all {
        let telemetry = Arc::clone(&process.telemetry);
        process.end().expect("it comes to a good end");
        assert!(telemetry.fates().balance(), "{:?}", telemetry.fates());
    }
    assert!(
        collects[1..]
            .iter()
            .all(|collect| collect.values().is_empty())
    );
    assert_eq!(
        first
            .step("collect", crate::telemetry::StepKind::Sink)
            .records_in(),
        first.fates().processed
    );
    (collects[0].values(), first.fates())
}

#[test]
fn any_processes_and_workers_give_the_same_outputs_and_lose_nothing() {
    let (expected, fates) = outcome(1, 2);
    assert_eq!(fates.records_in, 9_000);
    assert!(
        fates.balance() && fates.filtered > 0 && fates.dead_letters > 0,
        "{fates:?}"
    );
    for (processes, workers) in [(2, 1), (3, 2)] {
        assert_eq!(
            outcome(processes, workers),
            (expected.clone(), fates),
            "{processes} x {workers}"
        );
    }
}

/// A flow that runs until it is stopped.
fn endless(flow: &mut Flow<'_>, live: &Live<i64>) {
    flow.source("live", live.clone())
        .event_time(|n: &i64| EventTime::from_seconds(*n), secs(5))
        .key_by(|n| n % 10)
        .step("sum", "sum", Sum);
}

fn endless_cluster(processes: usize) -> (Vec<Process>, crossbeam::channel::Sender<i64>) {
    let hosts = free_hosts(processes);
    let (sender, live) = Live::new();
    let all = (0..processes).map(|process| {
        let live = live.clone();
        let cluster = ClusterOptions {
            peer_timeout: secs(2),
            ..options(&hosts, process)
        };
        start(cluster, 1, move |flow| endless(flow, &live))
    });
    let all: Vec<_> = all.collect();
    let mut waits = 0;
    let is_running =
        |process: &Process| process.telemetry.status().health == crate::telemetry::Health::Running;
    while !all.iter().all(is_running) {
        waits += 1;
        assert!(waits < 3_000, "it does not begin");
        thread::sleep(millis(10));
    }
    (all, sender)
}

#[test]
fn a_stop_of_one_is_a_stop_of_all_and_a_good_end() {
    let (all, sender) = endless_cluster(3);
    (0..100).for_each(|n| sender.send(n).expect("it is read"));
    thread::sleep(millis(100));
    all[2].stop.stop();
    let first = Arc::clone(&all[0].telemetry);
    for process in all {
        process.end().expect("it comes to a good end");
    }
    assert!(first.fates().balance(), "{:?}", first.fates());
}

#[test]
fn a_panic_in_one_worker_ends_all_and_is_told_by_all() {
    let (all, sender) = endless_cluster(3);
    sender.send(-1).expect("it is read");
    let outcomes: Vec<_> = all
        .into_iter()
        .map(|process| process.end().expect_err("one panicked"))
        .collect();
    let own = outcomes
        .iter()
        .filter(|error| matches!(error, RunError::Failed(_)))
        .count();
    assert_eq!(own, 1, "{outcomes:?}");
    for error in &outcomes {
        let text = error.to_string();
        assert!(text.contains("minus"), "{text}");
        let is_lost = matches!(error, RunError::Lost(_));
        assert_eq!(is_lost, text.starts_with("process "), "{text}");
    }
}

#[test]
fn a_worker_that_hangs_ends_all() {
    let hosts = free_hosts(2);
    let all = (0..2).map(|process| {
        let cluster = ClusterOptions {
            peer_timeout: secs(1),
            ..options(&hosts, process)
        };
        start(cluster, 1, |flow| {
            flow.source("numbers", Events::new([1_i64, 2, 3]))
                .event_time(|n: &i64| EventTime::from_seconds(*n), secs(5))
                .map("hang", |n| {
                    thread::sleep(secs(3_600));
                    n
                });
        })
    });
    let outcomes = all.collect::<Vec<_>>().into_iter().map(|process| {
        let error = process.end().expect_err("one hangs");
        assert!(matches!(error, RunError::Lost(_)), "{error}");
        error.to_string()
    });
    let outcomes: Vec<_> = outcomes.collect();
    assert!(
        outcomes
            .iter()
            .all(|text| text.contains("has not come round for")),
        "{outcomes:?}"
    );
}

/// Process 1 starts with other options than process 0 expects.
fn refusal(change: impl FnOnce(&mut ClusterOptions), workers: usize) -> [RunError; 2] {
    let hosts = free_hosts(2);
    let build = |flow: &mut Flow<'_>| numbers(flow, &Collect::default());
    let first = ClusterOptions {
        connect_timeout: secs(3),
        ..options(&hosts, 0)
    };
    let first = start(first, 1, build);
    let mut second = options(&hosts, 1);
    change(&mut second);
    let second = start(second, workers, build)
        .end()
        .expect_err("it is refused");
    [first.end().expect_err("one is missing"), second]
}

#[test]
fn who_does_not_belong_to_the_cluster_is_told_so() {
    let check = |change: fn(&mut ClusterOptions), workers, expected: &str| {
        let [first, second] = refusal(change, workers);
        assert!(matches!(second, RunError::Plan(_)), "{second}");
        assert!(second.to_string().contains(expected), "{second}");
        assert!(matches!(first, RunError::Lost(_)), "{first}");
        assert!(first.to_string().contains(expected), "{first}");
    };
    check(
        |o| o.pipeline = "other".to_owned(),
        1,
        "process 1 runs pipeline other, process 0 test",
    );
    check(|_| {}, 3, "process 1 has 3 workers, process 0 1");
    check(
        |o| o.generation = 7,
        1,
        "process 1 is of generation 7, process 0 of 0",
    );
    check(
        |o| o.fingerprint = 7,
        1,
        "process 1 has another configuration than process 0",
    );
    check(
        |o| o.hosts.extend(hosts::local(1)),
        1,
        "process 1 knows of 3 processes, process 0 of 2",
    );
}

#[test]
fn who_is_missing_or_there_twice_is_named() {
    let hosts = free_hosts(2);
    let alone = ClusterOptions {
        connect_timeout: secs(1),
        ..options(&hosts, 1)
    };
    let error = start(alone, 1, |_| {}).end().expect_err("one is missing");
    let text = error.to_string();
    assert!(
        text.contains(&format!("process 0 at {}: it cannot be reached", hosts[0])),
        "{text}"
    );

    let hosts = free_hosts(3);
    let (_sender, live) = Live::new();
    let first = {
        let live = live.clone();
        start(options(&hosts, 0), 1, move |flow| endless(flow, &live))
    };
    let twin = |listen: &Host| {
        let (live, listen) = (live.clone(), Some(listen.clone()));
        let cluster = ClusterOptions {
            listen,
            connect_timeout: secs(2),
            ..options(&hosts, 1)
        };
        start(cluster, 1, move |flow| endless(flow, &live))
    };
    let spare = free_hosts(2);
    let twins = [twin(&spare[0]), twin(&spare[1])];
    let texts = twins.map(|twin| twin.end().expect_err("a third one is missing").to_string());
    let is_told = |text: &String| text.contains("there is a process 1 already");
    assert_eq!(
        texts.iter().filter(|text| is_told(text)).count(),
        1,
        "{texts:?}"
    );
    first.stop.stop();
    first.end().expect("it was stopped");
}

#[test]
fn strangers_keep_nobody_waiting() {
    let hosts = free_hosts(2);
    let build = |flow: &mut Flow<'_>| numbers(flow, &Collect::default());
    let first = start(options(&hosts, 0), 1, build);
    thread::sleep(millis(200));
    let address = hosts[0].resolve().expect("it is a number")[0];
    let silent = TcpStream::connect(address).expect("it listens");
    let mut loud = TcpStream::connect(address).expect("it listens");
    std::io::Write::write_all(&mut loud, b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    let second = start(options(&hosts, 1), 1, build);
    for process in [first, second] {
        process.end().expect("it comes to a good end");
    }
    drop((silent, loud));
}

#[cfg(feature = "cluster-tls")]
mod tls {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::cluster::TlsFiles;

    /// An authority that signs certificates in a folder.
    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let pem = params.self_signed(&key).expect("a certificate").pem();
            let issuer = Issuer::new(params, key);
            Self { pem, issuer }
        }

        /// Files with a certificate for these names.
        fn sign(&self, folder: &Path, file: &str, name: &str) -> TlsFiles {
            let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            let key = KeyPair::generate().expect("a key");
            let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
            let write = |kind: &str, pem: &str| {
                let path = folder.join(format!("{file}.{kind}.pem"));
                std::fs::write(&path, pem).expect("the folder is writable");
                path
            };
            TlsFiles {
                certificate: write("certificate", &signed.pem()),
                key: write("key", &key.serialize_pem()),
                authority: write("authority", &self.pem),
            }
        }
    }

    fn name(process: usize) -> String {
        format!("process-{process}.test.thalweg.internal")
    }

    fn outcomes(files: [Option<TlsFiles>; 2]) -> [Result<(), RunError>; 2] {
        let hosts = free_hosts(2);
        let mut process = 0;
        let all = files.map(|tls| {
            let connect_timeout = secs(3);
            let cluster = ClusterOptions {
                tls,
                connect_timeout,
                ..options(&hosts, process)
            };
            process += 1;
            start(cluster, 2, |flow| numbers(flow, &Collect::default()))
        });
        all.map(Process::end)
    }

    #[test]
    fn processes_that_prove_who_they_are_run_together() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new();
        let files = [0, 1].map(|process| {
            Some(authority.sign(folder.path(), &process.to_string(), &name(process)))
        });
        for outcome in outcomes(files) {
            outcome.expect("it comes to a good end");
        }
    }

    #[test]
    fn a_wrong_certificate_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (authority, other) = (Authority::new(), Authority::new());
        let good = authority.sign(folder.path(), "good", &name(0));
        let check = |what: &str, second: Option<TlsFiles>, expected: &str| {
            let [first, second] = outcomes([Some(good.clone()), second]);
            let first = first.expect_err("one is missing").to_string();
            assert!(first.contains("process 1"), "{what}: {first}");
            let second = second.expect_err("it is refused");
            assert!(matches!(second, RunError::Plan(_)), "{what}: {second}");
            assert!(second.to_string().contains(expected), "{what}: {second}");
        };
        let sign = |file: &str, name: &str| Some(authority.sign(folder.path(), file, name));
        let third = sign("third", &name(2));
        check(
            "of another process",
            third,
            "its certificate is not that of process-1.test",
        );
        let elsewhere = sign("elsewhere", "process-1.prod.thalweg.internal");
        check(
            "of another cluster",
            elsewhere,
            "its certificate is not that of process-1.test",
        );
        let mut stranger = other.sign(folder.path(), "stranger", &name(1));
        check(
            "of another authority",
            Some(stranger.clone()),
            "invalid peer certificate",
        );
        stranger.authority = good.authority.clone();
        check(
            "signed by another authority",
            Some(stranger),
            "received fatal alert",
        );
        check("none", None, "it speaks another protocol");
    }
}
