//! Whatever is written, however it is split, is read from any offset on, while more is written.

use proptest::prelude::*;
use tempfile::tempdir;
use thalweg_engine::record::Record;
use thalweg_engine::sink::{Refused, Sink};
use thalweg_engine::source::{Reader, Source};
use thalweg_engine::time::EventTime;

use super::testing::drain;
use super::{Fsync, LogSink, LogSource, Message, partition_of_key};
use crate::codec::Encode;

/// What is written: event time in microseconds, key, headers, payload.
type Item = (i64, Vec<u8>, Vec<(String, Vec<u8>)>, Vec<u8>);

#[derive(Clone, Copy)]
struct Payload;

impl Encode<Item> for Payload {
    fn encode(&mut self, item: &Item, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&item.3);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Item>),
    Flush,
    Reopen,
    /// All readers read what there is.
    Read(usize),
    /// A reader begins at this share of what there is.
    Begin(prop::sample::Index),
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let headers = prop::collection::vec(("[a-z]{1,3}", bytes(4)), 0..3);
    let payload = prop_oneof![4 => bytes(40), 1 => bytes(2_000)];
    let item = (any::<i64>(), bytes(3), headers, payload);
    let step = prop_oneof![
        4 => prop::collection::vec(item, 0..12).prop_map(Step::Write),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        2 => (1_usize..9).prop_map(Step::Read),
        1 => any::<prop::sample::Index>().prop_map(Step::Begin),
    ];
    prop::collection::vec(step, 1..40)
}

const PARTITIONS: u32 = 2;

fn item(message: &Message<'_>) -> Item {
    let headers = message.headers.into_iter();
    (
        message.time.as_micros(),
        message.key.unwrap_or_default().to_vec(),
        headers.map(|(n, v)| (n.to_owned(), v.to_vec())).collect(),
        message.payload.to_vec(),
    )
}

struct Follower {
    reader: Box<dyn Reader<Item>>,
    partition: u32,
    offset: u64,
}

impl Follower {
    fn begin(source: &LogSource<Item>, partition: u32, offset: u64) -> Self {
        let reader = source.open(partition, offset).unwrap();
        Self {
            reader,
            partition,
            offset,
        }
    }

    /// Reads on, and compares with what is `visible` in its partition.
    fn check(&mut self, visible: &[Vec<Item>], limit: usize) {
        let expected = &visible[self.partition as usize][self.offset as usize..];
        for (got, expected) in drain(&mut *self.reader, limit)
            .unwrap()
            .iter()
            .zip(expected)
        {
            assert_eq!(got.0, self.offset);
            assert_eq!(&got.1, expected);
            self.offset += 1;
        }
        let there = visible[self.partition as usize].len() as u64;
        assert_eq!(self.offset, there, "partition {}", self.partition);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_written_is_read(steps in steps(), segment_bytes in 50_u64..4_000) {
        let folder = tempdir().unwrap();
        let sink = LogSink::encoded(folder.path(), "items", || Payload)
            .partitions(PARTITIONS)
            .key(|item: &Item| item.1.clone())
            .headers(|record| record.value.2.clone())
            .fsync(Fsync::Never)
            .segment_bytes(segment_bytes);
        let source = LogSource::messages(folder.path(), "items", |m| Ok(item(m)));
        let mut writer = sink.open().unwrap();
        let mut followers: Vec<_> = (0..PARTITIONS).map(|p| Follower::begin(&source, p, 0)).collect();
        let mut written = vec![Vec::new(); PARTITIONS as usize];
        for step in steps {
            match step {
                Step::Write(items) => {
                    for item in &items {
                        written[partition_of_key(&item.1, PARTITIONS) as usize].push(item.clone());
                    }
                    let records: Vec<_> = items
                        .into_iter()
                        .map(|value| Record { time: EventTime::from_micros(value.0), ..super::testing::record(value) })
                        .collect();
                    writer.write(&records, &mut Refused::default()).unwrap();
                }
                Step::Flush => writer.flush().unwrap(),
                Step::Reopen => {
                    drop(writer);
                    writer = sink.open().unwrap();
                }
                Step::Read(limit) => {
                    writer.flush().unwrap();
                    followers.iter_mut().for_each(|follower| follower.check(&written, limit));
                }
                Step::Begin(index) => {
                    writer.flush().unwrap();
                    let partition = followers.len() as u32 % PARTITIONS;
                    let offset = index.index(written[partition as usize].len() + 1);
                    followers.push(Follower::begin(&source, partition, offset as u64));
                }
            }
        }
        drop(writer);
        let until_end = LogSource::messages(folder.path(), "items", |m| Ok(item(m))).until_end();
        followers.extend((0..PARTITIONS).map(|p| Follower::begin(&until_end, p, 0)));
        followers.iter_mut().for_each(|follower| follower.check(&written, 5));
    }
}
