//! What the brokers refuse of an epoch, in the form in which the epoch's note tells of it: one bit for each
//! record, so that the note stays small whatever is refused.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::problem::Refusal;

/// For each reason the places of the records, as bits in Base64: that of place 0 is the least of the first byte.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeftOut(Vec<(Refusal, String)>);

impl LeftOut {
    /// Of refusals by the records' places in the epoch.
    pub(super) fn of(refused: &BTreeMap<usize, Refusal>) -> Self {
        let mut bits = BTreeMap::<&Refusal, Vec<u8>>::new();
        for (index, refusal) in refused {
            let bits = bits.entry(refusal).or_default();
            // Places come in order.
            bits.resize(index / 8 + 1, 0);
            bits[index / 8] |= 1 << (index % 8);
        }
        let bits = bits.into_iter();
        Self(
            bits.map(|(refusal, bits)| (refusal.clone(), STANDARD.encode(bits)))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The refusals by place again.
    ///
    /// # Errors
    /// When it was not made here.
    pub(super) fn refused(&self) -> Result<BTreeMap<usize, &Refusal>, String> {
        let mut refused = BTreeMap::new();
        for (refusal, bits) in &self.0 {
            let bits = STANDARD.decode(bits).map_err(|error| {
                format!("what was left out of an epoch is not in Base64: {error}")
            })?;
            for (byte, bits) in bits.into_iter().enumerate() {
                let places = (0..8).filter(|bit| bits >> bit & 1 == 1);
                refused.extend(places.map(|bit| (8 * byte + bit, refusal)));
            }
        }
        Ok(refused)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(number: usize) -> Refusal {
        match number {
            0 => Refusal::TooLarge,
            _ => Refusal::Other(format!("reason {number}")),
        }
    }

    proptest! {
        #[test]
        fn a_note_tells_what_was_left_out(
            refused in prop::collection::btree_map(0..3_000_usize, 0..3_usize, 0..200)
        ) {
            let refused: BTreeMap<_, _> = refused
                .into_iter()
                .map(|(index, number)| (index, refusal(number)))
                .collect();
            let left_out = LeftOut::of(&refused);
            prop_assert_eq!(left_out.is_empty(), refused.is_empty());
            let text = serde_json::to_string(&left_out).expect("it is JSON");
            prop_assert!(text.len() < 3 * 3_000 / 6 + 200, "{} bytes", text.len());
            let read: LeftOut = serde_json::from_str(&text).expect("it is what was written");
            let places: BTreeMap<_, _> = refused.iter().map(|(index, why)| (*index, why)).collect();
            prop_assert_eq!(read.refused(), Ok(places));
        }
    }

    #[test]
    fn the_form_stays_as_it_is() {
        let refused = BTreeMap::from([(0, refusal(0)), (9, refusal(1)), (10, refusal(0))]);
        let left_out = LeftOut::of(&refused);
        let text = r#"[["too_large","AQQ="],[{"other":"reason 1"},"AAI="]]"#;
        assert_eq!(serde_json::to_string(&left_out).ok().as_deref(), Some(text));
        let bad = LeftOut(vec![(Refusal::TooLarge, "?".to_owned())]);
        assert!(bad.refused().is_err());
    }
}
