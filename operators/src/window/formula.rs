//! Features made of the values of other features, without state of their own.

use super::program::Inputs;

/// How a feature is made of the features at other places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formula {
    /// One over another, times `scale.0 / scale.1`; missing when the other is zero.
    Ratio {
        of: usize,
        to: usize,
        scale: (i64, i64),
    },
    /// By how many standard deviations a value differs from a mean; missing when there is no
    /// deviation.
    ZScore {
        value: usize,
        mean: usize,
        std: usize,
    },
    /// 1 when the event's id has made the number of different ids grow, else 0; missing when it has
    /// none.
    IsNew {
        after: usize,
        before: usize,
        id: usize,
    },
}

impl Formula {
    /// The same formula over features at other places.
    pub(crate) fn moved(self, to: impl Fn(usize) -> usize) -> Self {
        let at = |place| to(place);
        match self {
            Self::Ratio { of, to, scale } => Self::Ratio {
                of: at(of),
                to: at(to),
                scale,
            },
            Self::ZScore { value, mean, std } => Self::ZScore {
                value: at(value),
                mean: at(mean),
                std: at(std),
            },
            Self::IsNew { after, before, id } => Self::IsNew {
                after: at(after),
                before: at(before),
                id,
            },
        }
    }

    /// The value for an event, given the values that it is made of.
    pub(crate) fn value(self, row: &[f64], inputs: &Inputs) -> f64 {
        match self {
            Self::Ratio { of, to, scale } => {
                let (of, to) = (row[of] / scale.1 as f64, row[to] / scale.0 as f64);
                if to == 0.0 { f64::NAN } else { of / to }
            }
            Self::ZScore { value, mean, std } => {
                let (value, mean, std) = (row[value], row[mean], row[std]);
                if std == 0.0 {
                    f64::NAN
                } else {
                    (value - mean) / std
                }
            }
            Self::IsNew { after, before, id } => match inputs.ids[id] {
                Some(_) => row[after] - row[before],
                None => f64::NAN,
            },
        }
    }
}
