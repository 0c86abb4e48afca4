//! What the join of facts with the latest value of their key keeps, and what it tells.
//!
//! Differential pairs small things: the number of a fact with the number of a value. Here stand the
//! facts and values themselves, by key, as a step's state that can move; which updates differential
//! gets, what has expired, and what change updates of pairs amount to. Nothing here remembers a
//! pair once both of its sides have expired.
//!
//! A tick is taken in as a whole once it is complete, and the next one waits until differential has
//! answered. So between two ticks the state is that of the last one told, and whatever came later
//! waits as records: a restart fills differential again from the state, tells none of those pairs,
//! and takes in what waited.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::iter::zip;
use std::sync::Arc;
use std::time::Duration;

use super::Tick;
use super::keyed::Seat;
use super::latest_index::{Expiring, Place, Places};
use super::latest_state::{Number, Numbered, Related, Waiting};
use super::stateful::{Identity, TakeState, TakenState};
use crate::checkpoint::KeyGroups;
use crate::job::JobContext;
use crate::key::{Key, key_hash};
use crate::ledger::{Fate, Pen};
use crate::look_ahead::{Ahead, BLOCKS_UNDER_WAY, Stage, stages};
use crate::record::{Data, Origin, Packet, Record};
use crate::relation::{Change, Fact};
use crate::state::{KeyedState, StateError, TakeHow};
use crate::step_state::StepState;
use crate::telemetry::StepMetrics;
use crate::time::EventTime;
use crate::watermark::{Watermark, WatermarkMerge};
use differential_dataflow::consolidation::consolidate;

/// The tick at which differential is filled again after a restart; what is read comes later.
pub(super) const RESTORED: Tick = 0;
/// The first tick at which records are taken in.
pub(super) const FIRST: Tick = RESTORED + 1;

/// A fact or a value of a key that comes or goes.
pub(super) type Update = ((Place, Number), isize);
/// A fact and a value of a key that are there together.
pub(super) type Pair = (Place, Number, Number);

/// The join on one worker.
pub(super) struct LatestJoin<K: Key, L: Data, R: Data> {
    seat: Seat,
    job: Arc<JobContext>,
    metrics: Arc<StepMetrics>,
    horizon: Duration,
    horizon_us: u64,
    state: KeyedState<K, Related<L, R>>,
    places: Places<K>,
    expiring_facts: Expiring,
    expiring_values: Expiring,
    next_number: Number,
    /// The values that the open tick has replaced, by number.
    replaced: HashMap<Number, Record<R>>,
    waiting: BTreeMap<Tick, Waiting<K, L, R>>,
    watermarks: WatermarkMerge,
    /// The latest tick that each input has come with: see [`LatestJoin::wait_watermark`].
    latest_ticks: Vec<Tick>,
    /// What differential is to be told next: of facts, and of values.
    pub(super) updates: (Vec<Update>, Vec<Update>),
    /// Of the tick that was taken in last and is still to be told.
    open: Option<Taken>,
    pen: Pen,
}

/// What is counted of a tick.
#[derive(Default)]
struct Taken {
    records: usize,
    oldest_ns: Option<u64>,
}

impl<K: Key, L: Data + Fact, R: Data + Fact> LatestJoin<K, L, R> {
    /// Goes on from what the job has restored for the step, or begins anew.
    pub(super) fn new(
        seat: Seat,
        job: &Arc<JobContext>,
        metrics: Arc<StepMetrics>,
        horizon: Duration,
    ) -> Self {
        let restored = job.restored.take(&metrics.id, seat.groups());
        let mut join = Self {
            seat,
            job: Arc::clone(job),
            metrics,
            horizon,
            horizon_us: u64::try_from(horizon.as_micros()).unwrap_or(u64::MAX),
            state: KeyedState::default(),
            places: Places::default(),
            expiring_facts: Expiring::new(horizon, horizon),
            // As long as the last fact that it can meet: what revises it until then must find it.
            expiring_values: Expiring::new(horizon, horizon.saturating_mul(2)),
            next_number: 0,
            replaced: HashMap::new(),
            waiting: BTreeMap::new(),
            watermarks: WatermarkMerge::new(seat.inputs),
            latest_ticks: vec![FIRST; seat.inputs],
            updates: (Vec::new(), Vec::new()),
            open: None,
            pen: job.telemetry.ledger().pen(),
        };
        if let Some(state) = restored
            && let Err(error) = join.restore(state)
        {
            job.fail(error.to_string());
        }
        join
    }

