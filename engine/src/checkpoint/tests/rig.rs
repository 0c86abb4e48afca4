//! A pipeline as checkpoints see it: steps whose state is known for every epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::checkpoint::{
    CheckpointError, CheckpointOptions, Checkpoints, Epoch, Generation, KeyGroups, Location,
    Manifest, ManifestDraft, OutboxDraft, PartContent, PartKind, PartSpec, Piece, SourcePartition,
    SourceRecord, StepDraft, StepRecord,
};
use crate::key::KeyGroup;
use crate::testing::SimulatedStore;
use crate::time::EventTime;
use crate::watermark::Watermark;

pub(super) const STEPS: [&str; 2] = ["card", "merchant"];
pub(super) const PIPELINE: &str = "fraud";

/// The options that make little things happen often.
pub(super) fn options(location: Location) -> CheckpointOptions {
    CheckpointOptions {
        retain: 3,
        parts_per_base: 4,
        ..CheckpointOptions::new(location)
    }
}

pub(super) fn simulated(store: &SimulatedStore) -> Location {
    Location::store(Arc::new(store.clone()))
}

pub(super) fn open(store: &SimulatedStore) -> Result<Checkpoints, CheckpointError> {
    Checkpoints::open(&options(simulated(store)), PIPELINE)
}

/// Calls once, or until no transient trouble is left.
fn retried<T>(
    is_patient: bool,
    mut call: impl FnMut() -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    if is_patient { patiently(call) } else { call() }
}

/// Calls until no transient trouble is left.
pub(super) fn patiently<T>(
    mut call: impl FnMut() -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    loop {
        match call() {
            Err(error) if error.is_transient() => {}
            result => return result,
        }
    }
}

/// The state of a step after an epoch is, in each group, the bytes of those epochs in which the group
/// has changed: as if every change appended the epoch's number.
fn changes(epoch: Epoch, step: usize, group: KeyGroup) -> bool {
    let group = u64::from(group.0);
    group.is_multiple_of(50) && (epoch.0 + group + step as u64).is_multiple_of(3)
}

/// What a merge makes of the pieces of a group.
fn joined<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
    pieces.into_iter().flatten().copied().collect()
}

/// The states of all steps, by step and group.
pub(super) type States = BTreeMap<(usize, KeyGroup), Vec<u8>>;

/// A job on some workers that has one of its generations.
pub(super) struct Rig {
    pub(super) checkpoints: Checkpoints,
    pub(super) generation: Generation,
    pub(super) workers: usize,
    pub(super) states: States,
}

impl Rig {
    /// A job that goes on from what its generation has restored.
    pub(super) fn new(
        checkpoints: Checkpoints,
        generation: Generation,
        workers: usize,
    ) -> Result<Self, CheckpointError> {
        let states = restored(&checkpoints, &generation, false)?;
        Ok(Self {
            checkpoints,
            generation,
            workers,
            states,
        })
    }

    /// As [`Rig::new`], however long it takes.
    pub(super) fn patient(
        checkpoints: Checkpoints,
        generation: Generation,
        workers: usize,
    ) -> Self {
        let states = restored(&checkpoints, &generation, true);
        Self {
            states: states.expect("what is sealed is whole"),
            checkpoints,
            generation,
            workers,
        }
    }

    /// Takes and seals one epoch, with a merge of what is due, and tidies up.
    pub(super) fn epoch(&mut self) -> Result<Manifest, CheckpointError> {
        let draft = self.draft()?;
        let sealed = patiently(|| self.generation.seal(&draft))?;
        if sealed.epoch.0.is_multiple_of(2) {
            self.generation.published("alerts", sealed.epoch);
        }
        patiently(|| self.generation.tidy())?;
        Ok(sealed)
    }

    /// Writes the parts of the next epoch, however long it takes.
    pub(super) fn draft(&mut self) -> Result<ManifestDraft, CheckpointError> {
        self.draft_with(true)
    }

    /// Writes the parts of the next epoch, unless the store has trouble.
    pub(super) fn try_draft(&mut self) -> Result<ManifestDraft, CheckpointError> {
        self.draft_with(false)
    }

    /// Writes the parts of the next epoch, and merges what is due.
    fn draft_with(&mut self, is_patient: bool) -> Result<ManifestDraft, CheckpointError> {
        let write = |generation: &Generation, spec: &PartSpec, content: &PartContent| {
            let writer = generation.writer();
            retried(is_patient, || writer.write(spec, content))
        };
        let epoch = self.generation.next_epoch();
        let mut steps = Vec::new();
        for (number, id) in STEPS.iter().enumerate() {
            let mut parts = Vec::new();
            for worker in 0..self.workers {
                let own = KeyGroups::of_worker(worker, self.workers);
                let is_first = self.generation.restored().is_none() && epoch == Epoch(1);
                let (kind, content) = self.take(number, epoch, own, is_first);
                if is_first || !content.is_empty() {
                    let spec = spec(epoch, id, worker, kind, own);
                    parts.push(write(&self.generation, &spec, &content)?);
                }
            }
            steps.push(StepDraft {
                id: (*id).to_owned(),
                kind: "counting".to_owned(),
                parts,
                notes: BTreeMap::new(),
            });
        }
        for compaction in self.generation.compactions() {
            let writer = self.generation.writer();
            let mut merge =
                |_, pieces: &[Piece]| Ok(joined(pieces.iter().map(|piece| &*piece.bytes)));
            let base = retried(is_patient, || {
                compaction.run(&self.checkpoints, &writer, 1, 7, &mut merge)
            })?;
            let step = steps.iter_mut().find(|step| step.id == compaction.step);
            step.expect("a known step").parts.push(base);
        }
        let outbox = PartContent::from([(KeyGroup(0), epoch.0.to_le_bytes().to_vec())]);
        let outbox_spec = spec(epoch, "alerts", 0, PartKind::Outbox, KeyGroups::NONE);
        let outbox = write(&self.generation, &outbox_spec, &outbox)?;
        Ok(ManifestDraft {
            epoch,
            sealed_at: EventTime::from_seconds(1_700_000_000),
            workers: self.workers,
            processes: 1,
            sources: vec![source(epoch)],
            steps,
            outboxes: vec![OutboxDraft {
                sink: "alerts".to_owned(),
                parts: vec![outbox],
            }],
            notes: BTreeMap::from([("model".to_owned(), json!("fraud 3"))]),
        })
    }

