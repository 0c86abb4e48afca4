//! Watermarks: how far event time is known to be complete, and how several combine into one.

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

/// A promise that no more records earlier than `time` will come, unless they are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The event time before which everything has come; [`EventTime::MAX`] at the end of input.
    pub time: EventTime,
    /// Whether the promise is made for want of data only: an idle input holds nobody back while
    /// another one is active.
    pub idle: bool,
}

impl Watermark {
    /// Nothing is known yet.
    pub const START: Self = Self {
        time: EventTime::MIN,
        idle: false,
    };
    /// The input has ended.
    pub const END: Self = Self {
        time: EventTime::MAX,
        idle: false,
    };

    /// A promise by an input that has data.
    pub const fn active(time: EventTime) -> Self {
        Self { time, idle: false }
    }

    /// Whether the input has ended.
    pub fn is_end(self) -> bool {
        self.time == EventTime::MAX
    }

    /// Whether records at `time` are complete, so that they may be put in order and processed.
    pub fn has_passed(self, time: EventTime) -> bool {
        time < self.time || self.is_end()
    }
}

/// The watermark of a step with several inputs: the least of the active ones; when none is active, of
/// the idle ones that have ever had data; the end when all have ended. It never goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WatermarkMerge {
    inputs: Vec<Watermark>,
    merged: Watermark,
}

impl WatermarkMerge {
    pub(crate) fn new(inputs: usize) -> Self {
        Self::beside(inputs, 0)
    }

    /// With further inputs, after the others, that tell of no watermark and are never waited for.
    pub(crate) fn beside(inputs: usize, silent: usize) -> Self {
        let mut all = vec![Watermark::START; inputs];
        all.resize(inputs + silent, Watermark::END);
        let mut merge = Self {
            inputs: all,
            merged: Watermark::START,
        };
        merge.merged = merge.combine();
        merge
    }

    /// The same after a restart with so many inputs. Where their number has changed, each begins
    /// with what all of the old ones had promised. One that had ended may have more to say now.
    pub(crate) fn resume(self, inputs: usize) -> Self {
        let merged = reopened(self.merged);
        let inputs = if self.inputs.len() == inputs {
            self.inputs.into_iter().map(reopened).collect()
        } else {
            vec![merged; inputs]
        };
        Self { inputs, merged }
    }

    /// The same for a step whose work several workers have shared, each with inputs of its own, and
    /// others share now. What one of them has promised stands; where their promises are `parts` of
    /// one, which is made of all of them, the least of them does.
    pub(crate) fn unite(of_workers: &[Self], inputs: usize, parts: bool) -> Self {
        let all = of_workers.iter().map(|merge| merge.merged);
        let all = all.filter(|merged| !merged.is_end());
        let united = if parts {
            let merge = Self {
                inputs: all.collect(),
                merged: Watermark::START,
            };
            reopened(merge.combine())
        } else {
            let most = all.max_by_key(|merged| merged.time);
            most.map_or(Watermark::START, reopened)
        };
        Self {
            inputs: vec![united; inputs],
            merged: united,
        }
    }

    /// Takes in the watermark of one input and returns the merged one.
    pub(crate) fn update(&mut self, input: usize, watermark: Watermark) -> Watermark {
        if self.inputs[input] != watermark {
            self.inputs[input] = watermark;
            let next = self.combine();
            self.merged = Watermark {
                time: next.time.max(self.merged.time),
                idle: next.idle,
            };
        }
        self.merged
    }

    /// Adds an input of which nothing is known yet; what has been promised stands.
    pub(crate) fn add(&mut self) {
        self.inputs.push(Watermark::START);
        self.merged.idle = self.combine().idle;
    }

    pub(crate) fn current(&self) -> Watermark {
        self.merged
    }

    fn combine(&self) -> Watermark {
        let open = self.inputs.iter().filter(|w| !w.is_end());
        let active = open.clone().filter(|w| !w.idle).map(|w| w.time).min();
        let empty = |time: &EventTime| *time == EventTime::MIN;
        let idle = open.map(|w| w.time).min_by_key(|time| (empty(time), *time));
        match (active, idle) {
            (Some(time), _) => Watermark { time, idle: false },
            (None, Some(time)) => Watermark { time, idle: true },
            (None, None) => Watermark::END,
        }
    }
}