    /// Takes in the key groups that this worker owns now; leaves in the updates what differential
    /// is to be filled with at [`RESTORED`].
    fn restore(&mut self, mut saved: StepState) -> Result<(), StateError> {
        let id = &self.metrics.id;
        for bytes in std::mem::take(&mut saved.keys).into_values() {
            self.state.restore(id, &bytes)?;
        }
        let mut waiting = Waiting::default();
        for bytes in std::mem::take(&mut saved.waiting).into_values() {
            waiting.decode(id, &bytes)?;
        }
        // They have been read before, and count in this job from here on.
        waiting.origins().for_each(|origin| self.pen.read(origin));
        self.waiting.insert(FIRST, waiting);
        self.watermarks = self.seat.resume(&saved);
        let states = self.state.iter();
        let other = states
            .map(|(_, related)| related.horizon_us)
            .find(|horizon_us| *horizon_us != self.horizon_us);
        if let Some(other) = other {
            let (other, horizon) = (Duration::from_micros(other), self.horizon);
            let step = id.clone();
            let reason = format!(
                "its horizon was {other:?}, not {horizon:?}: restore with the horizon it was \
                 saved under, or give the step another id to start anew"
            );
            return Err(StateError::Refused { step, reason });
        }
        self.index();
        Ok(())
    }

    /// Numbers all that was restored and makes the indexes.
    fn index(&mut self) {
        let (facts, values) = &mut self.updates;
        self.state.retain(|key, related| {
            let place = self.places.add(key_hash(key), key);
            related.place = Some(place);
            for fact in &mut related.facts {
                fact.number = self.next_number;
                self.next_number += 1;
                self.expiring_facts.push(fact.record.time, place);
                facts.push(((place, fact.number), 1));
            }
            if let Some(value) = &mut related.latest {
                value.number = self.next_number;
                self.next_number += 1;
                self.expiring_values.push(value.record.time, place);
                values.push(((place, value.number), 1));
            }
            true
        });
    }

    /// Who the step is for those that save its state.
    pub(super) fn identity(&self) -> Identity {
        let (id, kind) = (&self.metrics.id, "join_latest");
        self.seat.identity::<K, Related<L, R>>(id, kind)
    }

    /// Keeps facts until their tick is complete.
    pub(super) fn wait_facts(&mut self, tick: Tick, packet: Packet<(K, L)>) {
        self.wait_watermark(tick, packet.from, packet.watermark);
        let waiting = self.waiting.entry(tick).or_default();
        waiting.facts.push(packet.records);
    }

    /// Keeps values until their tick is complete.
    pub(super) fn wait_values(&mut self, tick: Tick, packet: Packet<(K, R)>) {
        // The second half of the inputs.
        let input = self.seat.inputs / 2 + packet.from;
        self.wait_watermark(tick, input, packet.watermark);
        let waiting = self.waiting.entry(tick).or_default();
        waiting.values.push(packet.records);
    }

    /// Keeps a watermark until all that its input sent before it is taken in. That may be in a later
    /// tick than its own: a step in event-time order sends its packets in the tick of whatever has
    /// moved its watermark, and ticks do not reach it in order.
    fn wait_watermark(&mut self, tick: Tick, input: usize, watermark: Watermark) {
        let latest = &mut self.latest_ticks[input];
        *latest = tick.max(*latest);
        let waiting = self.waiting.entry(*latest).or_default();
        waiting.watermarks.push((input, watermark));
    }

    /// Whether a tick has been taken in and not been told yet.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether anything waits for its tick to be complete.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes in a tick, which is complete, and gives the watermark at its end.
    pub(super) fn take_in(&mut self, tick: Tick) -> Watermark {
        let waiting = self.waiting.remove(&tick).unwrap_or_default();
        let mut taken = Taken::default();
        let mut count = |records: usize, first: Option<u64>| {
            taken.records += records;
            taken.oldest_ns = taken.oldest_ns.or(first);
        };
        for facts in waiting.facts {
            count(facts.len(), facts.first().map(|record| record.ingested_ns));
            self.insert_all(facts, Self::insert_fact);
        }
        for values in waiting.values {
            count(
                values.len(),
                values.first().map(|record| record.ingested_ns),
            );
            self.insert_all(values, Self::insert_value);
        }
        for (input, watermark) in waiting.watermarks {
            self.watermarks.update(input, watermark);
        }
        self.open = Some(taken);
        self.watermarks.current()
    }

