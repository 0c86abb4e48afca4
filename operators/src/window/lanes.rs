//! Reading and writing wider numbers in a block of 32-bit lanes.

/// The `u64` in two lanes, low half first.
#[inline]
pub(crate) fn get_u64(block: &[u32], at: usize) -> u64 {
    let pair = &block[at..at + 2];
    u64::from(pair[0]) | u64::from(pair[1]) << 32
}

/// Writes a `u64` to two lanes.
#[inline]
pub(crate) fn set_u64(block: &mut [u32], at: usize, value: u64) {
    let pair = &mut block[at..at + 2];
    pair[0] = value as u32;
    pair[1] = (value >> 32) as u32;
}

/// The `f64` in two lanes.
#[inline]
pub(crate) fn get_f64(block: &[u32], at: usize) -> f64 {
    f64::from_bits(get_u64(block, at))
}

/// Writes an `f64` to two lanes.
#[inline]
pub(crate) fn set_f64(block: &mut [u32], at: usize, value: f64) {
    set_u64(block, at, value.to_bits());
}
