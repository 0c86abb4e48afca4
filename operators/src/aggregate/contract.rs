//! The contract of an aggregate: what windows need to know of it.

use serde::{Serialize, de::DeserializeOwned};
use thalweg_engine::time::EventTime;

/// Something asked of the events in a window, such as their mean.
///
/// A value of this type is configuration; what is kept per window is its [`State`](Self::State).
/// Events come in the order of their event time, ties in the order of arrival.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use thalweg_engine::time::EventTime;
/// use thalweg_operators::aggregate::Aggregate;
///
/// /// The difference between the greatest and the least value.
/// struct Range;
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Ends(Option<(f64, f64)>);
///
/// impl Aggregate for Range {
///     type Input = f64;
///     type State = Ends;
///     type Output = f64;
///
///     fn empty(&self) -> Ends {
///         Ends(None)
///     }
///
///     fn add(&self, ends: &mut Ends, _at: EventTime, value: &f64) {
///         let (low, high) = ends.0.unwrap_or((*value, *value));
///         ends.0 = Some((low.min(*value), high.max(*value)));
///     }
///
///     fn merge(&self, ends: &mut Ends, later: &Ends) {
///         if let Some((low, high)) = later.0 {
///             self.add(ends, EventTime::MIN, &low);
///             self.add(ends, EventTime::MIN, &high);
///         }
///     }
///
///     fn finish(&self, ends: &Ends, _end: EventTime) -> f64 {
///         ends.0.map_or(f64::NAN, |(low, high)| high - low)
///     }
/// }
/// ```
///
/// # Laws
/// - `merge` is associative, and a state merged with an empty one stays as it is.
/// - Adding events to one state, or to two that are then merged in order, gives the same.
/// - Where [`REMOVES`](Self::REMOVES) is true, `remove` of the oldest event undoes its `add`, or
///   leaves a state that [`is_exact`](Self::is_exact) says is not, to be made anew from the events
///   that are left.
/// - A state that went through serde and back is the same, to the byte.
/// - The same events in the same order give the same state, to the byte.
/// - Where [`ORDERED`](Self::ORDERED) is false, events that are added in another order give the same.
/// - [`compact`](Self::compact) changes no answer, neither now nor after more events.
///
/// "The same" is the same answer, up to rounding; [`testing::check_laws`](super::testing) checks
/// them all.
pub trait Aggregate: 'static {
    /// What is taken of each event.
    type Input;
    /// What is kept of the events so far.
    type State: Clone + Serialize + DeserializeOwned + 'static;
    /// The answer.
    type Output;

    /// Whether [`remove`](Self::remove) undoes an [`add`](Self::add).
    const REMOVES: bool = false;

    /// Whether the order of events matters to the answer. Where it is false, a window adds events
    /// as they come; where it is true, it keeps those that came early apart, to add them by event
    /// time.
    const ORDERED: bool = true;

    /// The state of a window without events.
    fn empty(&self) -> Self::State;

    /// Takes an event in, at its event time.
    fn add(&self, state: &mut Self::State, at: EventTime, input: &Self::Input);

    /// Takes in what was kept of later events.
    fn merge(&self, state: &mut Self::State, later: &Self::State);

    /// Lets the oldest event go; called only where [`REMOVES`](Self::REMOVES) is true. Whoever
    /// calls it asks [`is_exact`](Self::is_exact) before the next answer.
    fn remove(&self, _state: &mut Self::State, _at: EventTime, _input: &Self::Input) {
        unreachable!("invariant: an aggregate that removes says how")
    }

    /// Whether the state is as good as one made anew from the window's events.
    ///
    /// When it says no after a [`remove`](Self::remove), whoever holds the events makes the state
    /// anew from those that are left (`empty`, then `add`); until then the answer means nothing.
    /// For sums that a removed value has dwarfed, and the like: it must become rare enough that
    /// its cost does not show.
    fn is_exact(&self, _state: &Self::State) -> bool {
        true
    }

    /// Drops what only [`remove`](Self::remove) needs, as often as one likes. For windows that
    /// only add and merge: what has to remember every event in order to let the oldest go (the
    /// first value, the greatest ten) then takes a fixed space. Nothing can be removed after it.
    fn compact(&self, _state: &mut Self::State) {}

    /// The answer for a window that ends at `end`.
    fn finish(&self, state: &Self::State, end: EventTime) -> Self::Output;
}
