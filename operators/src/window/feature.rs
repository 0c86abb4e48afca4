//! Declared features, before they are compiled: columns and windows are plain numbers.

use std::fmt;

use super::formula::Formula;

/// A declared feature; columns and windows are numbers given out by the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// A value of the event itself.
    Value(usize),
    /// The latest value before the event.
    Last(usize),
    /// Seconds since the latest event before for which a predicate held.
    SinceLast(usize),
    /// A statistic over a bounded window, or over everything, the event included.
    Over(Option<usize>, Statistic),
    /// The same before the event.
    Before(Option<usize>, Statistic),
    /// An answer of an aggregate in a slot.
    Slot(SlotAnswer),
    /// Made of the values of other features.
    Made(Formula),
    /// Whether a bounded window lacks events that a limit has dropped: put in by the plan.
    Truncated(usize),
}

/// One answer of an aggregate over a bounded window, or over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotAnswer {
    pub(crate) slot: usize,
    pub(crate) window: Option<usize>,
    pub(crate) column: Column,
    /// Which of the aggregate's answers.
    pub(crate) answer: usize,
}

/// What is asked of a window, and of which column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Count,
    CountIf(usize),
    Share(usize),
    Sum(usize),
    Mean(usize),
    Variance(usize),
    Std(usize),
    Min(usize),
    Max(usize),
    Distinct(usize),
}

/// A column of one of the three kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Value(usize),
    Id(usize),
    Flag(usize),
}

impl Column {
    fn renumbered(self, order: &ColumnOrder) -> Self {
        match self {
            Self::Value(number) => Self::Value(place(&order.values, number)),
            Self::Id(number) => Self::Id(place(&order.ids, number)),
            Self::Flag(number) => Self::Flag(place(&order.flags, number)),
        }
    }

    /// Its number among the columns of its kind.
    pub(crate) fn number(self) -> usize {
        match self {
            Self::Value(number) | Self::Id(number) | Self::Flag(number) => number,
        }
    }
}

/// The columns of each kind in an order, as numbers in another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnOrder {
    pub(crate) values: Vec<usize>,
    pub(crate) ids: Vec<usize>,
    pub(crate) flags: Vec<usize>,
}

impl ColumnOrder {
    /// The columns of some features: those of which a bounded window is asked something first, then
    /// those on which other state depends, then those of values; in each part by first use. So
    /// the place of state does not depend on features that have none.
    pub(crate) fn of(features: &[Feature]) -> Self {
        let mut order = Self::default();
        let mut by_rank: Vec<&Feature> = features.iter().collect();
        by_rank.sort_by_key(|feature| feature.rank());
        for column in by_rank.into_iter().filter_map(|feature| feature.column()) {
            let (numbers, number) = match column {
                Column::Value(number) => (&mut order.values, number),
                Column::Id(number) => (&mut order.ids, number),
                Column::Flag(number) => (&mut order.flags, number),
            };
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        order
    }
}

impl Statistic {
    /// The column it is about.
    fn column(self) -> Option<Column> {
        Some(match self {
            Self::Count => return None,
            Self::CountIf(flag) | Self::Share(flag) => Column::Flag(flag),
            Self::Distinct(id) => Column::Id(id),
            Self::Sum(value)
            | Self::Mean(value)
            | Self::Variance(value)
            | Self::Std(value)
            | Self::Min(value)
            | Self::Max(value) => Column::Value(value),
        })
    }

    fn renumbered(self, order: &ColumnOrder) -> Self {
        let value = |number| place(&order.values, number);
        let flag = |number| place(&order.flags, number);
        match self {
            Self::Count => Self::Count,
            Self::CountIf(number) => Self::CountIf(flag(number)),
            Self::Share(number) => Self::Share(flag(number)),
            Self::Sum(number) => Self::Sum(value(number)),
            Self::Mean(number) => Self::Mean(value(number)),
            Self::Variance(number) => Self::Variance(value(number)),
            Self::Std(number) => Self::Std(value(number)),
            Self::Min(number) => Self::Min(value(number)),
            Self::Max(number) => Self::Max(value(number)),
            Self::Distinct(number) => Self::Distinct(place(&order.ids, number)),
        }
    }
}

impl fmt::Display for Statistic {
    /// As part of a layout: the statistic and the number of its column. Never changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::CountIf(column) => write!(f, "count_if({column})"),
            Self::Share(column) => write!(f, "share({column})"),
            Self::Sum(column) => write!(f, "sum({column})"),
            Self::Mean(column) => write!(f, "mean({column})"),
            Self::Variance(column) => write!(f, "variance({column})"),
            Self::Std(column) => write!(f, "std({column})"),
            Self::Min(column) => write!(f, "min({column})"),
            Self::Max(column) => write!(f, "max({column})"),
            Self::Distinct(column) => write!(f, "distinct({column})"),
        }
    }
}

