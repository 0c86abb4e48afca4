//! A source step on its way to being a stream.

use std::rc::Rc;
use std::sync::Arc;

use super::{Shared, Stream};
use crate::dataflow::source::source;
use crate::record::Data;
use crate::source::{EventTimes, Source, WatermarkPolicy};
use crate::telemetry::StepKind;
use crate::time::EventTime;

/// A source whose records have no event time yet.
#[must_use = "a source becomes a stream by `event_time`"]
pub struct SourceStep<'s, T> {
    shared: Rc<Shared<'s>>,
    id: String,
    config: Arc<dyn Source<T>>,
}

impl<'s, T: Data> SourceStep<'s, T> {
    pub(crate) fn new(shared: Rc<Shared<'s>>, id: &str, config: Arc<dyn Source<T>>) -> Self {
        Self {
            shared,
            id: id.to_owned(),
            config,
        }
    }

    /// Takes event time from each record; watermarks follow by `policy`, which can be just the
    /// allowed disorder.
    pub fn event_time(
        self,
        time_of: impl Fn(&T) -> EventTime + Send + Sync + 'static,
        policy: impl Into<WatermarkPolicy>,
    ) -> Stream<'s, T> {
        let Self { shared, id, config } = self;
        let (node, metrics) = shared.add_step(&id, StepKind::Source, &config.describe(), &[]);
        let number = shared.source_number(&id);
        if shared.site.planning
            && let Err(error) = config.check()
        {
            shared.source_error(&id, &error);
        }
        let event_times = EventTimes {
            time_of: Arc::new(time_of),
            policy: policy.into(),
        };
        let ((edge, late, dead), opened) =
            source(&shared.site, metrics, number, &config, &event_times);
        if let Err(error) = opened {
            shared.source_error(&id, &error);
        }
        shared.add_late(&id, node, late);
        shared.add_dead(node, dead);
        Stream::new(shared, node, edge)
    }
}
