//! [`WindowColumns`]: several aggregates over the same windows, as the columns of a row.

use std::collections::HashSet;

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
pub struct WindowColumns<T, C: Aggregate> {
    names: Vec<String>,
    row: C,
    inputs: InputOf<T, C::Input>,
}

/// What is taken of an event.
pub(crate) type InputOf<T, I> = Box<dyn Fn(&T) -> I>;

impl<T: 'static> WindowColumns<T, NoColumns> {
    /// No columns yet.
    pub fn new() -> Self {
        Self {
            names: Vec::new(),
            row: NoColumns,
            inputs: Box::new(|_| ()),
        }
    }
}

impl<T: 'static> Default for WindowColumns<T, NoColumns> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: 'static, C: Aggregate> WindowColumns<T, C> {
    /// Adds a column: the aggregate's answer on what `input` takes of each event; NaN where the
    /// answer is missing.
    pub fn aggregate<A: Aggregate>(
        mut self,
        name: &str,
        aggregate: A,
        input: impl Fn(&T) -> A::Input + 'static,
    ) -> WindowColumns<T, WithColumn<C, A>>
    where
        WithColumn<C, A>: Aggregate<Input = (C::Input, A::Input)>,
    {
        self.names.push(name.to_owned());
        let inputs = self.inputs;
        WindowColumns {
            names: self.names,
            row: WithColumn(self.row, aggregate),
            inputs: Box::new(move |event| (inputs(event), input(event))),
        }
    }

    /// The columns' names, in the order of a row.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names, the aggregate that gives rows, what it takes of an event, and what is wrong with
    /// the declaration.
    pub(crate) fn into_parts(self) -> (Vec<String>, C, InputOf<T, C::Input>, Vec<WindowError>) {
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
        (self.names, self.row, self.inputs, errors)
    }
}

/// A row without columns.
pub struct NoColumns;

impl Aggregate for NoColumns {
    type Input = ();
    type State = ();
    type Output = Vec<f64>;

    const REMOVES: bool = true;
    const ORDERED: bool = false;

    fn empty(&self) {}

    fn add(&self, (): &mut (), _: EventTime, (): &()) {}

    fn merge(&self, (): &mut (), (): &()) {}

    fn remove(&self, (): &mut (), _: EventTime, (): &()) {}

    fn finish(&self, (): &(), _: EventTime) -> Vec<f64> {
        Vec::new()
    }
}

/// A row with one more column.
pub struct WithColumn<C, A>(C, A);

impl<C, A> Aggregate for WithColumn<C, A>
where
    C: Aggregate<Output = Vec<f64>>,
    A: Aggregate,
    A::Output: Extracted<f64>,
{
    type Input = (C::Input, A::Input);
    type State = (C::State, A::State);
    type Output = Vec<f64>;

    const REMOVES: bool = C::REMOVES && A::REMOVES;
    const ORDERED: bool = C::ORDERED || A::ORDERED;

    fn empty(&self) -> Self::State {
        (self.0.empty(), self.1.empty())
    }

    fn add(&self, (row, last): &mut Self::State, at: EventTime, (inputs, input): &Self::Input) {
        self.0.add(row, at, inputs);
        self.1.add(last, at, input);
    }

    fn merge(&self, (row, last): &mut Self::State, later: &Self::State) {
        self.0.merge(row, &later.0);
        self.1.merge(last, &later.1);
    }

    fn remove(&self, (row, last): &mut Self::State, at: EventTime, (inputs, input): &Self::Input) {
        self.0.remove(row, at, inputs);
        self.1.remove(last, at, input);
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
