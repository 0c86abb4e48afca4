//! Count of present values, their sum and their sum of squares: what mean, variance and standard
//! deviation are finished from.

use super::compensated::{Compensated, square};

/// The running moments of one column over one window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    /// Values that are present.
    pub(crate) count: u64,
    /// Their sum, gathered.
    pub(crate) sum: Compensated,
    /// The sum of their squares, gathered; zero where it is not kept up.
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

/// Lanes of a cell without squares and with them, the low lane of the count included.
const PLAIN: usize = Compensated::LANES + 1;
const SQUARED: usize = 2 * Compensated::LANES + 1;

/// A cell has the lanes that its own description says.
const LAID_OUT: &str = "invariant: a cell's lanes hold its totals";

impl MomentsCell {
    /// Lanes that the cell takes.
    pub(crate) fn lanes(&self) -> usize {
        let counted_low = if self.squares { SQUARED } else { PLAIN };
        counted_low - 1 + self.count_lanes
    }

    /// Takes a value in.
    #[inline]
    pub(crate) fn add(&self, fixed: &mut [u32], value: f64) {
        self.add_squared(fixed, value, square(value));
    }

    /// Takes a value in whose [`square`] is known.
    #[inline(always)]
    pub(crate) fn add_squared(&self, fixed: &mut [u32], value: f64, squared: (f64, f64)) {
        let carried = if self.squares {
            let cell: &mut [u32; SQUARED] = lanes_mut(fixed, self.at);
            gather(cell, 0, (value, 0.0));
            gather(cell, Compensated::LANES, squared);
            count_up(&mut cell[SQUARED - 1])
        } else {
            let cell: &mut [u32; PLAIN] = lanes_mut(fixed, self.at);
            gather(cell, 0, (value, 0.0));
            count_up(&mut cell[PLAIN - 1])
        };
        if carried {
            fixed[self.at + self.lanes() - 1] += 1;
        }
    }

    /// Lets values go that were taken into a bounded window before. Returns whether the totals are
    /// right afterwards: they are not when they had overflowed.
    #[inline(always)]
    pub(crate) fn remove(&self, fixed: &mut [u32], values: impl Iterator<Item = f64>) -> bool {
        if self.squares {
            let cell: &mut [u32; SQUARED] = lanes_mut(fixed, self.at);
            for value in values {
                let (high, low) = square(value);
                gather(cell, 0, (-value, 0.0));
                gather(cell, Compensated::LANES, (-high, -low));
                cell[SQUARED - 1] -= 1;
            }
            if cell[SQUARED - 1] == 0 {
                *cell = [0; SQUARED];
            }
            total(cell, 0).is_finite() && total(cell, Compensated::LANES).is_finite()
        } else {
            let cell: &mut [u32; PLAIN] = lanes_mut(fixed, self.at);
            for value in values {
                gather(cell, 0, (-value, 0.0));
                cell[PLAIN - 1] -= 1;
            }
            if cell[PLAIN - 1] == 0 {
                *cell = [0; PLAIN];
            }
            total(cell, 0).is_finite()
        }
    }

    /// Forgets every value.
    pub(crate) fn clear(&self, fixed: &mut [u32]) {
        fixed[self.at..self.at + self.lanes()].fill(0);
    }

    /// The moments as they stand.
    #[inline(always)]
    pub(crate) fn load(&self, fixed: &[u32]) -> Moments {
        let mut moments = if self.squares {
            let cell: &[u32; SQUARED] = fixed[self.at..].first_chunk().expect(LAID_OUT);
            Moments {
                count: u64::from(cell[SQUARED - 1]),
                sum: total(cell, 0),
                squares: total(cell, Compensated::LANES),
            }
        } else {
            let cell: &[u32; PLAIN] = fixed[self.at..].first_chunk().expect(LAID_OUT);
            Moments {
                count: u64::from(cell[PLAIN - 1]),
                sum: total(cell, 0),
                squares: Compensated::default(),
            }
        };
        if self.count_lanes > 1 {
            let high = fixed[self.at + self.lanes() - 1];
            moments.count |= u64::from(high) << 32;
        }
        moments
    }
}

#[inline(always)]
fn lanes_mut<const LANES: usize>(fixed: &mut [u32], at: usize) -> &mut [u32; LANES] {
    fixed[at..].first_chunk_mut().expect(LAID_OUT)
}

#[inline(always)]
fn total<const LANES: usize>(cell: &[u32; LANES], at: usize) -> Compensated {
    Compensated::load(cell[at..].first_chunk().expect(LAID_OUT))
}

#[inline(always)]
fn gather<const LANES: usize>(cell: &mut [u32; LANES], at: usize, (high, low): (f64, f64)) {
    let to = cell[at..].first_chunk_mut().expect(LAID_OUT);
    Compensated::load(to).gather(high, low).store(to);
}

/// Returns whether there is one to carry.
#[inline(always)]
fn count_up(lane: &mut u32) -> bool {
    let (count, carried) = lane.overflowing_add(1);
    *lane = count;
    carried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_count_goes_beyond_32_bits() {
        for squares in [false, true] {
            let cell = MomentsCell {
                at: 1,
                count_lanes: 2,
                squares,
            };
            let mut fixed = vec![0; 1 + cell.lanes() + 1];
            fixed[cell.lanes() - 1] = u32::MAX;
            cell.add(&mut fixed, 2.0);
            let moments = cell.load(&fixed);
            assert_eq!((moments.count, moments.sum.value()), (1 << 32, 2.0));
            assert_eq!(moments.squares.value(), if squares { 4.0 } else { 0.0 });
            assert_eq!((fixed[0], fixed[fixed.len() - 1]), (0, 0));
        }
    }
}
