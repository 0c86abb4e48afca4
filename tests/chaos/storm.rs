//! What is done to the job, and when.

use std::process::Command;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::broker::{Broker, Contents, Kind, open};
use crate::cluster::{Cluster, Place, Shape};
use crate::feeder::Feeder;
use crate::ledger::{Verdict, judge};
use crate::process::{Process, wait_until};
use crate::proxy::{Proxy, Weather};
use crate::random::Random;
use crate::records::{EVENTS, ROWS, Row, TOTALS, Total};

/// The ways in which a network fails.
const WEATHERS: [Weather; 4] = [
    Weather::Delay,
    Weather::HalfOpen,
    Weather::Cut,
    Weather::Reset,
];
/// How long the network to a broker fails: for a job that must bear it, and at most.
const SHORT: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(22);

/// Runs the whole; whether nothing is lost, doubled or wrong. True where there is no such broker.
pub(crate) fn run(kills: u32, seed: u64, kind: Kind) -> bool {
    let folder = tempfile::Builder::new().prefix("thalweg-chaos-").tempdir();
    // It stays unless all is well.
    let folder = folder.expect("there is room for files").keep();
    let Some(broker) = open(kind, &folder) else {
        std::fs::remove_dir(&folder).expect("nothing is in it");
        return true;
    };
    println!(
        "chaos: {kills} kills, seed {seed}, broker {kind:?}, in {}",
        folder.display()
    );
    let place = Place {
        folder: folder.clone(),
        program: std::env::current_exe().expect("this program is there"),
    };
    let feeder = Feeder::start(&broker, seed);
    let mut storm = Storm {
        place: &place,
        broker: &*broker,
        random: Random::new(seed),
        kills,
        done: 0,
        lives: 0,
    };
    if let Some(network) = broker.network() {
        storm.disturb(network);
    }
    while storm.done < kills {
        storm.live();
    }
    feeder.stop();
    storm.finish();
    let verdict = storm.judge();
    for words in &verdict.words {
        println!("chaos: {words}");
    }
    let Verdict {
        inputs,
        lost,
        duplicated,
        wrong,
        ..
    } = verdict;
    if verdict.is_clean() {
        std::fs::remove_dir_all(&folder).expect("the folder is ours");
    } else {
        println!("chaos: everything is kept in {}", folder.display());
    }
    println!(
        "{{\"kills\": {}, \"inputs\": {inputs}, \"lost\": {lost}, \"duplicated\": {duplicated}, \
         \"wrong_aggregates\": {wrong}}}",
        storm.done
    );
    verdict.is_clean()
}

struct Storm<'a> {
    place: &'a Place,
    broker: &'a dyn Broker,
    random: Random,
    kills: u32,
    done: u32,
    lives: u32,
}

