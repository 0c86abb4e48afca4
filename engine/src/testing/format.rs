//! The check of a state's written form.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Checks that a state which begins with its [`Version`](crate::version::Version) is written as
/// these bytes (hexadecimal) and that another version is refused; gives what is read back.
///
/// ```
/// use thalweg_engine::testing::check_format;
/// use thalweg_engine::version::Version;
///
/// let read = check_format(&(Version::<1>, 7_u32), "0107");
/// assert_eq!(read.1, 7);
/// ```
///
/// # Panics
/// When it is written in another way.
pub fn check_format<S: Serialize + DeserializeOwned>(state: &S, expected: &str) -> S {
    let write = |state: &S| postcard::to_allocvec(state).expect("the state can be written");
    let written = write(state);
    let hex: String = written.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex, expected,
        "a change of the format needs a new version and its fixture"
    );
    let newer = [&[written[0] + 1], &written[1..]].concat();
    assert!(postcard::from_bytes::<S>(&newer).is_err());
    let read: S = postcard::from_bytes(&written).expect("what was written can be read");
    assert_eq!(write(&read), written);
    read
}
