//! What must hold of what was published, worked out from the input alone.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_engine::testing::SimulatedStore;

use crate::broker::{Broker, Entry};
use crate::input::Input;
use crate::output::is_refused;
use crate::pipeline::{EXCLUSIVE, LATE, LETTERS, PICKY, TRANSACTIONAL};
use crate::row::{Event, Row};

/// The ids that are in time, with their keys, those that are late, and what is published in order.
pub(crate) struct Expected {
    keys: BTreeMap<u64, u64>,
    late: BTreeSet<u64>,
    /// None where the order is not a function of the events.
    rows: Option<Vec<Row>>,
}

impl Expected {
    pub(crate) fn of(inputs: &[Input], is_ordered: bool) -> Self {
        let mut late = BTreeSet::new();
        let mut in_time = Vec::new();
        for input in inputs {
            for (event, is_late) in (0..input.partitions()).flat_map(|at| input.judged(at)) {
                if is_late {
                    late.insert(event.id);
                } else {
                    in_time.push(event);
                }
            }
        }
        Self {
            keys: in_time.iter().map(|event| (event.id, event.key)).collect(),
            late,
            rows: is_ordered.then(|| in_event_time_order(in_time)),
        }
    }

    /// Whether there is as much in all topics as there should be in the end.
    pub(crate) fn is_there(&self, broker: &Broker) -> bool {
        let topics = [
            (TRANSACTIONAL, self.keys.len()),
            (EXCLUSIVE, self.keys.len()),
            (LATE, self.late.len()),
            (PICKY, self.ids(false).len()),
            (LETTERS, self.ids(true).len()),
        ];
        topics.into_iter().all(|(topic, rows)| {
            let entries = broker.published(topic).into_iter();
            let published = entries.filter(|entry| matches!(entry, Entry::Row { .. }));
            published.count() >= rows
        })
    }

    /// Checks everything.
    pub(crate) fn check(&self, broker: &Broker, store: &SimulatedStore) -> Result<(), String> {
        for topic in [TRANSACTIONAL, EXCLUSIVE] {
            let rows = in_order(topic, &broker.published(topic))?;
            self.check_rows(topic, &rows)?;
            self.check_order(topic, &rows)?;
        }
        check_ids(broker, LATE, &self.late)?;
        check_ids(broker, PICKY, &self.ids(false))?;
        check_ids(broker, LETTERS, &self.ids(true))?;
        check_log(store)
    }

    /// The ids in time that the picky sink leaves out, or those that it does not.
    fn ids(&self, left_out: bool) -> BTreeSet<u64> {
        let ids = self.keys.keys().copied();
        ids.filter(|id| is_refused(*id) == left_out).collect()
    }

    /// Each id once, and of each key the counts from 1 on and the sums that belong to them.
    fn check_rows(&self, topic: &str, rows: &[Row]) -> Result<(), String> {
        let wrong = |what: String| Err(format!("topic {topic}: {what}"));
        let mut ids = BTreeSet::new();
        let mut by_key = BTreeMap::<u64, Vec<Row>>::new();
        for row in rows {
            if !ids.insert(row.id) {
                return wrong(format!("event {} is there twice", row.id));
            }
            match self.keys.get(&row.id) {
                Some(key) if *key == row.key => {}
                Some(_) => return wrong(format!("event {} has another key", row.id)),
                None => return wrong(format!("event {} is late, and there", row.id)),
            }
            by_key.entry(row.key).or_default().push(*row);
        }
        if let Some(missing) = self.keys.keys().find(|id| !ids.contains(id)) {
            return wrong(format!("event {missing} is lost"));
        }
        for rows in by_key.values_mut() {
            rows.sort_by_key(|row| row.count);
            let mut sum = 0;
            for (count, row) in (1..).zip(rows) {
                sum += row.id;
                if (row.count, row.sum) != (count, sum) {
                    return wrong(format!("{row:?} instead of count {count} and sum {sum}"));
                }
            }
        }
        Ok(())
    }

    /// Each row in its place.
    fn check_order(&self, topic: &str, rows: &[Row]) -> Result<(), String> {
        let Some(expected) = &self.rows else {
            return Ok(());
        };
        match rows
            .iter()
            .zip(expected)
            .find(|(row, expected)| row != expected)
        {
            Some((row, expected)) => Err(format!(
                "topic {topic}: {row:?} stands where {expected:?} should"
            )),
            None => Ok(()),
        }
    }
}

/// What is made of events, one after the other by time and place.
fn in_event_time_order(mut events: Vec<Event>) -> Vec<Row> {
    events.sort_unstable_by_key(|event| (event.second, event.id));
    let mut totals = BTreeMap::<u64, (u64, u64)>::new();
    let row = |event: Event| {
        let (count, sum) = totals.entry(event.key).or_default();
        *count += 1;
        *sum += event.id;
        Row {
            id: event.id,
            key: event.key,
            count: *count,
            sum: *sum,
        }
    };
    events.into_iter().map(row).collect()
}

/// Each of these ids once.
fn check_ids(broker: &Broker, topic: &str, expected: &BTreeSet<u64>) -> Result<(), String> {
    let rows = in_order(topic, &broker.published(topic))?;
    let found: BTreeSet<u64> = rows.iter().map(|row| row.id).collect();
    if found.len() < rows.len() {
        return Err(format!("topic {topic}: an event is there twice"));
    }
    if found != *expected {
        return Err(format!("topic {topic}: {found:?} instead of {expected:?}"));
    }
    Ok(())
}

/// The rows of a topic: epochs must come in order, the rows of each from the first on, and as many as its
/// note says.
fn in_order(topic: &str, entries: &[Entry]) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let (mut open, mut next) = (0, 0);
    for entry in entries {
        let is_right = match *entry {
            Entry::Row { epoch, index, row } => {
                rows.push(row);
                let is_next = (epoch, index) == (open, next);
                let is_first = epoch > open && index == 0;
                (open, next) = (epoch, index + 1);
                is_next || is_first
            }
            // An epoch of which everything is left out has nothing but its note.
            Entry::Note { epoch, rows: 0, .. } => {
                let is_next = epoch > open;
                (open, next) = (epoch, 0);
                is_next
            }
            Entry::Note { epoch, rows, .. } => epoch == open && rows == next,
        };
        if !is_right {
            return Err(format!("topic {topic}: {entry:?} is out of place"));
        }
    }
    Ok(rows)
}

/// Every generation that has sealed an epoch has begun with a fence, and none has sealed one after the
/// next one's fence.
fn check_log(store: &SimulatedStore) -> Result<(), String> {
    let mut fenced = 0;
    for (name, content) in store.objects() {
        if !name.starts_with("log/") {
            continue;
        }
        let text = String::from_utf8_lossy(&content);
        let body = text.split_once('\n').map_or("", |(_, body)| body);
        let entry: serde_json::Value =
            serde_json::from_str(body).map_err(|error| format!("{name}: {error}"))?;
        let generation = entry["generation"]["number"].as_u64().unwrap_or_default();
        if entry["kind"] == "fence" {
            fenced = generation;
        } else if generation != fenced {
            return Err(format!(
                "{name}: generation {generation} has sealed an epoch behind fence {fenced}"
            ));
        }
    }
    Ok(())
}
