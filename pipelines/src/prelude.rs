//! What a pipeline needs, for `use thalweg::prelude::*`.

pub use thalweg_connectors::file::*;
pub use thalweg_connectors::generator::GeneratorSource;
pub use thalweg_connectors::http::{EventMode, HttpSink};
#[cfg(feature = "kafka")]
pub use thalweg_connectors::kafka::{Kafka, KafkaSink, KafkaSource};
pub use thalweg_connectors::log::{Fsync, LogSink, LogSource, Retention};
#[cfg(feature = "pulsar")]
pub use thalweg_connectors::pulsar::{Pulsar, PulsarSink, PulsarSource};
pub use thalweg_connectors::stdout::StdoutSink;
pub use thalweg_engine::BuildResult;
pub use thalweg_engine::flow::{Flow, Keyed, SourceStep, Stream};
pub use thalweg_engine::job::{Order, Pace};
pub use thalweg_engine::letters::{DeadLetter, LateEvent};
pub use thalweg_engine::record::{Data, Record};
pub use thalweg_engine::sink::Sink;
pub use thalweg_engine::source::{Source, WatermarkPolicy};
pub use thalweg_engine::time::{EventTime, days, hours, millis, minutes, secs};
pub use thalweg_operators::prelude::*;

pub use crate::{Pipeline, Settings};
