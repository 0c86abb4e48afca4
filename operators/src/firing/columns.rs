//! [`WindowColumns`]: several aggregates over the same windows, as the columns of a row.

use std::collections::HashSet;
use std::marker::PhantomData;

use thalweg_engine::time::EventTime;

use super::error::WindowError;
use crate::aggregate::Aggregate;
use crate::features::Extracted;

/// Declares what is asked of each window: one column of numbers per aggregate.
///
/// ```
/// use thalweg_operators::aggregate::{Count, Mean, Sum};
/// use thalweg_operators::firing::WindowColumns;
///
/// struct Payment { amount: f64, fee: f64 }
///
/// let columns = WindowColumns::<Payment, _>::new()
///     .aggregate("n", Count, |_| ())
///     .aggregate("spend", Sum, |p| p.amount)
///     .aggregate("mean_fee", Mean, |p| p.fee);
/// assert_eq!(columns.names(), ["n", "spend", "mean_fee"]);
/// ```
#[must_use = "columns do nothing until a stream of windows is given them"]
pub struct WindowColumns<T, C> {
    names: Vec<String>,
    row: C,
    of: PhantomData<T>,
}

impl<T: 'static> WindowColumns<T, NoColumns<T>> {
    /// No columns yet.
    pub fn new() -> Self {
        Self {
            names: Vec::new(),
            row: NoColumns(PhantomData),
            of: PhantomData,
        }
    }
}

impl<T: 'static> Default for WindowColumns<T, NoColumns<T>> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, C> WindowColumns<T, C> {
    /// Adds a column: the aggregate's answer on what `input` takes of each event; NaN where the
    /// answer is missing.
    pub fn aggregate<A: Aggregate, F: Fn(&T) -> A::Input + 'static>(
        mut self,
        name: &str,
        aggregate: A,
        input: F,
    ) -> WindowColumns<T, WithColumn<C, Of<A, F, T>>>
    where
        A::Output: Extracted<f64>,
    {
        self.names.push(name.to_owned());
        WindowColumns {
            names: self.names,
            row: WithColumn(self.row, Of::new(aggregate, input)),
            of: PhantomData,
        }
    }

    /// The columns' names, in the order of a row.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names, the aggregate that gives rows, and what is wrong with the declaration.
    pub(crate) fn into_parts(self) -> (Vec<String>, C, Vec<WindowError>) {
        let mut errors = Vec::new();
        let mut known = HashSet::new();
        for (name, position) in self.names.iter().zip(1..) {
            if name.is_empty() {
                errors.push(WindowError::EmptyName { position });
            } else if !known.insert(name) {
                errors.push(WindowError::DuplicateName { name: name.clone() });
            }
        }
        if self.names.is_empty() {
            errors.push(WindowError::NoAggregates);
        }
        (self.names, self.row, errors)
    }
}

/// An aggregate over what a closure takes of events of type `T`.
pub struct Of<A, F, T> {
    aggregate: A,
    input: F,
    of: PhantomData<T>,
}

impl<A, F, T> Of<A, F, T> {
    pub(crate) fn new(aggregate: A, input: F) -> Self {
        let of = PhantomData;
        Self {
            aggregate,
            input,
            of,
        }
    }
}

impl<T, A, F> Aggregate for Of<A, F, T>
where
    T: 'static,
    A: Aggregate,
    F: Fn(&T) -> A::Input + 'static,
{
    type Input = T;
    type State = A::State;
    type Output = A::Output;

    const REMOVES: bool = A::REMOVES;
    const ORDERED: bool = A::ORDERED;

    fn empty(&self) -> A::State {
        self.aggregate.empty()
    }

    fn add(&self, state: &mut A::State, at: EventTime, event: &T) {
        self.aggregate.add(state, at, &(self.input)(event));
    }

    fn merge(&self, state: &mut A::State, later: &A::State) {
        self.aggregate.merge(state, later);
    }

    fn remove(&self, state: &mut A::State, at: EventTime, event: &T) {
        self.aggregate.remove(state, at, &(self.input)(event));
    }

    fn is_exact(&self, state: &A::State) -> bool {
        self.aggregate.is_exact(state)
    }

    fn compact(&self, state: &mut A::State) {
        self.aggregate.compact(state);
    }

    fn finish(&self, state: &A::State, end: EventTime) -> A::Output {
        self.aggregate.finish(state, end)
    }
}

/// A row without columns.
pub struct NoColumns<T>(PhantomData<T>);

impl<T: 'static> Aggregate for NoColumns<T> {
    type Input = T;
    type State = ();
    type Output = Vec<f64>;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) {}

    fn add(&self, (): &mut (), _: EventTime, _: &T) {}

    fn merge(&self, (): &mut (), (): &()) {}

    fn remove(&self, (): &mut (), _: EventTime, _: &T) {}

    fn finish(&self, (): &(), _: EventTime) -> Vec<f64> {
        Vec::new()
    }
}

/// A row with one more column.
pub struct WithColumn<C, A>(C, A);

impl<C, A> Aggregate for WithColumn<C, A>
where
    C: Aggregate<Output = Vec<f64>>,
    A: Aggregate<Input = C::Input>,
    A::Output: Extracted<f64>,
{
    type Input = C::Input;
    type State = (C::State, A::State);
    type Output = Vec<f64>;

    const REMOVES: bool = C::REMOVES && A::REMOVES;
    const ORDERED: bool = C::ORDERED || A::ORDERED;

    fn empty(&self) -> Self::State {
        (self.0.empty(), self.1.empty())
    }

    fn add(&self, (row, last): &mut Self::State, at: EventTime, event: &C::Input) {
        self.0.add(row, at, event);
        self.1.add(last, at, event);
    }

    fn merge(&self, (row, last): &mut Self::State, later: &Self::State) {
        self.0.merge(row, &later.0);
        self.1.merge(last, &later.1);
    }

    fn remove(&self, (row, last): &mut Self::State, at: EventTime, event: &C::Input) {
        self.0.remove(row, at, event);
        self.1.remove(last, at, event);
    }

    fn is_exact(&self, (row, last): &Self::State) -> bool {
        self.0.is_exact(row) && self.1.is_exact(last)
    }

    fn compact(&self, (row, last): &mut Self::State) {
        self.0.compact(row);
        self.1.compact(last);
    }

    fn finish(&self, (row, last): &Self::State, end: EventTime) -> Vec<f64> {
        let mut row = self.0.finish(row, end);
        row.push(self.1.finish(last, end).extracted().unwrap_or(f64::NAN));
        row
    }
}
