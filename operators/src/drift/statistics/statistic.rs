//! The names of the statistics that can be watched.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A statistic of a column in a window that a threshold can be set on.
///
/// Serialised, displayed and used in an alert's dedup key by its name in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Statistic {
    /// The population stability index, see [`psi`](super::psi).
    Psi,
    /// The Jensen-Shannon distance, see [`js`](super::js).
    Js,
    /// The binned Kolmogorov-Smirnov distance, see [`ks`](super::ks).
    Ks,
    /// The Hellinger distance, see [`hellinger`](super::hellinger).
    Hellinger,
    /// The total variation distance, see [`tvd`](super::tvd).
    Tvd,
    /// The approximate Wasserstein distance, see [`wasserstein`](super::wasserstein).
    Wasserstein,
    /// The share of nulls in all rows of the window.
    NullRate,
    /// The share of values outside the reference's range in all values of the window.
    OutOfRangeRate,
}

impl Statistic {
    /// The name, as in the serialised form.
    pub fn name(self) -> &'static str {
        match self {
            Self::Psi => "psi",
            Self::Js => "js",
            Self::Ks => "ks",
            Self::Hellinger => "hellinger",
            Self::Tvd => "tvd",
            Self::Wasserstein => "wasserstein",
            Self::NullRate => "null_rate",
            Self::OutOfRangeRate => "out_of_range_rate",
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_serialised_form() {
        use Statistic::{Hellinger, Js, Ks, NullRate, OutOfRangeRate, Psi, Tvd, Wasserstein};
        for statistic in [
            Psi,
            Js,
            Ks,
            Hellinger,
            Tvd,
            Wasserstein,
            NullRate,
            OutOfRangeRate,
        ] {
            let json = serde_json::to_string(&statistic).unwrap();
            assert_eq!(json, format!("\"{statistic}\""));
        }
    }
}
