//! Keyed streams: the entry to everything that keeps state.

use std::rc::Rc;
use std::sync::Arc;

use super::Stream;
use crate::dataflow::keyed::keyed;
use crate::job::Order;
use crate::key::Key;
use crate::keyed::KeyedStep;
use crate::record::Data;
use crate::telemetry::{StepKind, Telemetry};

type KeyOf<K, T> = Rc<dyn Fn(&T) -> K>;

/// A stream whose records belong to keys.
pub struct Keyed<'s, K, T> {
    stream: Stream<'s, T>,
    key: KeyOf<K, T>,
}

impl<'s, K: Key, T: Data> Keyed<'s, K, T> {
    pub(crate) fn new(stream: Stream<'s, T>, key: impl Fn(&T) -> K + 'static) -> Self {
        Self {
            stream,
            key: Rc::new(key),
        }
    }

    /// Runs a keyed step in the job's order.
    pub fn step<S: KeyedStep<T, Key = K>>(
        self,
        id: &str,
        label: &str,
        step: S,
    ) -> Stream<'s, S::Out> {
        let order = self.stream.shared.site.job.options.order;
        self.step_in(order, id, label, step)
    }

    /// Runs a keyed step in an order of its own.
    pub fn step_in<S: KeyedStep<T, Key = K>>(
        self,
        order: Order,
        id: &str,
        label: &str,
        step: S,
    ) -> Stream<'s, S::Out> {
        let Self { stream, key } = self;
        let (node, metrics) = stream
            .shared
            .add_step(id, StepKind::Keyed, label, &[stream.node]);
        let (shared, edge) = stream.into_edge();
        let (edge, sides) = keyed(
            &shared.site,
            edge,
            (metrics, label),
            step,
            order,
            move |value| key(value),
        );
        shared.add_sides(id, node, sides);
        Stream::new(shared, node, edge)
    }

    /// The figures of the running job.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        self.stream.telemetry()
    }

    /// The stream and the key of its records.
    pub fn into_parts(self) -> (Stream<'s, T>, KeyOf<K, T>) {
        (self.stream, self.key)
    }
}