impl Storm<'_> {
    /// Has the network to the broker fail in every way, beneath a job that must bear it.
    fn disturb(&mut self, network: &Proxy) {
        let shape = Shape {
            processes: 2,
            workers: 2,
            is_supervised: false,
        };
        let mut cluster = Cluster::start(self.place, self.broker, shape, "disturbed", &[]);
        for weather in WEATHERS {
            self.wait_for_epochs(&mut cluster);
            println!("chaos: between job and broker there is {weather:?} for {SHORT:?}");
            network.set(weather);
            thread::sleep(SHORT);
            network.set(Weather::Fair);
        }
        self.wait_for_epochs(&mut cluster);
        cluster.kill();
    }

    /// Starts a cluster of any shape, disturbs it, and ends it in one way or another.
    fn live(&mut self) {
        self.lives += 1;
        let shape = Shape {
            processes: [3, 3, 2, 1][self.random.below(4) as usize],
            workers: 1 + self.random.below(3) as usize,
            is_supervised: self.random.once_in(2),
        };
        let life = format!("life-{}", self.lives);
        let mut cluster = Cluster::start(self.place, self.broker, shape, &life, &[]);
        let rounds = match shape.is_supervised {
            true => 1 + self.random.below(4),
            false => 1,
        };
        for _ in 0..rounds {
            if self.done == self.kills {
                break;
            }
            // Now and then before it has come back.
            if !self.random.once_in(5) {
                self.wait_for_epochs(&mut cluster);
                self.trouble(&cluster);
            }
            self.pause(1_200);
            if !shape.is_supervised && cluster.all.iter_mut().any(Process::has_ended) {
                break;
            }
            self.hit(&cluster);
        }
        self.end(cluster);
    }

    /// Waits until the job gets on. What was under way when a process was lost may still be sealed.
    fn wait_for_epochs(&self, cluster: &mut Cluster) {
        let before = self.place.epoch().unwrap_or(0);
        wait_until("epochs have been sealed", || {
            for process in &mut cluster.all {
                let said = process.said();
                assert!(
                    !process.has_ended(),
                    "a process has ended: {said}\nbroker: {}",
                    self.broker.last_words()
                );
            }
            thread::sleep(Duration::from_millis(100));
            self.place.epoch() >= Some(before + 3)
        });
    }

    fn pause(&mut self, millis_max: u64) {
        thread::sleep(Duration::from_millis(self.random.below(millis_max)));
    }

    /// Now and then has what the job stands on fail for a while: broker, checkpoints, network.
    fn trouble(&mut self, cluster: &Cluster) {
        if self.random.once_in(3) && self.broker.restart() {
            println!("chaos: the broker was killed and started again");
            return;
        }
        let time = Duration::from_millis(self.random.below(3_500));
        if self.random.once_in(8) {
            println!("chaos: the checkpoints are away for {time:?}");
            self.place.lose_checkpoints(time);
            return;
        }
        let links: Vec<_> = cluster.network.iter().collect();
        let (between, links, odds) = match self.broker.network() {
            Some(network) if self.random.once_in(2) => ("job and broker", vec![network], 1),
            _ => ("two processes", links, 4),
        };
        if links.is_empty() || !self.random.once_in(odds) {
            return;
        }
        let link = links[self.random.below(links.len() as u64) as usize];
        let weather = WEATHERS[self.random.below(4) as usize];
        // Now and then for longer than clients wait for an answer.
        let is_long = odds == 1 && self.random.once_in(6);
        let time = if is_long { LONG } else { time };
        println!("chaos: between {between} there is {weather:?} for {time:?}");
        link.set(weather);
        thread::sleep(time);
        link.set(Weather::Fair);
    }

    /// Kills or stops one of the processes.
    fn hit(&mut self, cluster: &Cluster) {
        let victim = self.random.below(cluster.shape.processes as u64) as usize;
        let Some(process) = cluster.worker(victim) else {
            return;
        };
        let is_stop = self.random.once_in(3);
        self.done += 1;
        let Shape {
            processes, workers, ..
        } = cluster.shape;
        println!(
            "chaos: {} {} of {}: process {victim} of {processes} with {workers} workers each{}, \
             epoch {}",
            if is_stop { "stop" } else { "kill" },
            self.done,
            self.kills,
            if cluster.shape.is_supervised {
                ", supervised"
            } else {
                ""
            },
            self.place.epoch().unwrap_or(0),
        );
        if is_stop {
            // Sometimes for so short that nobody minds, sometimes for so long that it is given up.
            signal("STOP", process);
            self.pause(5_000);
            signal("CONT", process);
        } else {
            signal("KILL", process);
        }
    }

    fn end(&mut self, mut cluster: Cluster) {
        let is_supervised = cluster.shape.is_supervised;
        if is_supervised && self.random.once_in(2) {
            self.wait_for_epochs(&mut cluster);
            println!("chaos: all are asked to stop");
            cluster
                .all
                .iter()
                .for_each(|process| process.signal("TERM"));
            for (code, said) in cluster.end() {
                assert_eq!(
                    code,
                    Some(0),
                    "a process that was asked to stop says {said}"
                );
            }
            return;
        }
        if !is_supervised && cluster.shape.processes > 1 {
            // Those that are left end by themselves, or go on together.
            thread::sleep(Duration::from_secs(3));
            let ended = cluster
                .all
                .iter_mut()
                .filter_map(|p| p.has_ended().then_some(()));
            if ended.count() > 0 {
                for (code, said) in cluster.end() {
                    assert_ne!(code, Some(0), "a process of a broken cluster says {said}");
                }
                return;
            }
        }
        cluster.kill();
    }

    /// Lets the job come to the end of its input.
    fn finish(&mut self) {
        let shape = Shape {
            processes: 3,
            workers: 2,
            // On a busy machine a process may be given up.
            is_supervised: true,
        };
        let cluster = Cluster::start(self.place, self.broker, shape, "last", &["--until-end"]);
        for (code, said) in cluster.end() {
            assert_eq!(code, Some(0), "a process of the last run says {said}");
        }
    }

    fn judge(&self) -> Verdict {
        let inputs = decoded(self.broker.read(EVENTS));
        let rows: Vec<Vec<(u64, Row)>> = decoded(self.broker.read(ROWS));
        let totals: Vec<Vec<(u64, Total)>> = decoded(self.broker.read(TOTALS));
        let (rows, totals) = (values(rows), values(totals).concat());
        let mut verdict = judge(&inputs, &rows, &totals);
        self.broker.judge_slots(&mut verdict);
        if let Some(damage) = self.place.damage() {
            verdict.wrong += 1;
            verdict.words.push(damage);
        }
        verdict
    }
}

fn decoded<T: DeserializeOwned>(contents: Contents) -> Vec<Vec<(u64, T)>> {
    let value = |value| serde_json::from_value(value).expect("the job wrote it");
    let partition = |partition: Vec<(u64, Value)>| {
        let pairs = partition.into_iter();
        pairs.map(|(offset, of)| (offset, value(of))).collect()
    };
    contents.into_iter().map(partition).collect()
}

fn values<T>(partitions: Vec<Vec<(u64, T)>>) -> Vec<Vec<T>> {
    let values = |partition: Vec<(u64, T)>| partition.into_iter().map(|(_, value)| value).collect();
    partitions.into_iter().map(values).collect()
}

/// Sends a signal to a process, which may be gone.
fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .stderr(std::process::Stdio::null())
        .status();
    sent.expect("there is a kill");
}