    /// Changes the state of a step as the epoch does, and gives what is to be written.
    fn take(
        &mut self,
        step: usize,
        epoch: Epoch,
        own: KeyGroups,
        is_base: bool,
    ) -> (PartKind, PartContent) {
        let mut content = PartContent::new();
        for group in own.iter().filter(|group| changes(epoch, step, *group)) {
            let change = vec![u8::try_from(epoch.0 % 256).expect("a byte"); 40];
            self.states
                .entry((step, group))
                .or_default()
                .extend(&change);
            content.insert(group, change);
        }
        let kind = if is_base {
            PartKind::Base
        } else {
            PartKind::Delta
        };
        (kind, content)
    }
}

fn restored(
    checkpoints: &Checkpoints,
    generation: &Generation,
    is_patient: bool,
) -> Result<States, CheckpointError> {
    let restored = generation.restored();
    restored.map_or_else(
        || Ok(States::new()),
        |manifest| load_with(checkpoints, manifest, is_patient),
    )
}

fn source(epoch: Epoch) -> SourceRecord {
    SourceRecord {
        id: "payments".to_owned(),
        kind: "events".to_owned(),
        partitions: vec![SourcePartition {
            name: "payments-0".to_owned(),
            number: 0,
            offset: epoch.0 * 100,
            watermark: Watermark::active(EventTime::from_seconds(i64::try_from(epoch.0).unwrap())),
        }],
        notes: BTreeMap::new(),
    }
}

pub(super) fn spec(
    epoch: Epoch,
    step: &str,
    worker: usize,
    kind: PartKind,
    groups: KeyGroups,
) -> PartSpec {
    PartSpec {
        epoch,
        step: step.to_owned(),
        content: "keys".to_owned(),
        worker,
        process: 0,
        kind,
        groups,
        state_version: 1,
        fingerprint: 7,
    }
}

/// The states that a checkpoint holds.
pub(super) fn load(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
) -> Result<States, CheckpointError> {
    load_with(checkpoints, manifest, false)
}

fn load_with(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
    is_patient: bool,
) -> Result<States, CheckpointError> {
    let mut states = States::new();
    for (number, step) in STEPS.iter().enumerate() {
        for worker in 0..3 {
            let own = KeyGroups::of_worker(worker, 3);
            let mut pieces = retried(is_patient, || checkpoints.load(manifest, step, own))?;
            for (group, pieces) in pieces.take("keys") {
                let bytes = joined(pieces.iter().map(|piece| &*piece.bytes));
                states.insert((number, group), bytes);
            }
            assert!(pieces.is_empty());
        }
    }
    for part in manifest.outboxes.iter().flat_map(|outbox| &outbox.parts) {
        let content = retried(is_patient, || checkpoints.read_part(part, KeyGroups::ALL))?;
        let expected = part.epoch.0.to_le_bytes().to_vec();
        assert_eq!(content, PartContent::from([(KeyGroup(0), expected)]));
    }
    assert_eq!(manifest.source("payments"), Some(&source(manifest.epoch)));
    Ok(states)
}

/// The states that epochs 1 to this one leave.
pub(super) fn expected(epoch: Epoch) -> States {
    let mut states = States::new();
    for epoch in (1..=epoch.0).map(Epoch) {
        for step in 0..STEPS.len() {
            for group in KeyGroups::ALL
                .iter()
                .filter(|group| changes(epoch, step, *group))
            {
                let bytes: &mut Vec<u8> = states.entry((step, group)).or_default();
                bytes.extend([u8::try_from(epoch.0 % 256).unwrap(); 40]);
            }
        }
    }
    states
}

/// Checks that the newest checkpoint is whole and holds what it should, and gives its epoch.
pub(super) fn check_newest(checkpoints: &Checkpoints) -> Epoch {
    let newest = patiently(|| checkpoints.newest()).expect("the log is in order");
    let epoch = newest.as_ref().map_or(Epoch(0), |newest| newest.epoch);
    if let Some(newest) = &newest {
        let states = patiently(|| load(checkpoints, newest)).expect("its parts are in order");
        assert_eq!(states, expected(epoch));
    }
    let verified = patiently(|| checkpoints.verify()).expect("the store is there");
    assert_eq!(verified.problems, Vec::<String>::new());
    epoch
}

/// Names that nothing kept names any more.
pub(super) fn leftovers(store: &SimulatedStore, checkpoints: &Checkpoints) -> Vec<String> {
    let kept = checkpoints.list().expect("a list");
    let named: Vec<_> = kept
        .iter()
        .flat_map(Manifest::parts)
        .map(|part| &part.file)
        .collect();
    let names = store.objects().into_keys();
    names
        .filter(|name| name.starts_with("parts/") && !named.contains(&name))
        .collect()
}

/// The step's record in a manifest.
pub(super) fn step<'m>(manifest: &'m Manifest, id: &str) -> &'m StepRecord {
    manifest.step(id).expect("a known step")
}
