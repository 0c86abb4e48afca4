//! The user's view: a flow of typed streams, built once per worker by a deterministic closure.

mod graph;
mod keyed;
mod source;
mod stream;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

pub use graph::{Graph, Node, NodeId};
pub use keyed::Keyed;
pub use source::SourceStep;
pub use stream::Stream;

use crate::dataflow::unary::{SideEdges, Sides, unary};
use crate::dataflow::{Edge, Site, merge};
use crate::job::JobOptions;
use crate::letters::{DeadLetter, LateEvent, Letter, log_letter};
use crate::record::{Data, Packet};
use crate::runtime::PlanError;
use crate::sink::{Delivery, Sink, SinkError};
use crate::source::{Source, SourceError};
use crate::telemetry::{StepKind, StepMetrics, Telemetry};

/// One worker's part of the graph, while it is being built.
pub struct Flow<'s> {
    pub(crate) shared: Rc<Shared<'s>>,
}

/// What the flow and its streams share.
pub(crate) struct Shared<'s> {
    pub(crate) site: Site<'s>,
    building: RefCell<Building<'s>>,
}

#[derive(Default)]
struct Building<'s> {
    graph: Graph,
    errors: Vec<String>,
    /// How many of the errors may pass by themselves.
    passing: usize,
    sources: u16,
    late: BTreeMap<String, (NodeId, Option<Edge<'s, LateEvent>>)>,
    dead: Vec<(NodeId, Edge<'s, DeadLetter>)>,
    /// Dead letters of panicking closures, which any step may have, and of what sinks refuse; they
    /// tell of no watermark.
    silent: Vec<Edge<'s, DeadLetter>>,
    loose_ends: Vec<Box<dyn FnOnce() + 's>>,
}

impl<'s> Flow<'s> {
    pub(crate) fn new(site: Site<'s>) -> Self {
        Self {
            shared: Rc::new(Shared {
                site,
                building: RefCell::default(),
            }),
        }
    }

    /// Begins a source step; [`SourceStep::event_time`] completes it.
    pub fn source<T: crate::record::Data>(
        &self,
        id: &str,
        config: impl Source<T>,
    ) -> SourceStep<'s, T> {
        SourceStep::new(Rc::clone(&self.shared), id, Arc::new(config))
    }

    /// The events that came too late for a source, or for a step that says so; named by its step id.
    pub fn late(&self, id: &str) -> Stream<'s, LateEvent> {
        let found = {
            let mut building = self.shared.building.borrow_mut();
            building
                .late
                .get_mut(id)
                .map(|(node, edge)| (*node, edge.take()))
        };
        match found {
            Some((node, Some(edge))) => {
                let edge = self.named(edge, "late events");
                Stream::new(Rc::clone(&self.shared), node, edge)
            }
            Some((_, None)) => {
                self.error(format!(
                    "late events of `{id}` are taken twice: clone the first stream"
                ));
                Stream::empty(Rc::clone(&self.shared))
            }
            None => {
                self.error(format!(
                    "no step `{id}` to take late events from: name a source, or a step with a \
                     late stream, that is declared above"
                ));
                Stream::empty(Rc::clone(&self.shared))
            }
        }
    }

    /// The dead letters of all steps declared so far that have not been taken yet.
    ///
    /// Best taken after the last step. Those of records on which a closure panicked, or which a sink
    /// refused, come as they happen, so that their place among the others may differ from run to
    /// run. What the sink of this very stream refuses goes to the job's own dead letters, where
    /// there are any, and is logged otherwise.
    pub fn dead_letters(&self) -> Stream<'s, DeadLetter> {
        let (letters, silent) = {
            let mut building = self.shared.building.borrow_mut();
            let Building { dead, silent, .. } = &mut *building;
            (std::mem::take(dead), std::mem::take(silent))
        };
        let (nodes, edges): (Vec<_>, Vec<_>) = letters.into_iter().unzip();
        let node = self
            .shared
            .add_node("dead letters", StepKind::Merge, "dead letters", &nodes);
        let edge = merge::merge_beside(&self.shared.site, edges, silent);
        let edge = self.named(edge, "dead letters");
        Stream::new(Rc::clone(&self.shared), node, edge)
    }

    /// Puts the names of partitions into letters.
    fn named<L: Letter + Data>(&self, edge: Edge<'s, L>, what: &str) -> Edge<'s, L> {
        let telemetry = Arc::clone(self.telemetry());
        unary(edge, what, move |mut packet: Packet<L>, named| {
            for letter in &mut packet.records {
                letter.value.name_partition(&telemetry);
            }
            named.push(packet);
        })
    }

    /// Notes that the flow cannot be built; all such errors are reported together.
    pub fn error(&self, error: impl Into<String>) {
        self.shared.error(error);
    }

    /// The figures of the running job.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.shared.site.job.telemetry
    }

    /// How the job runs.
    pub fn options(&self) -> &JobOptions {
        &self.shared.site.job.options
    }

    /// Whether there are dead letters that nobody took. Where the flow has its own sink of that
    /// name, letters of closures and sinks declared after it are logged and not kept.
    fn has_dead_letters(&self) -> bool {
        let building = self.shared.building.borrow();
        let has_own_sink = building.graph.contains(DEAD_LETTERS);
        !building.dead.is_empty() || (!building.silent.is_empty() && !has_own_sink)
    }

    /// Logs what comes on the edges that are left: from the sink of the dead letters themselves, and
    /// from steps declared after it.
    fn log_dead_letters(&self) {
        let left = std::mem::take(&mut self.shared.building.borrow_mut().silent);
        for edge in left {
            unary(
                edge,
                "dead letters not kept",
                |packet, _: &mut Vec<Packet<()>>| {
                    let letters = packet.records.iter();
                    letters.for_each(|letter| log_letter(&letter.value));
                },
            );
        }
    }

    /// Gives late events and dead letters that nobody took to the job's own sinks, ends the paths
    /// that lead nowhere, and returns the graph with all errors.
    pub(crate) fn finish(&self) -> (Graph, PlanError) {
        let options = &self.shared.site.job.options;
        let late: Vec<_> = {
            let mut building = self.shared.building.borrow_mut();
            building
                .late
                .values_mut()
                .filter_map(|(n, e)| Some((*n, e.take()?)))
                .collect()
        };
        if let (false, Some(sink)) = (late.is_empty(), options.late.clone()) {
            let (nodes, edges): (Vec<_>, Vec<_>) = late.into_iter().unzip();
            let node = self
                .shared
                .add_node("late events", StepKind::Merge, "late events", &nodes);
            let edge = merge::merge(&self.shared.site, edges);
            let edge = self.named(edge, "late events");
            Stream::new(Rc::clone(&self.shared), node, edge).sink_shared("late", sink);
        }
        if let (true, Some(sink)) = (self.has_dead_letters(), options.dead_letters.clone()) {
            self.dead_letters().sink_shared(DEAD_LETTERS, sink);
        }
        self.log_dead_letters();
        self.shared.check_deliveries();
        let loose_ends = std::mem::take(&mut self.shared.building.borrow_mut().loose_ends);
        loose_ends.into_iter().for_each(|end| end());
        let building = self.shared.building.take();
        let error = PlanError {
            may_pass: building.passing == building.errors.len(),
            errors: building.errors,
        };
        (building.graph, error)
    }
}

