//! A pipeline's life without accidents.

use super::rig::{
    PIPELINE, Rig, check_newest, expected, leftovers, load, open, options, simulated, spec, step,
};
use crate::checkpoint::{
    CheckpointError, Checkpoints, Epoch, KeyGroups, Location, ManifestDraft, PartContent, PartKind,
    StartFrom,
};
use crate::key::KeyGroup;
use crate::testing::SimulatedStore;

/// A job that has sealed so many epochs.
fn rig(store: &SimulatedStore, workers: usize, epochs: u64) -> Rig {
    let checkpoints = open(store).expect("opened");
    let generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
    let mut rig = Rig::new(checkpoints, generation, workers).expect("restored");
    for _ in 0..epochs {
        rig.epoch().expect("sealed");
    }
    rig
}

#[test]
fn every_restart_finds_what_was_sealed_on_any_number_of_workers() {
    let store = SimulatedStore::new(1);
    let mut sealed = 0;
    for (workers, epochs) in [(2, 5), (3, 1), (1, 20), (4, 0), (2, 30)] {
        let rig = rig(&store, workers, epochs);
        sealed += epochs;
        assert_eq!(check_newest(&rig.checkpoints), Epoch(sealed));
        assert_eq!(rig.states, expected(Epoch(sealed)));
    }
}

#[test]
fn a_worker_reads_little_more_than_its_own_groups() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let location = Location::folder(folder.path());
    let checkpoints = Checkpoints::open(&options(location), PIPELINE).expect("opened");
    let generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
    let big = |group: KeyGroup| (0..20_000u32).map(|i| (i * i) as u8 ^ group.0).collect();
    let content: PartContent = KeyGroups::ALL
        .iter()
        .map(|group| (group, big(group)))
        .collect();
    let spec = spec(Epoch(1), "card", 0, PartKind::Base, KeyGroups::ALL);
    let part = generation.writer().write(&spec, &content).expect("written");
    for group in [KeyGroup(0), KeyGroup(77), KeyGroup(255)] {
        let wanted = [group].into_iter().collect();
        let read = checkpoints.read_part(&part, wanted).expect("read");
        assert_eq!(read, PartContent::from([(group, content[&group].clone())]));
    }
}

#[test]
fn changes_are_merged_and_what_is_old_goes() {
    let store = SimulatedStore::new(1);
    let rig = rig(&store, 2, 40);
    let newest = rig.checkpoints.newest().expect("read").expect("sealed");
    for id in ["card", "merchant"] {
        let parts = &step(&newest, id).parts;
        assert!(parts.len() <= 2 * 6, "{} parts", parts.len());
        assert!(parts.iter().any(|part| part.kind == PartKind::Merged));
    }
    let kept: Vec<_> = rig
        .checkpoints
        .list()
        .expect("a list")
        .iter()
        .map(|m| m.epoch.0)
        .collect();
    assert_eq!(kept, [38, 39, 40]);
    assert_eq!(
        newest.outboxes.len(),
        2,
        "those up to epoch 38 are published"
    );
    assert_eq!(leftovers(&store, &rig.checkpoints), Vec::<String>::new());
    let log = store
        .objects()
        .into_keys()
        .filter(|name| name.starts_with("log/"));
    assert_eq!(log.count(), 1 + 3, "the fence stays");
}

#[test]
fn an_outbox_stays_until_it_is_published() {
    let store = SimulatedStore::new(1);
    let mut rig = rig(&store, 1, 1);
    for _ in 0..5 {
        let draft = rig.draft().expect("written");
        rig.generation.seal(&draft).expect("sealed");
        rig.generation.tidy().expect("tidied");
    }
    let open: Vec<_> = rig
        .generation
        .unpublished()
        .map(|(_, epoch)| epoch.0)
        .collect();
    assert_eq!(
        open,
        [1, 2, 3, 4, 5, 6],
        "epochs that are no longer kept among them"
    );
    drop(rig);
    let mut rig = self::rig(&store, 1, 0);
    assert_eq!(rig.generation.unpublished().count(), 6);
    rig.generation.published("alerts", Epoch(4));
    let sealed = rig.epoch().expect("sealed");
    let open: Vec<_> = sealed
        .outboxes
        .iter()
        .map(|outbox| outbox.epoch.0)
        .collect();
    assert_eq!(open, [5, 6, 7]);
    check_newest(&rig.checkpoints);
}

#[test]
fn an_older_epoch_can_be_started_from_while_it_is_kept() {
    let store = SimulatedStore::new(1);
    let checkpoints = rig(&store, 2, 10).checkpoints;
    let before = store.objects();
    let error = checkpoints
        .begin(&StartFrom::Epoch(Epoch(7)))
        .expect_err("it is not kept");
    let expected_error = "there is no epoch 7 in `simulated`; there are epochs 8 to 10";
    assert_eq!(error.to_string(), expected_error);
    assert_eq!(store.objects(), before, "nobody is fenced off");
    let generation = checkpoints
        .begin(&StartFrom::Epoch(Epoch(8)))
        .expect("begun");
    assert_eq!(generation.next_epoch(), Epoch(11));
    let mut rig = Rig::new(checkpoints, generation, 1).expect("restored");
    assert_eq!(rig.states, expected(Epoch(8)));
    for _ in 0..5 {
        let sealed = rig.epoch().expect("sealed");
        assert_eq!(sealed.restored_from, Some(Epoch(8)));
        assert_eq!(load(&rig.checkpoints, &sealed).expect("whole"), rig.states);
    }
    assert_eq!(
        rig.checkpoints.verify().expect("verified").problems,
        Vec::<String>::new()
    );
    assert_eq!(leftovers(&store, &rig.checkpoints), Vec::<String>::new());
}

