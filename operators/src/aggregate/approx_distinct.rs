//! Approximate distinct: how many different ids there are, by HyperLogLog.
//!
//! The sketch is that of the crate `datasketches` (Apache DataSketches): a list and then a set of
//! hashes while there are few ids, registers of a byte each from about `2^precision / 11` ids on. The
//! estimate is the one that registers alone give ("composite"), not the running one ("HIP"), which
//! would depend on how windows were merged.

use datasketches::hll::{HllSketch, HllType, HllUnion};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thalweg_engine::time::EventTime;

use super::{Aggregate, AggregateError};

/// The number of different ids, estimated and rounded to a whole number, zero when there are none.
///
/// The standard error is 1.04 / sqrt(2^precision): 2.3 % for a precision of 11, 1.6 % for 12. Up to
/// some 2^precision / 11 ids only two ids of the same hash (32 bits) make it wrong. It takes up to
/// 2^precision bytes, and 4 to 8 bytes an id while there are few. It cannot let events go.
///
/// ```
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::{Aggregate, ApproxDistinct};
///
/// let distinct = ApproxDistinct::new(11)?;
/// let (mut state, at) = (distinct.empty(), EventTime::from_seconds(1));
/// for id in 0..100_000 {
///     distinct.add(&mut state, at, &(id % 50_000));
/// }
/// assert!((distinct.finish(&state, at) / 50_000.0 - 1.0).abs() < 0.05);
/// # Ok::<(), thalweg_operators::aggregate::AggregateError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ApproxDistinct {
    precision: u8,
}

impl ApproxDistinct {
    /// A sketch with 2^precision registers.
    ///
    /// # Errors
    /// When the precision is not between 4 and 21.
    pub fn new(precision: u8) -> Result<Self, AggregateError> {
        if !(4..=21).contains(&precision) {
            return Err(AggregateError::Precision(precision));
        }
        Ok(Self { precision })
    }
}

/// What [`ApproxDistinct`] keeps. Serialised in the format of Apache DataSketches.
#[derive(Clone, Debug)]
pub struct Registers(HllSketch);

impl Aggregate for ApproxDistinct {
    type Input = u64;
    type State = Registers;
    type Output = f64;

    fn empty(&self) -> Registers {
        let sketch = HllSketch::new(self.precision, HllType::Hll8);
        Registers(sketch.expect("invariant: the precision was checked"))
    }

    fn add(&self, registers: &mut Registers, _at: EventTime, id: &u64) {
        registers.0.update(id);
    }

    fn merge(&self, registers: &mut Registers, later: &Registers) {
        // A union forgets the running estimate, which a state merged with an empty one keeps.
        if later.0.is_empty() {
            return;
        }
        if registers.0.is_empty() {
            registers.clone_from(later);
            return;
        }
        let union = HllUnion::new(self.precision);
        let mut union = union.expect("invariant: the precision was checked");
        union.update(&registers.0);
        union.update(&later.0);
        registers.0 = union.to_sketch(HllType::Hll8);
    }

    fn finish(&self, registers: &Registers, _end: EventTime) -> f64 {
        registers.0.composite_estimate().round()
    }
}

/// Bytes before the hashes of a sketch that is a set of them, and the byte that says it is.
const SET_START: usize = 12;
const SET_PREAMBLE: u8 = 3;

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = self.0.serialize();
        if bytes.first() == Some(&SET_PREAMBLE) && bytes.len() > SET_START {
            // Hashes lie in the order of their slots, which differs after reading them back.
            let (hashes, _) = bytes[SET_START..].as_chunks_mut::<4>();
            hashes.sort_unstable();
        }
        bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Registers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        let sketch = HllSketch::deserialize(&bytes).map_err(D::Error::custom)?;
        Ok(Self(sketch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::oracle;
    use crate::aggregate::testing::{check_laws, exactly};

    #[test]
    fn agrees_with_its_oracle_on_few_ids() {
        let distinct = ApproxDistinct::new(12).unwrap();
        oracle::check(&distinct, oracle::ids(), exactly, |events, _| {
            oracle::tally(events).len() as f64
        });
    }

    #[test]
    fn is_as_close_as_it_says() {
        for (precision, error) in [(8, 0.065), (11, 0.023), (14, 0.008_2)] {
            let distinct = ApproxDistinct::new(precision).unwrap();
            let mut state = distinct.empty();
            for id in 1..=200_000u64 {
                distinct.add(&mut state, EventTime::MIN, &(id * 1_000_003));
                if id.is_power_of_two() || id == 200_000 {
                    let got = distinct.finish(&state, EventTime::MIN) / id as f64;
                    assert!(
                        (got - 1.0).abs() < 3.0 * error,
                        "{got} of {id}, {precision}"
                    );
                }
            }
        }
    }

    #[test]
    fn keeps_the_laws_as_list_set_and_registers() {
        for n in [7, 60, 190, 2_000] {
            let ids: Vec<_> = (0..n)
                .map(|n| (EventTime::from_seconds(n), n.unsigned_abs() * 31))
                .collect();
            check_laws(&ApproxDistinct::new(11).unwrap(), &ids, exactly);
        }
    }

    #[test]
    fn a_precision_that_cannot_be_is_refused() {
        let error = ApproxDistinct::new(3).unwrap_err();
        assert_eq!(error, AggregateError::Precision(3));
    }
}
