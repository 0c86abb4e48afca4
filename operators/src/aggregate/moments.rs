//! Count of present values, their sum and their sum of squares: what mean, variance and standard
//! deviation are finished from.

use super::compensated::{Compensated, square};
use crate::window::lanes;

/// The running moments of one column over one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    /// Values that are present.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: Compensated,
    /// The sum of their squares; zero where it is not kept up.
    pub(crate) squares: Compensated,
}

/// Where the moments lie among a key's fixed lanes, and which of them are kept up: the sum, the sum
/// of squares if asked for, the count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MomentsCell {
    /// The first lane.
    pub(crate) at: usize,
    /// Lanes of the count: 1 in a bounded window, whose log has fewer than 2^32 rows, or 2.
    pub(crate) count_lanes: usize,
    /// Whether the sum of squares is kept up.
    pub(crate) squares: bool,
}

/// A cell has the lanes that its own description says.
const LAID_OUT: &str = "invariant: a cell's lanes hold its totals";

impl MomentsCell {
    /// Lanes that the cell takes.
    #[inline]
    pub(crate) fn lanes(&self) -> usize {
        self.count_lanes
            + if self.squares {
                2 * Compensated::LANES
            } else {
                Compensated::LANES
            }
    }

    /// Takes a value in.
    #[inline]
    pub(crate) fn add(&self, fixed: &mut [u32], value: f64) {
        self.add_squared(fixed, value, square(value));
    }

    /// Takes a value in whose [`square`] is known.
    #[inline]
    pub(crate) fn add_squared(&self, fixed: &mut [u32], value: f64, squared: (f64, f64)) {
        let cell = &mut fixed[self.at..self.at + self.lanes()];
        let (sum, mut rest) = cell.split_first_chunk_mut().expect(LAID_OUT);
        Compensated::load(sum).add(value).store(sum);
        if self.squares {
            let (squares, count) = rest.split_first_chunk_mut().expect(LAID_OUT);
            let total = Compensated::load(squares);
            total.add_exact(squared.0, squared.1).store(squares);
            rest = count;
        }
        set_count(rest, count(rest) + 1);
    }

    /// Lets a value go that was taken in before. Returns whether the totals are right afterwards:
    /// they are not when they had overflowed.
    #[inline]
    pub(crate) fn remove(&self, fixed: &mut [u32], value: f64) -> bool {
        let cell = &mut fixed[self.at..self.at + self.lanes()];
        let left = count(&cell[cell.len() - self.count_lanes..]) - 1;
        if left == 0 {
            cell.fill(0);
            return true;
        }
        let (sum, mut rest) = cell.split_first_chunk_mut().expect(LAID_OUT);
        let total = Compensated::load(sum).add(-value);
        total.store(sum);
        let mut is_right = total.is_finite();
        if self.squares {
            let (squares, count) = rest.split_first_chunk_mut().expect(LAID_OUT);
            let (high, low) = square(value);
            let total = Compensated::load(squares).add_exact(-high, -low);
            total.store(squares);
            is_right &= total.is_finite();
            rest = count;
        }
        set_count(rest, left);
        is_right
    }

    /// Forgets every value.
    pub(crate) fn clear(&self, fixed: &mut [u32]) {
        fixed[self.at..self.at + self.lanes()].fill(0);
    }

    /// The moments as they stand.
    #[inline]
    pub(crate) fn load(&self, fixed: &[u32]) -> Moments {
        let cell = &fixed[self.at..self.at + self.lanes()];
        let (sum, rest) = cell.split_first_chunk().expect(LAID_OUT);
        let sum = Compensated::load(sum);
        if self.squares {
            let (squares, rest) = rest.split_first_chunk().expect(LAID_OUT);
            Moments {
                count: count(rest),
                sum,
                squares: Compensated::load(squares),
            }
        } else {
            Moments {
                count: count(rest),
                sum,
                squares: Compensated::default(),
            }
        }
    }
}

#[inline]
fn count(lanes: &[u32]) -> u64 {
    if let [count] = lanes {
        u64::from(*count)
    } else {
        lanes::get_u64(lanes, 0)
    }
}

#[inline]
fn set_count(lanes: &mut [u32], count: u64) {
    if let [lane] = lanes {
        *lane = count as u32;
    } else {
        lanes::set_u64(lanes, 0, count);
    }
}
