//! A real Pulsar, which can be killed, behind a network that can fail.

use serde_json::Value;
use thalweg::connectors::pulsar::{
    EPOCH_HEADER, Message, Pulsar, PulsarSink, PulsarSource, SLOT_HEADER,
};
use thalweg::engine::sink::Sink;

use crate::broker::{Broker, Contents, PARTITIONS, contents};
use crate::ledger::{Verdict, judge_places};
use crate::proxy::Proxy;
use crate::records::{EVENTS, Event, ROWS, TOTALS};
use crate::running;

pub(crate) struct PulsarBroker {
    broker: running::Broker,
    /// What the job comes through.
    network: Proxy,
}

impl PulsarBroker {
    /// Starts one, unless it is not to be had.
    pub(crate) fn start() -> Option<Self> {
        let broker = running::own("pulsar")?;
        for topic in [EVENTS, ROWS, TOTALS] {
            broker.create_topic(topic, PARTITIONS);
        }
        let address = |name| {
            let url = broker.address(name);
            let address = url.strip_prefix("pulsar://").expect("it is a plain URL");
            address.parse().expect("it is an address")
        };
        let network = Proxy::start_at(
            address("THALWEG_TEST_PULSAR_FRONT"),
            address("THALWEG_TEST_PULSAR_BACK"),
        );
        Some(Self { broker, network })
    }

    /// Not through the network.
    fn pulsar(&self) -> Pulsar {
        Pulsar::at(self.broker.address("THALWEG_TEST_PULSAR"))
    }
}

impl Broker for PulsarBroker {
    fn arguments(&self) -> Vec<String> {
        let words = ["--source", "pulsar", "--sink", "pulsar", "--pulsar"];
        let mut words = words.map(str::to_owned).to_vec();
        words.push(format!("pulsar://{}", self.network.address));
        words.extend(["--delivery", "exactly_once"].map(str::to_owned));
        words
    }

    fn input(&self) -> Box<dyn Sink<Event>> {
        let key = |event: &Event| Some(event.key.to_string());
        Box::new(PulsarSink::json(&self.pulsar(), EVENTS).key(key))
    }

    fn read(&self, topic: &str) -> Contents {
        contents(&PulsarSource::<Value>::json(&self.pulsar(), topic).until_end())
    }

    fn judge_slots(&self, verdict: &mut Verdict) {
        for topic in [ROWS, TOTALS] {
            let source = PulsarSource::<Value>::json(&self.pulsar(), topic).until_end();
            for (partition, messages) in contents(&source.with_metadata()).iter().enumerate() {
                let name = format!("{topic}/{partition}");
                let places: Vec<_> = messages.iter().map(|(_, message)| place(message)).collect();
                judge_places(verdict, &name, &places);
                let slot = |(_, message): &(u64, Message<Value>)| {
                    message.property(SLOT_HEADER).map(str::to_owned)
                };
                let first = messages.first().and_then(slot);
                let others = messages.iter().filter(|message| slot(message) != first);
                verdict.wrong(others.count(), || format!("{name}: of other slots"));
            }
        }
    }

    fn restart(&self) -> bool {
        self.broker.kill();
        self.broker.start_again();
        true
    }

    fn last_words(&self) -> String {
        self.broker.last_words()
    }

    fn network(&self) -> Option<&Proxy> {
        Some(&self.network)
    }
}

/// The epoch of a record, and its number among those of its partition.
fn place(message: &Message<Value>) -> (u64, u64) {
    let place = message.property(EPOCH_HEADER).expect("each has a place");
    let (epoch, number) = place.split_once('-').expect("it has two numbers");
    let number_of = |text: &str| text.parse().expect("it is a number");
    (number_of(epoch), number_of(number))
}
