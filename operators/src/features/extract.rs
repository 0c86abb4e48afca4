//! Columns: what the user's closures take from an event, and which of them are the same.

use std::any::TypeId;
use std::fmt;

use crate::window::{ColumnOrder, Inputs};

/// What a closure may return where a feature wants a `V`: a `V`, something that becomes one without
/// loss, or an `Option` of these, `None` meaning that the value is missing.
///
/// Values are `f64` (from `f64`, `f32` and integers of at most 32 bits), ids are `u64` (from
/// unsigned integers), predicates are `bool`; `()` is the event alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a feature's `{V}`",
    note = "values are f64, f32, or integers of at most 32 bits (cast others with `as f64`); ids \
            are unsigned integers; predicates are bool; each may be an Option"
)]
pub trait Extracted<V> {
    /// The value, if there is one.
    fn extracted(self) -> Option<V>;
}

macro_rules! extracted {
    ($to:ty: $($from:ty),*) => {
        $(impl Extracted<$to> for $from {
            fn extracted(self) -> Option<$to> {
                Some(self.into())
            }
        })*
    };
}

extracted!(f64: f64, f32, i32, u32, i16, u16, i8, u8);
extracted!(u64: u64, u32, u16, u8);
extracted!(bool: bool);
extracted!((): ());

impl<V, E: Extracted<V>> Extracted<V> for Option<E> {
    fn extracted(self) -> Option<V> {
        self.and_then(Extracted::extracted)
    }
}

/// The columns of one type, a closure each.
struct Extractors<T, V> {
    columns: Vec<(Option<TypeId>, Extractor<T, V>)>,
}

type Extractor<T, V> = Box<dyn Fn(&T) -> Option<V>>;

impl<T, V> Default for Extractors<T, V> {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
        }
    }
}

impl<T: 'static, V> Extractors<T, V> {
    /// The number of the closure's column. A closure that captures nothing is what its type says,
    /// so its column is shared by every use; one that captures has a column per use.
    fn add<F, E>(&mut self, closure: F) -> usize
    where
        F: Fn(&T) -> E + 'static,
        E: Extracted<V>,
    {
        let identity = (size_of::<F>() == 0).then(TypeId::of::<F>);
        let known = |(known, _): &(Option<TypeId>, _)| known.is_some() && *known == identity;
        if let Some(number) = self.columns.iter().position(known) {
            return number;
        }
        self.columns
            .push((identity, Box::new(move |event| closure(event).extracted())));
        self.columns.len() - 1
    }

    /// The columns in another order.
    fn reordered(self, order: &[usize]) -> Self {
        let mut columns: Vec<_> = self.columns.into_iter().map(Some).collect();
        let take = |n: &usize| {
            columns[*n]
                .take()
                .expect("invariant: an order names each once")
        };
        Self {
            columns: order.iter().map(take).collect(),
        }
    }
}

/// All columns of a step.
pub struct Extraction<T> {
    values: Extractors<T, f64>,
    ids: Extractors<T, u64>,
    flags: Extractors<T, bool>,
}

impl<T> Default for Extraction<T> {
    fn default() -> Self {
        let (values, ids, flags) = (
            Extractors::default(),
            Extractors::default(),
            Default::default(),
        );
        Self { values, ids, flags }
    }
}

impl<T> fmt::Debug for Extraction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extraction")
            .field("values", &self.values.columns.len())
            .field("ids", &self.ids.columns.len())
            .field("flags", &self.flags.columns.len())
            .finish()
    }
}

impl<T: 'static> Extraction<T> {
    pub(super) fn value<E: Extracted<f64>>(&mut self, f: impl Fn(&T) -> E + 'static) -> usize {
        self.values.add(f)
    }

    pub(super) fn id<E: Extracted<u64>>(&mut self, f: impl Fn(&T) -> E + 'static) -> usize {
        self.ids.add(f)
    }

    pub(super) fn flag<E: Extracted<bool>>(&mut self, f: impl Fn(&T) -> E + 'static) -> usize {
        self.flags.add(f)
    }

    /// The id of an event in one column.
    #[inline]
    pub(super) fn id_of(&self, event: &T, column: usize) -> Option<u64> {
        (self.ids.columns[column].1)(event)
    }

    pub(super) fn reordered(self, order: &ColumnOrder) -> Self {
        Self {
            values: self.values.reordered(&order.values),
            ids: self.ids.reordered(&order.ids),
            flags: self.flags.reordered(&order.flags),
        }
    }

    /// Runs every closure on an event; a value that is not finite is missing.
    #[inline]
    pub(super) fn extract(&self, event: &T, inputs: &mut Inputs) {
        inputs.values.resize(self.values.columns.len(), f64::NAN);
        for (to, (_, value)) in inputs.values.iter_mut().zip(&self.values.columns) {
            *to = match value(event) {
                Some(value) if value.is_finite() => value,
                _ => f64::NAN,
            };
        }
        inputs.ids.resize(self.ids.columns.len(), None);
        for (to, (_, id)) in inputs.ids.iter_mut().zip(&self.ids.columns) {
            *to = id(event);
        }
        inputs.flags.resize(self.flags.columns.len(), None);
        for (to, (_, flag)) in inputs.flags.iter_mut().zip(&self.flags.columns) {
            *to = flag(event);
        }
    }
}