#[test]
fn a_savepoint_outlives_its_checkpoint() {
    let store = SimulatedStore::new(1);
    let mut rig = rig(&store, 2, 4);
    rig.checkpoints
        .savepoint("before-upgrade", Epoch(4))
        .expect("saved");
    rig.checkpoints
        .savepoint("before-upgrade", Epoch(4))
        .expect("saved already");
    let error = rig
        .checkpoints
        .savepoint("before-upgrade", Epoch(3))
        .expect_err("it is taken");
    assert!(matches!(error, CheckpointError::Taken(_)), "{error}");
    for bad in ["", "a/b", "..", "a b", "7"] {
        assert!(rig.checkpoints.savepoint(bad, Epoch(4)).is_err(), "`{bad}`");
    }
    (0..20).for_each(|_| drop(rig.epoch().expect("sealed")));
    let checkpoints = rig.checkpoints.clone();
    let savepoints = checkpoints.savepoints().expect("a list");
    assert_eq!(savepoints.len(), 1);
    assert_eq!(
        (&*savepoints[0].0, savepoints[0].1.epoch),
        ("before-upgrade", Epoch(4))
    );

    let from = |name: &str| StartFrom::Savepoint(name.to_owned());
    let error = checkpoints
        .begin(&from("after"))
        .expect_err("there is none")
        .to_string();
    assert_eq!(
        error,
        "there is no savepoint `after` in `simulated`; there are `before-upgrade`"
    );
    let generation = checkpoints.begin(&from("before-upgrade")).expect("begun");
    let mut rig = Rig::new(checkpoints.clone(), generation, 3).expect("restored");
    assert_eq!(rig.states, expected(Epoch(4)));
    for _ in 0..8 {
        let sealed = rig.epoch().expect("sealed");
        assert_eq!(load(&checkpoints, &sealed).expect("whole"), rig.states);
    }
    checkpoints
        .delete_savepoint("before-upgrade")
        .expect("deleted");
    assert!(checkpoints.delete_savepoint("before-upgrade").is_err());
    assert!(
        store
            .objects()
            .keys()
            .all(|name| !name.starts_with("savepoints/"))
    );
    assert_eq!(
        checkpoints.verify().expect("verified").problems,
        Vec::<String>::new()
    );
}

#[test]
fn an_exported_checkpoint_starts_a_pipeline_elsewhere() {
    let (store, copy) = (SimulatedStore::new(1), SimulatedStore::new(2));
    let checkpoints = rig(&store, 2, 9).checkpoints;
    checkpoints
        .export(Epoch(8), &simulated(&copy))
        .expect("exported");
    assert!(matches!(
        checkpoints.export(Epoch(9), &simulated(&copy)),
        Err(CheckpointError::Taken(_))
    ));
    // In place, and from a third place.
    let third = SimulatedStore::new(3);
    let elsewhere = StartFrom::Elsewhere(simulated(&copy));
    for (store, from) in [(&third, &elsewhere), (&copy, &StartFrom::Newest)] {
        let checkpoints = open(store).expect("opened");
        let generation = checkpoints.begin(from).expect("begun");
        assert_eq!(generation.next_epoch(), Epoch(9));
        let mut rig = Rig::new(checkpoints, generation, 2).expect("restored");
        (0..12).for_each(|_| drop(rig.epoch().expect("sealed")));
        assert_eq!(check_newest(&rig.checkpoints), Epoch(20));
    }
    let empty = StartFrom::Elsewhere(simulated(&SimulatedStore::new(4)));
    assert!(matches!(
        checkpoints.begin(&empty),
        Err(CheckpointError::Unknown { .. })
    ));
}

#[test]
fn another_pipelines_checkpoints_are_refused() {
    let store = SimulatedStore::new(1);
    rig(&store, 1, 1);
    let error = Checkpoints::open(&options(simulated(&store)), "flights").expect_err("another");
    let expected = "`simulated` holds checkpoints of pipeline `fraud`, not of `flights`; give each \
                    pipeline a location of its own";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_step_of_another_type_begins_anew_and_one_that_is_gone_is_dropped() {
    let store = SimulatedStore::new(1);
    let mut rig = rig(&store, 1, 3);
    let mut draft = rig.draft().expect("written");
    draft.steps[0].kind = "summing".to_owned();
    draft.steps[0].parts.clear();
    draft.steps.truncate(1);
    let sealed = rig.generation.seal(&draft).expect("sealed");
    assert_eq!(step(&sealed, "card").parts, []);
    assert_eq!(sealed.step("merchant"), None);
}

#[test]
fn a_draft_that_makes_no_sense_is_refused() {
    let store = SimulatedStore::new(1);
    let mut rig = rig(&store, 1, 1);
    let good = rig.draft().expect("written");
    let mut check = |change: &dyn Fn(&mut ManifestDraft), expected: &str| {
        let mut draft = good.clone();
        change(&mut draft);
        let error = rig
            .generation
            .seal(&draft)
            .expect_err("it makes no sense")
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        &|draft| draft.epoch = Epoch(3),
        "epoch 3 cannot be sealed: the next epoch is 2",
    );
    check(
        &|draft| draft.steps[1].id = "card".to_owned(),
        "step `card` is there twice",
    );
    let alien = |draft: &mut ManifestDraft| {
        draft.outboxes[0].parts[0].file = "parts/g0000000009/e".to_owned();
    };
    check(
        &alien,
        "part `parts/g0000000009/e` is of another generation",
    );
    rig.generation.seal(&good).expect("sealed");
}