    /// Inserts records of one side, with a look ahead at the states of their keys.
    fn insert_all<T>(
        &mut self,
        records: Vec<Record<(K, T)>>,
        insert: impl Fn(&mut Self, u64, K, Record<T>),
    ) {
        let all = records.len();
        let mut records = records.into_iter();
        let mut ahead = [Ahead::default(); BLOCKS_UNDER_WAY];
        for (block, range, stage) in stages(all) {
            let looked_up = &mut ahead[block % BLOCKS_UNDER_WAY];
            match stage {
                Stage::LookUp => {
                    let before = range.start - (all - records.len());
                    let next = &records.as_slice()[before..before + range.len()];
                    let keys = next.iter().map(|record| &record.value.0);
                    *looked_up = self.state.look_ahead(keys);
                }
                Stage::Touch(_) => {}
                Stage::Process => {
                    for (record, hash) in
                        zip(records.by_ref().take(range.len()), looked_up.hashes())
                    {
                        self.pen.mark(record.origin, Fate::Processed);
                        let blank = record.with(());
                        let (key, value) = record.value;
                        insert(self, hash, key, blank.with(value));
                    }
                }
            }
        }
    }

    fn insert_fact(&mut self, hash: u64, key: K, record: Record<L>) {
        let related = self.state.entry_hashed(hash, &key);
        related.horizon_us = self.horizon_us;
        let place = *related
            .place
            .get_or_insert_with(|| self.places.add(hash, &key));
        let number = self.next_number;
        self.next_number += 1;
        let fact = Numbered { number, record };
        self.expiring_facts.push(fact.record.time, place);
        self.updates.0.push(((place, fact.number), 1));
        related.facts.push(fact);
    }

    fn insert_value(&mut self, hash: u64, key: K, record: Record<R>) {
        let related = self.state.entry_hashed(hash, &key);
        related.horizon_us = self.horizon_us;
        let known = related.latest.as_ref().map(|latest| &latest.record);
        if known.is_some_and(|known| (known.time, known.origin) >= (record.time, record.origin)) {
            return;
        }
        let place = *related
            .place
            .get_or_insert_with(|| self.places.add(hash, &key));
        let number = self.next_number;
        self.next_number += 1;
        let value = Numbered { number, record };
        self.expiring_values.push(value.record.time, place);
        self.updates.1.push(((place, value.number), 1));
        if let Some(former) = related.latest.replace(value) {
            self.updates.1.push(((place, former.number), -1));
            self.replaced.insert(former.number, former.record);
        }
    }

    /// Tells what the updates of pairs amount to that came of the open tick, in event-time order,
    /// and lets what `watermark` has left a horizon behind go with the next tick.
    pub(super) fn close(
        &mut self,
        mut updates: Vec<(Pair, isize)>,
        watermark: Watermark,
    ) -> Vec<Record<Change<K, L, R>>> {
        consolidate(&mut updates);
        let changes = self.changes(&updates);
        self.replaced.clear();
        // The end of input passes nothing: there is no later tick to do it in.
        if !watermark.is_end() {
            self.expire(watermark.time);
        }
        if let Some(taken) = self.open.take() {
            let now_ns = self.job.options.clock.now_ns();
            let latency_ns = taken.oldest_ns.map(|ns| now_ns.saturating_sub(ns));
            self.metrics
                .packet(taken.records, changes.len(), latency_ns);
        }
        changes
    }

    /// Opens the tick at which differential is filled again. It tells of no watermark: what waits
    /// comes before the one that was restored.
    pub(super) fn open_restored(&mut self) -> Watermark {
        self.open = Some(Taken::default());
        Watermark::START
    }

    fn changes(&self, updates: &[(Pair, isize)]) -> Vec<Record<Change<K, L, R>>> {
        let mut found = Vec::new();
        for group in updates.chunk_by(|((a, b, _), _), ((c, d, _), _)| (a, b) == (c, d)) {
            let Some(((place, fact, new), _)) = group.iter().find(|(_, diff)| *diff > 0) else {
                // The fact or the value has expired.
                continue;
            };
            let removed = group.iter().find(|(_, diff)| *diff < 0);
            let key = self.places.key(*place);
            let met = self.state.get(key).and_then(|related| {
                let latest = related.latest.as_ref()?;
                let index = related.facts.binary_search_by_key(fact, |fact| fact.number);
                (latest.number == *new).then_some((&related.facts[index.ok()?], latest))
            });
            let (fact, new) = met.expect("invariant: what meets in a tick is there at its end");
            let (fact, new) = (&fact.record, &new.record);
            // One that has expired, and not been replaced, was near to no fact that is left.
            let old = removed.and_then(|((_, _, old), _)| self.replaced.get(old));
            let old = old.filter(|old| self.is_near(fact, old));
            if self.is_near(fact, new) && old.is_none_or(|old| old.value != new.value) {
                found.push(Met {
                    key,
                    fact,
                    old: old.map(|old| &old.value),
                    new: &new.value,
                });
            }
        }
        found.sort_unstable_by(|a, b| a.place().cmp(&b.place()).then_with(|| a.ties(b)));
        found.into_iter().map(Met::change).collect()
    }

