//! The format of the state: what version 1 wrote is read, and goes on.

use thalweg_engine::testing::check_format;
use thalweg_engine::time::secs;

use super::testing::{END, Harness, Listed, event, rows, watermark};
use super::{KeyWindows, Window};

/// Hopping windows of version 1 after the events of [`saved_by_version_1`], as postcard.
const VERSION_1: &str = "\
    0180b6dc0500030101ff9aee02ff9aee02000000000101ff9aee02ff9aee02010500038092f40180\
    a4e8030000010001038092f4018092f4010104809bee02809bee02010680a4e80380a4e803010802\
    0280bfd60680d1ca0800000400000280bfd60680bfd606010e80d1ca0880d1ca08011203010300fe\
    ffffffffffffffff01000102feffffffffffffffff01020002feffffffffffffffff01";

fn window() -> Window {
    Window::hopping(secs(10), secs(5))
        .lateness(secs(5))
        .early_events(3)
}

/// Two slices, runs that are not merged, and marks of windows that have fired.
fn saved_by_version_1() -> Harness<Listed> {
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

#[test]
fn state_that_version_1_wrote_is_read_and_goes_on() {
    let mut went_on = saved_by_version_1();
    let mut restored = saved_by_version_1();
    restored.state = check_format(&went_on.state, VERSION_1);
    for harness in [&mut went_on, &mut restored] {
        harness.run(&[event(8), watermark(12), event(6), watermark(20), END]);
    }
    assert_eq!(rows(&went_on.fired), rows(&restored.fired));
}

#[test]
fn damaged_state_is_an_error() {
    let read = |bytes: &[u8]| postcard::from_bytes::<KeyWindows<Vec<i64>>>(bytes).map(|_| ());
    let bytes = postcard::to_allocvec(&saved_by_version_1().state).unwrap();
    assert!(read(&bytes).is_ok());
    assert!(read(&bytes[..bytes.len() / 2]).is_err());
    let mut harness = saved_by_version_1();
    harness.state.kept.slices.swap(0, 1);
    assert!(read(&postcard::to_allocvec(&harness.state).unwrap()).is_err());
}
