//! One bit per row of a log: marked rows are found by position, 32 rows at a time, and by way of a
//! summary (a bitmap of the lanes that are not zero) where the log is long.
//!
//! Positions count rows since the key's first, modulo 2^32; the row at a position lies in slot
//! `position & mask` of the ring. Bits of slots outside the log's rows mean nothing.

/// Slots from which on a bitmap has a summary: a power of two.
const SUMMARISED_SLOTS: u32 = 2_048;

/// Where one bitmap of a ring of `mask + 1` slots lies in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bitmap {
    /// The first lane.
    pub(crate) at: usize,
    /// Slots of the ring less one; the number of slots is a power of two.
    pub(crate) mask: u32,
}

impl Bitmap {
    /// Lanes of a bitmap over so many slots, its summary included.
    #[inline]
    pub(crate) fn lanes(slots: u32) -> usize {
        let (mut slots, mut lanes) = (slots, 0);
        while slots >= SUMMARISED_SLOTS {
            slots /= 32;
            lanes += slots as usize;
        }
        lanes + slots.div_ceil(32) as usize
    }

    /// Whether the row at `position` is marked.
    #[inline]
    pub(crate) fn get(self, block: &[u32], position: u32) -> bool {
        let slot = position & self.mask;
        block[self.at + (slot / 32) as usize] >> (slot % 32) & 1 == 1
    }

    /// Marks the row at `position`, or takes its mark away.
    #[inline]
    pub(crate) fn set(self, block: &mut [u32], position: u32, marked: bool) {
        let slot = position & self.mask;
        let lane = &mut block[self.at + (slot / 32) as usize];
        let former = *lane;
        let now = former & !(1 << (slot % 32)) | u32::from(marked) << (slot % 32);
        *lane = now;
        if let Some(summary) = self.summary()
            && (former == 0) != (now == 0)
        {
            summary.set(block, slot / 32, now != 0);
        }
    }

    /// The first marked row in `from..to`, or `to`.
    #[inline]
    pub(crate) fn next(self, block: &[u32], from: u32, to: u32) -> u32 {
        if from == to {
            return to;
        }
        // Most often it is near.
        let slot = from & self.mask;
        let lane = block[self.at + (slot / 32) as usize] >> (slot % 32);
        let unmarked = lane.trailing_zeros();
        if lane != 0 && unmarked < to.wrapping_sub(from) {
            return from.wrapping_add(unmarked);
        }
        from.wrapping_add(self.unmarked_from(block, from, to.wrapping_sub(from)))
    }

    /// The last marked row in `from..to`.
    #[inline]
    pub(crate) fn previous(self, block: &[u32], from: u32, to: u32) -> Option<u32> {
        let rows = to.wrapping_sub(from);
        if rows == 0 {
            return None;
        }
        // Most often it is near.
        let slot = to.wrapping_sub(1) & self.mask;
        let lane = block[self.at + (slot / 32) as usize] << (31 - slot % 32);
        let unmarked = lane.leading_zeros();
        if unmarked <= slot % 32 && unmarked < rows {
            return Some(to.wrapping_sub(unmarked + 1));
        }
        let unmarked = self.unmarked_before(block, to, rows);
        (unmarked < rows).then(|| to.wrapping_sub(unmarked + 1))
    }

    /// How many of `rows` rows from `from` on are unmarked before the first that is marked.
    #[inline]
    fn unmarked_from(self, block: &[u32], from: u32, rows: u32) -> u32 {
        let mut seen = 0;
        while seen < rows {
            let slot = from.wrapping_add(seen) & self.mask;
            let lane = block[self.at + (slot / 32) as usize] >> (slot % 32);
            let in_lane = (32 - slot % 32).min(self.mask - slot + 1);
            let span = in_lane.min(rows - seen);
            if lane.trailing_zeros() < span {
                return seen + lane.trailing_zeros();
            }
            seen += span;
            if let Some(summary) = self.summary()
                && rows - seen >= 32
            {
                let lane = (from.wrapping_add(seen) & self.mask) / 32;
                seen += 32 * summary.unmarked_from(block, lane, (rows - seen) / 32);
            }
        }
        rows
    }

    /// How many of `rows` rows before `to` are unmarked after the last that is marked.
    #[inline]
    fn unmarked_before(self, block: &[u32], to: u32, rows: u32) -> u32 {
        let mut seen = 0;
        while seen < rows {
            let slot = to.wrapping_sub(seen + 1) & self.mask;
            let bit = slot % 32;
            let lane = block[self.at + (slot / 32) as usize] << (31 - bit);
            let span = (bit + 1).min(rows - seen);
            if lane.leading_zeros() < span {
                return seen + lane.leading_zeros();
            }
            seen += span;
            if let Some(summary) = self.summary()
                && rows - seen >= 32
            {
                let lane = (to.wrapping_sub(seen) & self.mask) / 32;
                seen += 32 * summary.unmarked_before(block, lane, (rows - seen) / 32);
            }
        }
        rows
    }

    /// The bitmap of lanes that are not zero.
    #[inline]
    fn summary(self) -> Option<Self> {
        let lanes = (self.mask / 32) + 1;
        let summarised = self.mask >= SUMMARISED_SLOTS - 1;
        summarised.then(|| Self {
            at: self.at + lanes as usize,
            mask: lanes - 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_marks_both_ways_around_the_ring_and_the_end_of_positions() {
        for slots in [4u32, 8, 32, 128, 2_048, 1 << 17] {
            for start in [0, 3, slots - 1, u32::MAX - 1, u32::MAX - slots / 2] {
                for nth in [3, 700, 90_000] {
                    check(slots, start, |n| n % nth == 2);
                }
            }
        }
    }

    /// Marks the rows of a full ring that `marked` names, finds them, and unmarks them again.
    fn check(slots: u32, start: u32, marked: impl Fn(u32) -> bool) {
        let bitmap = Bitmap {
            at: 1,
            mask: slots - 1,
        };
        let mut block = vec![0; 1 + Bitmap::lanes(slots)];
        let end = start.wrapping_add(slots);
        let marks: Vec<u32> = (0..slots)
            .filter(|n| marked(*n))
            .map(|n| start.wrapping_add(n))
            .collect();
        for mark in &marks {
            bitmap.set(&mut block, *mark, true);
        }
        let mut found = Vec::new();
        let mut from = start;
        loop {
            let next = bitmap.next(&block, from, end);
            if next == end {
                break;
            }
            found.push(next);
            from = next.wrapping_add(1);
        }
        assert_eq!(found, marks, "{slots} slots from {start}");
        let mut to = end;
        while let Some(mark) = bitmap.previous(&block, start, to) {
            assert_eq!(found.pop(), Some(mark));
            assert!(bitmap.get(&block, mark));
            bitmap.set(&mut block, mark, false);
            to = mark;
        }
        assert!(found.is_empty() && block.iter().all(|lane| *lane == 0));
    }
}