    fn is_near(&self, fact: &Record<L>, value: &Record<R>) -> bool {
        let (fact, value) = (fact.time, value.time);
        fact.since(value).max(value.since(fact)) <= self.horizon
    }

    /// Drops what the watermark has left a horizon behind.
    fn expire(&mut self, watermark: EventTime) {
        let (facts, values) = &mut self.updates;
        let mut passed = self.expiring_facts.take_passed(watermark);
        passed.extend(self.expiring_values.take_passed(watermark));
        passed.sort_unstable();
        passed.dedup();
        for place in passed {
            let Some((hash, key)) = self.places.get(place) else {
                continue;
            };
            let related = self.state.entry_hashed(hash, key);
            let expiring = &self.expiring_facts;
            related.facts.retain(|fact| {
                let stays = !expiring.has_passed(fact.record.time, watermark);
                if !stays {
                    facts.push(((place, fact.number), -1));
                }
                stays
            });
            let expiring = &self.expiring_values;
            let gone = related
                .latest
                .take_if(|value| expiring.has_passed(value.record.time, watermark));
            values.extend(gone.map(|value| ((place, value.number), -1)));
            if related.facts.is_empty()
                && related.latest.is_none()
                && let Some(key) = self.places.remove(place)
            {
                self.state.remove(&key);
            }
        }
    }
}

impl<K: Key, L: Data + Fact, R: Data + Fact> TakeState for LatestJoin<K, L, R> {
    /// As of the end of what waits before the tick `end`; to be asked when no tick is
    /// [open](Self::is_open).
    fn begin_taking(&mut self, end: Tick, how: TakeHow) -> Result<StepState, postcard::Error> {
        assert!(
            !self.is_open(),
            "invariant: what was taken in has been told"
        );
        let mut watermarks = self.watermarks.clone();
        let mut groups = BTreeMap::new();
        for (_, waiting) in self.waiting.range(..end) {
            waiting.encode(&mut groups)?;
            for &(input, watermark) in &waiting.watermarks {
                watermarks.update(input, watermark);
            }
        }
        let bases = match self.state.begin_taking(how) {
            true => self.seat.groups(),
            false => KeyGroups::NONE,
        };
        Ok(StepState {
            keys: BTreeMap::new(),
            bases,
            waiting: groups,
            watermarks: vec![watermarks],
        })
    }

    fn take_some(&mut self, most: usize) -> Result<Option<TakenState>, postcard::Error> {
        let keys = self.state.take_some(most)?;
        Ok(keys.map(|keys| TakenState {
            keys,
            waiting: BTreeMap::new(),
        }))
    }
}

/// A fact and the value that it meets, and the one that it has met before.
struct Met<'a, K, L, R> {
    key: &'a K,
    fact: &'a Record<L>,
    old: Option<&'a R>,
    new: &'a R,
}

impl<K: Key, L: Data + Fact, R: Data + Fact> Met<'_, K, L, R> {
    fn place(&self) -> (EventTime, Origin) {
        (self.fact.time, self.fact.origin)
    }

    /// The order of facts that one record has become.
    fn ties(&self, other: &Self) -> Ordering {
        (self.key, &self.fact.value).cmp(&(other.key, &other.fact.value))
    }

    fn change(self) -> Record<Change<K, L, R>> {
        let (key, left) = (self.key.clone(), self.fact.value.clone());
        let (old, new) = (self.old.cloned(), self.new.clone());
        self.fact.with(match old {
            Some(old) => Change::Revised {
                key,
                left,
                old,
                new,
            },
            None => Change::Added {
                key,
                left,
                right: new,
            },
        })
    }
}

impl<K: Key, L: Data, R: Data> Drop for LatestJoin<K, L, R> {
    /// What still waits for its tick when the graph comes down is held.
    fn drop(&mut self) {
        for origin in self.waiting.values().flat_map(Waiting::origins) {
            self.pen.mark(origin, Fate::Held);
        }
    }
}

#[cfg(test)]
#[path = "latest_join_tests.rs"]
mod tests;
