//! From declared features to a [`Program`]: shares columns, windows and running values between
//! features, and gives each its place.

use super::feature::{Column, Feature, Statistic};
use super::more::{More, Slot, SlotSpec};
use super::program::{
    DistinctCell, Ever, ExtremeCell, FlagMarks, IdMarks, MomentsRead, Output, Program, Reads, Span,
    Stack, Trail, TrailSource,
};
use super::state::HEADER;
use crate::aggregate::extreme::Direction;
use crate::aggregate::moments::MomentsCell;
use crate::aggregate::share::FlagCell;
use crate::aggregate::trail::TrailCell;

/// Compiles features over windows of the given lengths (microseconds), of which the first `visible`
/// make the row. Columns are numbered in [`ColumnOrder`](super::feature::ColumnOrder).
pub(crate) fn compile(
    (features, visible): (&[Feature], usize),
    lengths: &[i64],
    lateness: i64,
    slots: Vec<SlotSpec>,
) -> Program {
    let mut compiler = Compiler {
        features,
        program: Program {
            lateness,
            longest: lengths.iter().copied().max().unwrap_or(0),
            counts_events: features
                .iter()
                .any(|f| f.windowed_statistic() == Some(Statistic::Count)),
            ..Program::default()
        },
        lanes: HEADER,
        bitmaps: 0,
    };
    let logged = |wanted: fn(Column) -> Option<usize>| {
        let numbers = features
            .iter()
            .filter_map(|f| f.logged_column().and_then(wanted));
        numbers.max().map_or(0, |last| last + 1)
    };
    let values = logged(|column| {
        if let Column::Value(n) = column {
            Some(n)
        } else {
            None
        }
    });
    let ids = logged(|column| {
        if let Column::Id(n) = column {
            Some(n)
        } else {
            None
        }
    });
    let flags = logged(|column| {
        if let Column::Flag(n) = column {
            Some(n)
        } else {
            None
        }
    });
    compiler.marks(ids, flags);
    for (window, length) in lengths.iter().enumerate() {
        compiler.span(window, *length);
    }
    let longest = compiler.program.spans.iter().max_by_key(|span| span.length);
    compiler.program.longest_cursor = longest.map_or(0, |span| span.cursor);
    compiler.ever();
    compiler.program.missing = vec![f64::NAN; features.len()];
    compiler.program.more = compiler.more(visible, slots);
    for (place, feature) in features.iter().enumerate() {
        compiler.read(place, *feature);
    }
    compiler.finish(values, ids)
}

/// Gives out lanes and bitmaps while the program grows.
struct Compiler<'a> {
    features: &'a [Feature],
    program: Program,
    lanes: usize,
    bitmaps: usize,
}