/// What an input has promised that begins anew. One that had ended may have more to say; one that was idle has
/// it to say again, as what waited in the step before it comes first.
fn reopened(watermark: Watermark) -> Watermark {
    match watermark.is_end() {
        true => Watermark::START,
        false => Watermark::active(watermark.time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Watermark {
        Watermark::active(EventTime::from_seconds(seconds))
    }

    fn idle(seconds: i64) -> Watermark {
        Watermark {
            idle: true,
            ..at(seconds)
        }
    }

    fn check(updates: &[(usize, Watermark)], expected: Watermark) {
        let mut merge = WatermarkMerge::new(2);
        for &(input, watermark) in updates {
            merge.update(input, watermark);
        }
        assert_eq!(merge.current(), expected);
    }

    #[test]
    fn the_least_active_input_decides() {
        check(&[(0, at(5))], Watermark::START);
        check(&[(0, at(5)), (1, at(3))], at(3));
    }

    #[test]
    fn an_idle_input_is_left_out_until_all_are_idle() {
        check(&[(0, at(5)), (1, idle(1))], at(5));
        check(&[(0, idle(5)), (1, idle(7))], idle(5));
    }

    #[test]
    fn an_idle_input_that_never_had_data_holds_no_idle_one_back() {
        let empty = Watermark {
            idle: true,
            ..Watermark::START
        };
        check(&[(0, idle(5)), (1, empty)], idle(5));
        check(&[(0, empty), (1, empty)], empty);
        check(&[(0, idle(5))], Watermark::START);
    }

    #[test]
    fn an_ended_input_is_left_out_but_does_not_end_an_idle_one() {
        check(&[(0, at(5)), (1, Watermark::END)], at(5));
        check(&[(0, idle(5)), (1, Watermark::END)], idle(5));
        check(&[(0, Watermark::END), (1, Watermark::END)], Watermark::END);
    }

    #[test]
    fn silent_inputs_are_not_waited_for() {
        let mut merge = WatermarkMerge::beside(1, 2);
        assert_eq!(merge.current(), Watermark::START);
        assert_eq!(merge.update(0, at(5)), at(5));
        assert_eq!(merge.update(2, Watermark::END), at(5));
        assert_eq!(WatermarkMerge::beside(0, 1).current(), Watermark::END);
    }

    #[test]
    fn after_a_restart_with_other_inputs_it_goes_on_from_where_it_was() {
        let mut merge = WatermarkMerge::new(2);
        merge.update(0, at(5));
        merge.update(1, at(7));
        assert_eq!(merge.clone().resume(2), merge);
        let mut resumed = merge.resume(3);
        assert_eq!(resumed.update(0, at(6)), at(5));
        assert_eq!(resumed.update(1, at(8)), at(5));
        assert_eq!(resumed.update(2, at(9)), at(6));
    }

    #[test]
    fn after_its_end_it_goes_on_with_what_is_said_after_a_restart() {
        let mut merge = WatermarkMerge::new(2);
        merge.update(0, Watermark::END);
        merge.update(1, at(5));
        let mut resumed = merge.clone().resume(2);
        assert_eq!(resumed.current(), at(5));
        assert_eq!(resumed.update(1, at(8)), at(5));
        assert_eq!(resumed.update(0, at(7)), at(7));
        merge.update(1, Watermark::END);
        for inputs in [2, 3] {
            let resumed = merge.clone().resume(inputs);
            assert_eq!(resumed, WatermarkMerge::new(inputs));
        }
        for parts in [true, false] {
            let united = WatermarkMerge::unite(&[merge.clone(), merge.clone()], 1, parts);
            assert_eq!(united, WatermarkMerge::new(1));
        }
    }

    #[test]
    fn what_was_idle_is_waited_for_after_a_restart_until_it_says_so_again() {
        let mut merge = WatermarkMerge::new(2);
        merge.update(1, idle(5));
        assert_eq!(merge.update(0, at(9)), at(9));
        let mut resumed = merge.resume(2);
        assert_eq!(resumed.update(0, at(20)), at(9));
        assert_eq!(resumed.update(1, idle(6)), at(20));
        let mut all_idle = WatermarkMerge::new(1);
        all_idle.update(0, idle(5));
        for parts in [true, false] {
            let mut united = WatermarkMerge::unite(std::slice::from_ref(&all_idle), 2, parts);
            assert_eq!(united.update(0, at(9)), at(5));
            assert_eq!(united.update(1, idle(6)), at(9));
        }
    }

    #[test]
    fn an_input_that_joins_holds_the_others_but_takes_nothing_back() {
        let mut merge = WatermarkMerge::new(1);
        merge.update(0, at(5));
        merge.add();
        assert_eq!(merge.current(), at(5));
        assert_eq!(merge.update(0, at(9)), at(5));
        assert_eq!(merge.update(1, at(3)), at(5));
        assert_eq!(merge.update(1, at(7)), at(7));
        assert_eq!(merge.update(1, Watermark::END), at(9));
    }

    #[test]
    fn it_never_goes_back() {
        check(
            &[(0, at(5)), (1, at(9)), (0, idle(5)), (0, at(6)), (1, at(9))],
            at(9),
        );
    }
}
