//! What an aggregate over a window may take of each event.

use super::extract::{Extracted, Extraction};
use crate::window::{Column, SlotInput};

/// The inputs of an [`Aggregate`](crate::aggregate::Aggregate) that can be a feature: values
/// (`f64`), ids (`u64`), answers of a predicate (`bool`), or nothing but the event (`()`, from a
/// closure such as `|_| ()`). An event for which the closure gives `None`, or a value that is not
/// finite, is left out.
pub trait AggregateInput: sealed::InColumn {}

impl AggregateInput for f64 {}
impl AggregateInput for u64 {}
impl AggregateInput for bool {}
impl AggregateInput for () {}

pub(super) mod sealed {
    use super::{Column, Extracted, Extraction, SlotInput};

    /// An input that is held in a column of some kind.
    pub trait InColumn: SlotInput {
        /// The column of what a closure takes from an event.
        fn column<T: 'static, E: Extracted<Self>>(
            columns: &mut Extraction<T>,
            of: impl Fn(&T) -> E + 'static,
        ) -> Column;
    }

    impl InColumn for f64 {
        fn column<T: 'static, E: Extracted<Self>>(
            columns: &mut Extraction<T>,
            of: impl Fn(&T) -> E + 'static,
        ) -> Column {
            Column::Value(columns.value(of))
        }
    }

    impl InColumn for u64 {
        fn column<T: 'static, E: Extracted<Self>>(
            columns: &mut Extraction<T>,
            of: impl Fn(&T) -> E + 'static,
        ) -> Column {
            Column::Id(columns.id(of))
        }
    }

    impl InColumn for bool {
        fn column<T: 'static, E: Extracted<Self>>(
            columns: &mut Extraction<T>,
            of: impl Fn(&T) -> E + 'static,
        ) -> Column {
            Column::Flag(columns.flag(of))
        }
    }

    /// A flag that holds for every event that is there.
    impl InColumn for () {
        fn column<T: 'static, E: Extracted<Self>>(
            columns: &mut Extraction<T>,
            of: impl Fn(&T) -> E + 'static,
        ) -> Column {
            Column::Flag(columns.flag(move |event| of(event).extracted().map(|()| true)))
        }
    }
}
