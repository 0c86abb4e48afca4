//! How many cases the property tests run.

/// Cases of the largest tests in the suite's default run.
const USUAL: u32 = 10_000;

/// How many cases a test runs that has so many by default: as many more as `THALWEG_SOAK_CASES` is
/// more than 10,000, so that one number lengthens every test alike.
pub(crate) fn cases(default: u32) -> u32 {
    let asked = std::env::var("THALWEG_SOAK_CASES").ok();
    let asked: Option<u64> = asked.and_then(|asked| asked.parse().ok());
    let scaled = asked.map(|asked| u64::from(default) * asked / u64::from(USUAL));
    scaled.map_or(default, |cases| {
        u32::try_from(cases).unwrap_or(u32::MAX).max(1)
    })
}