impl Compiler<'_> {
    fn lanes(&mut self, count: usize) -> usize {
        self.lanes += count;
        self.lanes - count
    }

    fn bitmap(&mut self) -> usize {
        self.bitmaps += 1;
        self.bitmaps - 1
    }

    /// What is asked of one window (`None`: the unbounded one).
    fn statistics(&self, window: Option<usize>) -> Vec<Statistic> {
        let features = self.features.iter();
        features.filter_map(|f| f.statistic_over(window)).collect()
    }

    fn marks(&mut self, ids: usize, flags: usize) {
        for _ in 0..ids {
            let marks = IdMarks {
                present: self.bitmap(),
                last: self.bitmap(),
                counts: Vec::new(),
            };
            self.program.id_marks.push(marks);
        }
        for flag in 0..flags {
            let shared = self.features.iter().any(|feature| match feature {
                Feature::Slot(slot) => slot.window.is_some() && slot.column == Column::Flag(flag),
                feature => feature.windowed_statistic() == Some(Statistic::Share(flag)),
            });
            let holds = self.bitmap();
            let known = shared.then(|| self.bitmap());
            self.program.flag_marks.push(FlagMarks { holds, known });
        }
    }

    fn span(&mut self, window: usize, length: i64) {
        let statistics = self.statistics(Some(window));
        let mut span = Span {
            length,
            cursor: self.lanes(1),
            ..Span::default()
        };
        span.moments = self.moments(&statistics, 1);
        span.flags = self.flags(&statistics, 1);
        for statistic in statistics {
            match statistic {
                Statistic::Distinct(id) if span.distinct(id).is_none() => {
                    let at = self.lanes(1);
                    span.distincts.push((id, at));
                    let cell = DistinctCell {
                        span: window,
                        cursor: span.cursor,
                        at,
                    };
                    self.program.id_marks[id].counts.push(cell);
                }
                Statistic::Min(column) => self.extreme(&mut span, column, Direction::Min),
                Statistic::Max(column) => self.extreme(&mut span, column, Direction::Max),
                _ => {}
            }
        }
        self.program.spans.push(span);
    }

    fn extreme(&mut self, span: &mut Span, column: usize, direction: Direction) {
        let stack = self.program.stack(column, direction).unwrap_or_else(|| {
            let bitmap = self.bitmap();
            self.program.stacks.push(Stack {
                column,
                direction,
                bitmap,
                extremes: Vec::new(),
            });
            self.program.stacks.len() - 1
        });
        if span.extreme(stack).is_none() {
            let at = self.lanes(1);
            span.extremes.push(ExtremeCell { stack, at });
            self.program.stacks[stack].extremes.push(at);
        }
    }

    fn moments(
        &mut self,
        statistics: &[Statistic],
        count_lanes: usize,
    ) -> Vec<(usize, MomentsCell)> {
        let mut cells: Vec<(usize, MomentsCell)> = Vec::new();
        for statistic in statistics {
            let (Statistic::Sum(column)
            | Statistic::Mean(column)
            | Statistic::Variance(column)
            | Statistic::Std(column)) = *statistic
            else {
                continue;
            };
            if find(&cells, column).is_none() {
                let squares = statistics.contains(&Statistic::Variance(column))
                    || statistics.contains(&Statistic::Std(column));
                let mut cell = MomentsCell {
                    at: 0,
                    count_lanes,
                    squares,
                };
                cell.at = self.lanes(cell.lanes());
                cells.push((column, cell));
            }
        }
        cells
    }

    fn flags(&mut self, statistics: &[Statistic], count_lanes: usize) -> Vec<(usize, FlagCell)> {
        let mut cells: Vec<(usize, FlagCell)> = Vec::new();
        for statistic in statistics {
            let (Statistic::CountIf(flag) | Statistic::Share(flag)) = *statistic else {
                continue;
            };
            if find(&cells, flag).is_none() {
                let known = statistics.contains(&Statistic::Share(flag));
                let mut cell = FlagCell {
                    at: 0,
                    count_lanes,
                    known,
                };
                cell.at = self.lanes(cell.lanes());
                cells.push((flag, cell));
            }
        }
        cells
    }

    fn ever(&mut self) {
        let statistics = self.statistics(None);
        let mut ever = Ever {
            count: statistics
                .contains(&Statistic::Count)
                .then(|| self.lanes(2)),
            moments: self.moments(&statistics, 2),
            flags: self.flags(&statistics, 2),
            ..Ever::default()
        };
        for statistic in statistics {
            let (column, direction) = match statistic {
                Statistic::Distinct(id) => {
                    if !ever.distincts.contains(&id) {
                        ever.distincts.push(id);
                    }
                    continue;
                }
                Statistic::Min(column) => (column, Direction::Min),
                Statistic::Max(column) => (column, Direction::Max),
                _ => continue,
            };
            if ever.extreme(column, direction).is_none() {
                ever.extremes.push((column, direction, self.lanes(2)));
            }
        }
        self.program.keeps_ever = !ever.is_empty();
        self.program.ever = ever;
    }

    fn trail(&mut self, source: TrailSource) -> usize {
        let trails = &self.program.trails;
        trails
            .iter()
            .position(|trail| trail.source == source)
            .unwrap_or_else(|| {
                let cell = TrailCell {
                    at: self.lanes(TrailCell::LANES),
                };
                self.program.trails.push(Trail { cell, source });
                self.program.trails.len() - 1
            })
    }

    /// Notes how a feature is read, and when.
    fn read(&mut self, place: usize, feature: Feature) {
        let (read, before) = match feature {
            Feature::Slot(_) | Feature::Made(_) | Feature::Truncated(_) => return,
            Feature::Before(window, statistic) => (Feature::Over(window, statistic), true),
            feature => (feature, false),
        };
        if !self.read_moments(place, read, before) && !self.read_span(place, read, before) {
            let output = self.output(read);
            self.reads(before).outputs.push((place, output));
        }
    }

    /// What is read before the event is taken in, or after.
    fn reads(&mut self, before: bool) -> &mut Reads {
        if before {
            &mut self.program.more.as_mut().expect(MORE).before
        } else {
            &mut self.program.after
        }
    }

    /// Reads a feature from moments, if it is one that is.
    fn read_moments(&mut self, place: usize, feature: Feature, before: bool) -> bool {
        let Feature::Over(window, statistic) = feature else {
            return false;
        };
        let (column, place_of): (_, fn(&mut MomentsRead) -> &mut Option<u32>) = match statistic {
            Statistic::Sum(column) => (column, |read| &mut read.sum),
            Statistic::Mean(column) => (column, |read| &mut read.mean),
            Statistic::Variance(column) => (column, |read| &mut read.variance),
            Statistic::Std(column) => (column, |read| &mut read.std),
            _ => return false,
        };
        let program = &self.program;
        let cells = window.map_or(&program.ever.moments, |window| {
            &program.spans[window].moments
        });
        let cell = find(cells, column).expect(SHARED);
        let moments = &mut self.reads(before).moments;
        // A statistic that is asked for twice is read twice.
        let known = moments
            .iter_mut()
            .position(|known| known.cell.at == cell.at && place_of(known).is_none());
        let known = known.unwrap_or_else(|| {
            moments.push(MomentsRead::of(cell));
            moments.len() - 1
        });
        let place = u32::try_from(place).expect("invariant: as many features");
        *place_of(&mut moments[known]) = Some(place);
        true
    }

    /// Reads a feature from the other running values of a bounded window, if it is one that is.
    fn read_span(&mut self, place: usize, feature: Feature, before: bool) -> bool {
        let Feature::Over(Some(window), statistic) = feature else {
            return false;
        };
        let span = &self.program.spans[window];
        let extreme = |column, direction| {
            let stack = self.program.stack(column, direction).expect(SHARED);
            (place, span.extreme(stack).expect(SHARED).at, column)
        };
        match statistic {
            Statistic::Count => {
                let count = (place, span.cursor);
                self.reads(before).counts.push(count);
            }
            Statistic::Distinct(id) => {
                let distinct = (place, span.distinct(id).expect(SHARED));
                self.reads(before).distincts.push(distinct);
            }
            Statistic::Min(column) => {
                let extreme = extreme(column, Direction::Min);
                self.reads(before).extremes.push(extreme);
            }
            Statistic::Max(column) => {
                let extreme = extreme(column, Direction::Max);
                self.reads(before).extremes.push(extreme);
            }
            _ => return false,
        }
        true
    }

    fn output(&mut self, feature: Feature) -> Output {
        match feature {
            Feature::Value(column) => Output::Value(column),
            Feature::Last(column) => Output::Last(self.trail(TrailSource::Value(column))),
            Feature::SinceLast(flag) => Output::Since(self.trail(TrailSource::Flag(flag))),
            Feature::Over(Some(window), statistic) => self.span_output(window, statistic),
            Feature::Over(None, statistic) => self.ever_output(statistic),
            other => unreachable!("invariant: {other:?} is not an output"),
        }
    }

    /// What only some plans have, if this is one.
    fn more(&self, visible: usize, specs: Vec<SlotSpec>) -> Option<Box<More>> {
        let mut more = More {
            visible,
            ..More::default()
        };
        let mut specs: Vec<_> = specs.into_iter().map(Some).collect();
        let mut reads_before = false;
        for (place, feature) in self.features.iter().enumerate() {
            match *feature {
                Feature::Before(..) => reads_before = true,
                Feature::Made(formula) => more.made.push((place, formula)),
                // An aggregate's answers lie side by side.
                Feature::Slot(slot) if slot.answer == 0 => {
                    let spec = specs[slot.slot].take().expect(SHARED);
                    more.slots.push(Slot {
                        span: slot.window,
                        column: slot.column.number(),
                        answers: place..place + spec.answers,
                        excluding: spec.excluding,
                        aggregate: spec.aggregate,
                    });
                }
                _ => {}
            }
        }
        let any = reads_before || !more.made.is_empty() || !more.slots.is_empty();
        any.then(|| Box::new(more))
    }

    fn span_output(&self, window: usize, statistic: Statistic) -> Output {
        let span = &self.program.spans[window];
        match statistic {
            Statistic::CountIf(flag) => Output::Holding(find(&span.flags, flag).expect(SHARED)),
            Statistic::Share(flag) => Output::Share(find(&span.flags, flag).expect(SHARED)),
            other => unreachable!("invariant: {other:?} is read from a list of its own"),
        }
    }

    fn ever_output(&self, statistic: Statistic) -> Output {
        let ever = &self.program.ever;
        let extreme = |column, direction| Output::ExtremeEver {
            at: ever.extreme(column, direction).expect(SHARED),
        };
        match statistic {
            Statistic::Count => Output::CountEver {
                at: ever.count.expect(SHARED),
            },
            Statistic::CountIf(flag) => Output::Holding(find(&ever.flags, flag).expect(SHARED)),
            Statistic::Share(flag) => Output::Share(find(&ever.flags, flag).expect(SHARED)),
            Statistic::Min(column) => extreme(column, Direction::Min),
            Statistic::Max(column) => extreme(column, Direction::Max),
            Statistic::Distinct(id) => {
                let set = ever
                    .distincts
                    .iter()
                    .position(|known| *known == id)
                    .expect(SHARED);
                Output::DistinctEver { set }
            }
            other => unreachable!("invariant: {other:?} is read from moments"),
        }
    }

    fn finish(mut self, values: usize, ids: usize) -> Program {
        let program = &mut self.program;
        for span in &program.spans {
            program.entered_moments.extend_from_slice(&span.moments);
            program.entered_flags.extend_from_slice(&span.flags);
            program.pointers.push(span.cursor);
            let extremes = span.extremes.iter().map(|cell| cell.at);
            program.pointers.extend(extremes);
        }
        // What takes in the same value comes together.
        program.entered_moments.sort_by_key(|(column, _)| *column);
        let short = |n: usize| u16::try_from(n).expect("invariant: the builder limits columns");
        self.program.shape.fixed = u32::try_from(self.lanes).expect("invariant: as many features");
        self.program.shape.bitmaps = short(self.bitmaps);
        self.program.shape.values = short(values);
        self.program.shape.ids = short(ids);
        self.program
    }
}

/// Features that are read before the event are among the reasons to have more.
const MORE: &str = "invariant: features before the event are known of";

/// Every statistic found its running value a place before outputs are made.
const SHARED: &str = "invariant: every statistic has a running value";

/// The cell of a column among a window's.
fn find<C: Copy>(cells: &[(usize, C)], column: usize) -> Option<C> {
    cells
        .iter()
        .find(|cell| cell.0 == column)
        .map(|cell| cell.1)
}
