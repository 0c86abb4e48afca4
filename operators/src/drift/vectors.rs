//! The streams that published figures were computed from, without any library's random numbers.

use super::column::Column;
use super::histogram::Histogram;

/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from 0 to 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Nearly Gaussian: the sum of twelve uniform draws, less six.
    fn gauss(&mut self) -> f64 {
        let first = self.uniform();
        (1..12).fold(first, |sum, _| sum + self.uniform()) - 6.0
    }
}

/// 5000 values: the reference of the numeric stream.
pub(super) fn num_reference() -> Vec<f64> {
    let mut random = SplitMix64(42);
    (0..5000).map(|_| random.gauss()).collect()
}

/// 2000 values: the current side of the numeric stream.
pub(super) fn num_current() -> Vec<f64> {
    let mut random = SplitMix64(43);
    (0..2000).map(|_| 0.25 + 1.1 * random.gauss()).collect()
}

/// Counts of the numeric stream, reference and current, on the reference's deciles.
pub(super) fn num_histograms() -> (Vec<u64>, Vec<u64>) {
    let column = Column::from_values("num", &num_reference());
    let mut current = Histogram::new(&column);
    num_current()
        .iter()
        .for_each(|&value| current.add(&column, value));
    (column.counts().to_vec(), current.counts().to_vec())
}

/// Counts of the categorical stream, reference and current; the reference lacks the last category.
pub(super) fn categories() -> ([u64; 6], [u64; 6]) {
    let draw = |seed, rows, categories: f64| {
        let mut random = SplitMix64(seed);
        let mut counts = [0; 6];
        for _ in 0..rows {
            let u = random.uniform();
            counts[(categories * (u * u)) as usize] += 1;
        }
        counts
    };
    (draw(7, 5000, 5.0), draw(8, 2000, 6.0))
}

/// Asserts that there is a value and that it is within `tolerance` of `expected`.
pub(super) fn assert_close(found: Option<f64>, expected: f64, tolerance: f64) {
    let found = found.expect("there is a value");
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not {expected} +- {tolerance}"
    );
}

#[test]
fn the_streams_are_those_of_the_recipe() {
    let reference = num_reference();
    assert_eq!(reference[0], -0.894_133_443_193_391_4);
    assert_eq!(reference.iter().sum::<f64>(), -10.921_903_766_248_667);
    assert_eq!(num_current()[0], -0.184_799_790_972_894);
    let (expected, actual) = categories();
    assert_eq!(expected, [2288, 914, 678, 603, 517, 0]);
    assert_eq!(actual, [819, 336, 259, 216, 180, 190]);
}
