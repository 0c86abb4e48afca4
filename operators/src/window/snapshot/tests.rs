use super::*;
use crate::aggregate::Max;
use crate::features::testing::{Reading, plan, reading};
use crate::features::{FeaturePlan, Features, HotKey};
use thalweg_engine::time::{EventTime, secs};

/// State of version 1 after the events of [`saved_state`], as postcard.
const VERSION_1: &str = "\
    0180ecb80b1f050101010400240200808088810400000080c0ed81040000030401030403008080ce\
    810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000f070d0f0114c0843d00\
    008080e0ff030180a4e803000080809080040280b6dc0500008080a880040380b6dc0500008080a8\
    800403010401020309020380897a000000000000f83f80c8d007000000000000044080ecb80b0000\
    000000000a4003ffe79226000000000000000080c8d007000000000000000080ecb80b0000000000\
    000000";

fn declare(f: &mut Features<Reading>) {
    f.lateness(secs(5));
    let value = f.column(|e| e.value);
    f.over(secs(10))
        .count("n")
        .std("std", value)
        .max("max", value);
    f.over(secs(30))
        .distinct("ids", |e| e.value as u32)
        .share("share", |e| e.value > 2.0);
    f.ever()
        .sum("sum", value)
        .min("min", value)
        .distinct("ever", |e| e.value as u64);
    f.last("last", value);
    f.since_last("since", |e| e.value > 2.0);
}

fn feed(plan: &mut FeaturePlan<Reading>, state: &mut KeyFeatures, event: Reading) -> Vec<f64> {
    let mut row = Vec::new();
    plan.update(
        state,
        &event,
        EventTime::from_seconds(event.second),
        &mut row,
    );
    row
}

/// A key after an event that left, late ones and equal ones.
fn saved_state(plan: &mut FeaturePlan<Reading>) -> KeyFeatures {
    let mut state = KeyFeatures::default();
    for (second, value) in [(-40, 9.0), (1, 1.5), (12, 3.25), (8, 2.5), (12, 3.25)] {
        feed(plan, &mut state, reading(second, value));
    }
    state
}

/// State of version 2 after the same events, with an aggregate that removes, one that merges and
/// one over everything.
const VERSION_2: &str = "\
    0280ecb80b1f050201010400240200808088810400000080c0ed81040000030401030403008080ce\
    810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000f070d0f011cc0843d00\
    008080e0ff03008080e0ff030180a4e803000080809080040080809080040280b6dc0500008080a8\
    8004008080a880040380b6dc0500008080a88004008080a8800403010401020309020380897a0000\
    00000000f83f80c8d007000000000000044080ecb80b0000000000000a4003ffe792260000000000\
    00000080c8d007000000000000000080ecb80b000000000000000003220104000000000000f83f00\
    000000000004400000000000000a400000000000000a401301040000000000000a40000000000000\
    000a4011020000000000000a400000000000002240";

fn declare_2(f: &mut Features<Reading>) {
    declare(f);
    let value = f.column(|e: &Reading| e.value);
    f.over(secs(30))
        .quantile("median", 0.5, value)
        .aggregate("greatest", Max, value);
    f.ever().excluding().top_k("top", 2, value);
}

/// State of version 3 after the same events, of which one was dropped.
const VERSION_3: &str = "\
    0380ecb80b1f050201020300240200808088810400000080c0ed81040000030402030302008080ce\
    810400000500008080e0ff0380b6dc0500008080a8800480b6dc050000000d050d0d011580a4e803\
    000080809080040080809080040280b6dc0500008080a88004008080a880040380b6dc0500008080\
    a88004008080a8800403010401020309020380897a000000000000f83f80c8d00700000000000004\
    4080ecb80b0000000000000a4003ffe79226000000000000000080c8d007000000000000000080ec\
    b80b0000000000000000031a020300000000000004400000000000000a400000000000000a401302\
    040000000000000a40000000000000000a4011020000000000000a40000000000000224001018089\
    7a00";