/// The step id of the sink of dead letters that the flow leaves alone.
const DEAD_LETTERS: &str = "dead_letters";

impl<'s> Shared<'s> {
    pub(crate) fn error(&self, error: impl Into<String>) {
        self.building.borrow_mut().errors.push(error.into());
    }

    /// Notes that a source cannot be used.
    pub(crate) fn source_error(&self, id: &str, error: &SourceError) {
        self.error(format!("source `{id}`: {error}"));
        self.building.borrow_mut().passing +=
            usize::from(matches!(error, SourceError::Away { .. }));
    }

    /// Notes that a sink cannot be used.
    pub(crate) fn sink_error(&self, id: &str, error: &SinkError) {
        self.error(format!("sink `{id}`: {error}"));
        self.building.borrow_mut().passing += usize::from(matches!(error, SinkError::Away { .. }));
    }

    /// Adds a step to the graph; a step id that is taken already is an error.
    pub(crate) fn add_step(
        &self,
        id: &str,
        kind: StepKind,
        label: &str,
        inputs: &[NodeId],
    ) -> (NodeId, Arc<StepMetrics>) {
        if id.trim().is_empty() {
            self.error(format!(
                "a {label} step has an empty step id: give it a name"
            ));
        } else if self.building.borrow().graph.contains(id) {
            self.error(format!(
                "step id `{id}` is used twice: give each step an id of its own"
            ));
        }
        let node = self.add_node(id, kind, label, inputs);
        (node, self.site.job.telemetry.step(id, kind))
    }

