//! The format of the state: what every version wrote is read, and goes on.

use thalweg_engine::testing::check_format;
use thalweg_engine::time::secs;

use super::testing::{END, Harness, Listed, event, rows, watermark};
use super::{KeyWindows, Window};

/// Hopping windows of version 1 after the events of [`saved`], as postcard.
const VERSION_1: &str = "\
    0180b6dc0500030101ff9aee02ff9aee02000000000101ff9aee02ff9aee02010500038092f40180\
    a4e8030000010001038092f4018092f4010104809bee02809bee02010680a4e80380a4e803010802\
    0280bfd60680d1ca0800000400000280bfd60680bfd606010e80d1ca0880d1ca08011203010300fe\
    ffffffffffffffff01000102feffffffffffffffff01020002feffffffffffffffff01";

/// The same with the fingerprint of the declaration.
const VERSION_2: &str = "\
    02e2b8c1a60a80b6dc0500030101ff9aee02ff9aee02000000000101ff9aee02ff9aee0201050003\
    8092f40180a4e8030000010001038092f4018092f4010104809bee02809bee02010680a4e80380a4\
    e8030108020280bfd60680d1ca0800000400000280bfd60680bfd606010e80d1ca0880d1ca080112\
    03010300feffffffffffffffff01000102feffffffffffffffff01020002feffffffffffffffff01";

fn window() -> Window {
    Window::hopping(secs(10), secs(5))
        .lateness(secs(5))
        .early_events(3)
}

/// Two slices, runs that are not merged, and marks of windows that have fired.
fn saved() -> Harness<Listed> {
    let mut harness = Harness::new(&window(), Listed);
    harness.run(&[
        event(-3),
        event(4),
        event(2),
        watermark(6),
        event(3),
        event(9),
        event(7),
    ]);
    harness
}

fn check_goes_on(state: KeyWindows<Vec<i64>>) {
    let (mut went_on, mut restored) = (saved(), saved());
    restored.state = state;
    for harness in [&mut went_on, &mut restored] {
        harness.run(&[event(8), watermark(12), event(6), watermark(20), END]);
    }
    assert_eq!(rows(&went_on.fired), rows(&restored.fired));
}

#[test]
fn state_that_version_1_wrote_is_read_and_goes_on() {
    let byte = |at| u8::from_str_radix(&VERSION_1[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..VERSION_1.len()).step_by(2).map(byte).collect();
    let state = postcard::from_bytes(&bytes).unwrap();
    assert!(saved().windows.accepts(&state));
    check_goes_on(state);
}

#[test]
fn state_that_version_2_wrote_is_read_and_goes_on() {
    check_goes_on(check_format(&saved().state, VERSION_2));
}

#[test]
fn damaged_state_is_an_error() {
    let read = |bytes: &[u8]| postcard::from_bytes::<KeyWindows<Vec<i64>>>(bytes).map(|_| ());
    let bytes = postcard::to_allocvec(&saved().state).unwrap();
    assert!(read(&bytes).is_ok());
    assert!(read(&bytes[..bytes.len() / 2]).is_err());
    let mut harness = saved();
    harness.state.kept.slices.swap(0, 1);
    assert!(read(&postcard::to_allocvec(&harness.state).unwrap()).is_err());
}