fn declare_3(f: &mut Features<Reading>) {
    declare_2(f);
    f.over(secs(30)).truncated("cut");
    f.max_events_per_key(3, HotKey::DropOldest);
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Feeds the same events to both and asserts that they cannot be told apart.
fn check_goes_on(plan: &mut FeaturePlan<Reading>, state: KeyFeatures, restored: KeyFeatures) {
    assert!(plan.accepts(&restored));
    let mut states = [state, restored];
    for event in [reading(9, 1.0), reading(13, 4.0), reading(60, 0.5)] {
        let rows = states.each_mut().map(|state| feed(plan, state, event));
        let [went_on, restored] = rows.map(|row| row.into_iter().map(f64::to_bits));
        assert!(went_on.eq(restored), "{event:?}");
    }
}

#[test]
fn state_that_version_1_wrote_is_read_and_goes_on() {
    let mut plan = plan(declare);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_1)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

#[test]
fn state_that_version_2_wrote_is_read_and_goes_on() {
    let mut plan = plan(declare_2);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_2)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

#[test]
fn state_that_version_3_wrote_is_read_and_goes_on() {
    let mut plan = plan(declare_3);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_3)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

/// State of version 4 after the same events.
const VERSION_4: &str = "\
    0480ecb80b1f05020102030400e40102000000000000000000224000000000000000000000000000\
    603b4000000000000000000300000004000000020000000300000003000000020000000000000000\
    80334000000000000000000500000000000000000000000000f83f001bb700000000000000000000\
    000a40001bb7000000000000000000000000000f000000070000000d0000000f0000000100000000\
    127a000000000000000000000004400000000000000440001bb700000000000000000000000a4000\
    00000000000a40001bb700000000000000000000000a400000000000000a40020000000300000003\
    000000010401020309020380897a000000000000f83f80c8d007000000000000044080ecb80b0000\
    000000000a4003ffe79226000000000000000080c8d007000000000000000080ecb80b0000000000\
    000000031a020300000000000004400000000000000a400000000000000a40130204000000000000\
    0a40000000000000000a4011020000000000000a400000000000002240010180897a00";

#[test]
fn state_that_version_4_wrote_is_read_and_goes_on() {
    let mut plan = plan(declare_3);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_4)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

/// State of version 3 with a tile.
const VERSION_3_TILES: &str = "\
    0380ecb80b0e0301000202001102008080e8800400000080c0d48104000002020202030303020880\
    b6dc0500008080a8800480b6dc0500008080a88004000000000180dac409010080897a80c8d00702\
    01020000000000001040000000000000000000000000000021400000000000000000000000000000\
    f83f000000000000044001010202808ece1c01000201020000000000001040000000000000000000\
    000000000021400000000000000000000000000000f83f000000000000044001010280ade2040100\
    02010200000000000010400000000000000000000000000000214000000000000000000000000000\
    00f83f0000000000000440010102";

#[test]
fn tiles_that_version_3_wrote_are_read_and_go_on() {
    let mut plan = plan(declare_tiles);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_3_TILES)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

fn declare_tiles(f: &mut Features<Reading>) {
    let value = f.column(|e: &Reading| e.value);
    f.lateness(secs(5));
    f.over(secs(30)).std("std", value).truncated("cut");
    f.over(secs(5))
        .max("max", value)
        .share("share", |e| e.value > 2.0);
    f.max_events_per_key(2, HotKey::Tiles(secs(10)));
}

/// State of version 4 with a tile.
const VERSION_4_TILES: &str = "\
    0480ecb80b0e0301000202040064020000000000000000001a400000000000000000000000000020\
    3540000000000000000002000000020000000200000002000000030000000f0000000f0000000900\
    0000001bb700000000000000000000000a40001bb700000000000000000000000a40000000000180\
    dac409010080897a80c8d00702010200000000000010400000000000000000000000000000214000\
    00000000000000000000000000f83f000000000000044001010202808ece1c010002010200000000\
    00001040000000000000000000000000000021400000000000000000000000000000f83f00000000\
    0000044001010280ade2040100020102000000000000104000000000000000000000000000002140\
    0000000000000000000000000000f83f0000000000000440010102";

#[test]
fn tiles_that_version_4_wrote_are_read_and_go_on() {
    let mut plan = plan(declare_tiles);
    let state = saved_state(&mut plan);
    let restored = postcard::from_bytes(&bytes(VERSION_4_TILES)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

/// State of version 5 after the same events.
const VERSION_5: &str = "\
    051303000000040000001f000000050002000100009c01001bb70000000000020000000200000000\
    0000000000224000000000000000000000000000603b400000000000000000030000000400000002\
    00000003000000030000000200000000000000008033400000000000000000050000000000000000\
    0000000000f83f001bb700000000000000000000000a40001bb7000000000000000000000000000f\
    000000070000000d0000000f00000001000000043000127a00000000000000000000000440000000\
    0000000440001bb700000000000000000000000a400000000000000a4018001bb700000000000000\
    000000000a400000000000000a40080200000003000000040300000001010401020309020380897a\
    000000000000f83f80c8d007000000000000044080ecb80b0000000000000a4003ffe79226000000\
    000000000080c8d007000000000000000080ecb80b0000000000000000031a020300000000000004\
    400000000000000a400000000000000a401302040000000000000a40000000000000000a40110200\
    00000000000a400000000000002240010180897a00";

#[test]
fn state_that_version_5_wrote_is_read_and_goes_on() {
    let mut plan = plan(declare_3);
    let state = saved_state(&mut plan);
    check_written(&state, VERSION_5);
    let restored = postcard::from_bytes(&bytes(VERSION_5)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

/// State of version 5 with a tile.
const VERSION_5_TILES: &str = "\
    051302000000040000000e0000000300010000000050001bb7000000000002000000020000000000\
    000000001a4000000000000000000000000000203540000000000000000002000000020000000200\
    000002000000030000000f0000000f000000090000000120001bb700000000000000000000000a40\
    001bb700000000000000000000000a4001000000000180dac409010080897a80c8d0070201020000\
    000000001040000000000000000000000000000021400000000000000000000000000000f83f0000\
    00000000044001010202808ece1c0100020102000000000000104000000000000000000000000000\
    0021400000000000000000000000000000f83f000000000000044001010280ade204010002010200\
    00000000001040000000000000000000000000000021400000000000000000000000000000f83f00\
    00000000000440010102";

#[test]
fn tiles_that_version_5_wrote_are_read_and_go_on() {
    let mut plan = plan(declare_tiles);
    let state = saved_state(&mut plan);
    check_written(&state, VERSION_5_TILES);
    let restored = postcard::from_bytes(&bytes(VERSION_5_TILES)).unwrap();
    check_goes_on(&mut plan, state, restored);
}

fn check_written(state: &KeyFeatures, fixture: &str) {
    let written = postcard::to_allocvec(state).unwrap();
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex, fixture,
        "a change of the format needs a new version and its fixture"
    );
}

#[test]
fn a_ring_that_wraps_and_one_with_much_room_are_restored() {
    let mut plan = plan(declare_3);
    let mut state = KeyFeatures::default();
    for n in 0..400 {
        // Many at once, then few: the ring is large, full, and nearly empty.
        let second = if n < 200 { n / 40 } else { n };
        feed(
            &mut plan,
            &mut state,
            reading(second, f64::from(n as u32 % 7)),
        );
        let written = postcard::to_allocvec(&state).unwrap();
        let restored = postcard::from_bytes(&written).unwrap();
        check_goes_on(&mut plan, state.clone(), restored);
    }
}

#[test]
fn damaged_state_is_an_error() {
    let mut plan = plan(declare_2);
    let written = postcard::to_allocvec(&saved_state(&mut plan)).unwrap();
    let read = |bytes: &[u8]| postcard::from_bytes::<KeyFeatures>(bytes);
    assert!(read(&written).is_ok());
    // Version, length of the form, rows, slots, shape, width of ids, length of the front.
    let damage: [fn(&mut Vec<u8>); 10] = [
        |bytes| bytes[0] += 1,
        |bytes| bytes[1] -= 1,
        |bytes| bytes[2] += 1,
        |bytes| bytes[2..6].fill(0xff),
        |bytes| bytes[6] += 1,
        |bytes| bytes[6..10].copy_from_slice(&[0, 0, 0, 0x80]),
        |bytes| bytes[10] += 1,
        |bytes| bytes[20] = 1,
        |bytes| bytes[21] -= 4,
        |bytes| bytes.truncate(bytes.len() / 2),
    ];
    for (number, damage) in damage.iter().enumerate() {
        let mut damaged = written.clone();
        damage(&mut damaged);
        assert!(read(&damaged).is_err(), "damage {number}");
    }
}

#[test]
fn state_of_another_plan_is_not_accepted() {
    let (mut first, mut second) = (plan(declare), plan(declare_2));
    let written = postcard::to_allocvec(&saved_state(&mut second)).unwrap();
    let mut damaged: KeyFeatures = postcard::from_bytes(&written).unwrap();
    let saved = damaged.extra().slots[0].save().unwrap();
    damaged.extra().slots[0] = SlotState::Saved(saved[..1].to_vec());
    let new = KeyFeatures::default();
    let (of_first, of_second) = (saved_state(&mut first), saved_state(&mut second));
    for (plan, state, accepts) in [
        (&first, &of_first, true),
        (&first, &of_second, false),
        (&first, &new, true),
        (&second, &of_first, false),
        (&second, &of_second, true),
        (&second, &damaged, false),
        (&second, &new, true),
    ] {
        assert_eq!(plan.accepts(state), accepts, "{:?}", plan.names());
    }
}