    /// Notes how a sink will deliver, and whether it can; what it has published is looked at where it can
    /// be written.
    fn plan_delivery<T: Data>(&self, id: &str, config: &dyn Sink<T>, is_writable: bool) {
        let options = &self.site.job.options;
        let delivery = options.delivery(id, config.delivery());
        let wanted = options.deliveries.of(id) == Some(Delivery::ExactlyOnce);
        if wanted && options.checkpoints.is_none() {
            self.error(format!(
                "sink `{id}` is to deliver exactly once, which it does with checkpoints: give a place \
                 for them, or choose immediate delivery"
            ));
        }
        if delivery == Delivery::ExactlyOnce && options.is_first_process() {
            let checkpoints = options.checkpoints.as_ref().filter(|_| is_writable);
            let checked = config.check_epochs().and_then(|()| match checkpoints {
                Some(checkpoints) => checkpoints.check_published(id, config),
                None => Ok(()),
            });
            if let Err(error) = checked {
                self.sink_error(id, &error);
            }
        }
        self.building.borrow_mut().graph.set_delivery(id, delivery);
    }

    /// Refuses what is said of the delivery of sinks that are not there.
    fn check_deliveries(&self) {
        let building = self.building.borrow();
        let is_sink = |id: &str| {
            let mut nodes = building.graph.nodes().iter();
            nodes.any(|node| node.id == id && node.kind == StepKind::Sink)
        };
        let said = self.site.job.options.deliveries.by_sink.keys();
        let unknown: Vec<_> = said.filter(|id| !is_sink(id)).cloned().collect();
        let sinks = building.graph.nodes().iter();
        let sinks = sinks.filter(|node| node.kind == StepKind::Sink);
        let known: Vec<_> = sinks.map(|node| node.id.clone()).collect();
        drop(building);
        for id in unknown {
            self.error(format!(
                "the delivery of sink `{id}` is set, but there is no such sink: there are {}",
                known.join(", ")
            ));
        }
    }

    fn add_node(&self, id: &str, kind: StepKind, label: &str, inputs: &[NodeId]) -> NodeId {
        self.building
            .borrow_mut()
            .graph
            .add(id, kind, label, inputs)
    }

    /// The number of a source: the one that it had before a restart, as records that are kept bear it,
    /// or else the next that no other one has.
    pub(crate) fn source_number(&self, id: &str) -> u16 {
        let job = &self.site.job;
        let restored = job
            .epochs
            .as_ref()
            .and_then(|epochs| epochs.restored.as_ref());
        let known = restored.map(|restored| &restored.sources);
        let number = match known.and_then(|known| known.get(id)) {
            Some(source) => source.number,
            None => {
                let is_taken = |number: u16| {
                    known.is_some_and(|known| known.values().any(|source| source.number == number))
                };
                let mut next = self.building.borrow_mut();
                while is_taken(next.sources) {
                    next.sources += 1;
                }
                next.sources += 1;
                next.sources - 1
            }
        };
        job.telemetry.set_source_name(number, id);
        number
    }

    pub(crate) fn add_sides(&self, id: &str, node: NodeId, edges: SideEdges<'s>) {
        if let Some(late) = edges.late {
            self.add_late(id, node, late);
        }
        match edges.sides {
            Sides::Panics => self.add_silent(edges.dead),
            Sides::Dead | Sides::DeadAndLate => self.add_dead(node, edges.dead),
        }
    }

    pub(crate) fn add_late(&self, id: &str, node: NodeId, edge: Edge<'s, LateEvent>) {
        self.building
            .borrow_mut()
            .late
            .insert(id.to_owned(), (node, Some(edge)));
    }

    pub(crate) fn add_dead(&self, node: NodeId, edge: Edge<'s, DeadLetter>) {
        self.building.borrow_mut().dead.push((node, edge));
    }

    /// Adds dead letters that tell of no watermark.
    pub(crate) fn add_silent(&self, edge: Edge<'s, DeadLetter>) {
        self.building.borrow_mut().silent.push(edge);
    }

    pub(crate) fn at_end(&self, end: impl FnOnce() + 's) {
        self.building.borrow_mut().loose_ends.push(Box::new(end));
    }
}