impl Feature {
    /// The same feature over columns in another order.
    pub(crate) fn renumbered(self, order: &ColumnOrder) -> Self {
        match self {
            Self::Value(number) => Self::Value(place(&order.values, number)),
            Self::Last(number) => Self::Last(place(&order.values, number)),
            Self::SinceLast(number) => Self::SinceLast(place(&order.flags, number)),
            Self::Over(window, statistic) => Self::Over(window, statistic.renumbered(order)),
            Self::Before(window, statistic) => Self::Before(window, statistic.renumbered(order)),
            Self::Slot(slot) => Self::Slot(SlotAnswer {
                column: slot.column.renumbered(order),
                ..slot
            }),
            Self::Made(Formula::IsNew { after, before, id }) => Self::Made(Formula::IsNew {
                after,
                before,
                id: place(&order.ids, id),
            }),
            Self::Made(formula) => Self::Made(formula),
            Self::Truncated(window) => Self::Truncated(window),
        }
    }

    /// The window it is over, if that is a bounded one.
    pub(crate) fn window(&mut self) -> Option<&mut usize> {
        match self {
            Self::Over(window, _) | Self::Before(window, _) => window.as_mut(),
            Self::Slot(slot) => slot.window.as_mut(),
            Self::Truncated(window) => Some(window),
            _ => None,
        }
    }

    /// Whether it counts or adds up what is in its window.
    pub(crate) fn grows_with_its_window(self) -> bool {
        match self {
            Self::Over(_, statistic) | Self::Before(_, statistic) => matches!(
                statistic,
                Statistic::Count | Statistic::CountIf(_) | Statistic::Sum(_)
            ),
            _ => false,
        }
    }

    /// What it asks of this window (`None`: the unbounded one), if anything that is not in a slot.
    pub(crate) fn statistic_over(self, window: Option<usize>) -> Option<Statistic> {
        match self {
            Self::Over(of, statistic) | Self::Before(of, statistic) if of == window => {
                Some(statistic)
            }
            _ => None,
        }
    }

    /// What it asks of a bounded window, if anything that is not in a slot.
    pub(crate) fn windowed_statistic(self) -> Option<Statistic> {
        match self {
            Self::Over(Some(_), statistic) | Self::Before(Some(_), statistic) => Some(statistic),
            _ => None,
        }
    }

    /// The column it is about.
    fn column(self) -> Option<Column> {
        match self {
            Self::Value(number) | Self::Last(number) => Some(Column::Value(number)),
            Self::SinceLast(number) => Some(Column::Flag(number)),
            Self::Over(_, statistic) | Self::Before(_, statistic) => statistic.column(),
            Self::Slot(slot) => Some(slot.column),
            Self::Made(_) | Self::Truncated(_) => None,
        }
    }

    /// The column of which a bounded window is asked something.
    pub(crate) fn logged_column(self) -> Option<Column> {
        if self.rank() == 0 {
            self.column()
        } else {
            None
        }
    }

    /// Whether it is of the event or of a bounded window.
    pub(crate) fn is_bounded(self) -> bool {
        self.rank() != 1
    }

    /// Whether it asks of a bounded window what tiles cannot hold.
    pub(crate) fn is_beyond_tiles(self) -> bool {
        match self {
            Self::Slot(slot) => slot.window.is_some(),
            feature => matches!(feature.windowed_statistic(), Some(Statistic::Distinct(_))),
        }
    }

    /// 0 for features that need a log, 1 for those that need other state, 2 for those without.
    fn rank(self) -> u8 {
        match self {
            Self::Over(Some(_), _) | Self::Before(Some(_), _) => 0,
            Self::Slot(slot) if slot.window.is_some() => 0,
            Self::Value(_) | Self::Made(_) | Self::Truncated(_) => 2,
            _ => 1,
        }
    }
}

fn place(order: &[usize], number: usize) -> usize {
    order
        .iter()
        .position(|known| *known == number)
        .expect("invariant: every column has a place")
}
