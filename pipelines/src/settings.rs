//! What a pipeline's closure can ask about the run it is built for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg_connectors::file::FileSink;
use thalweg_engine::checkpoint::Location;
use thalweg_engine::cluster::ClusterOptions;
use thalweg_engine::job::{JobOptions, Order, Pace};
use thalweg_engine::letters::{DeadLetter, LateEvent};
use thalweg_engine::sink::Deliveries;
use thalweg_engine::time::EventTime;

use crate::checkpoint_settings::CheckpointSettings;
use crate::layer::Layer;
use crate::topics::Topics;

/// The settings of one run: where it reads and writes, and how it works.
///
/// [`run`](crate::run) and [`Pipeline`](crate::Pipeline) make them from the command line, the
/// environment and the settings file. Tests and benchmarks make their own:
///
/// ```
/// let settings = thalweg::Settings::new("flights").with_workers(2);
/// assert_eq!(settings.out_file("alerts.jsonl"), std::path::Path::new("./out/flights/alerts.jsonl"));
/// assert_eq!(settings.job_options().workers, 2);
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    name: String,
    is_backfill: bool,
    out: PathBuf,
    data: Folder,
    model: Folder,
    workers: usize,
    pace: Pace,
    order: Order,
    batch_records: usize,
    keeps_features: bool,
    topics: Topics,
    cluster: Option<ClusterOptions>,
    checkpoints: CheckpointSettings,
    deliveries: Deliveries,
    start_timeout: Duration,
    notes: Arc<Mutex<Notes>>,
}

/// A folder to read from; one that somebody named must be there before a run starts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folder {
    path: PathBuf,
    is_named: bool,
}

impl Folder {
    fn usual(path: String) -> Self {
        Self {
            path: PathBuf::from(path),
            is_named: false,
        }
    }

    fn named(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            is_named: true,
        }
    }
}

/// What the pipeline's closure tells the program; shared by all copies of the settings.
#[derive(Debug, Default)]
struct Notes {
    span: Option<(EventTime, EventTime)>,
    files: Vec<PathBuf>,
}

impl Settings {
    /// The settings of a pipeline of which nothing else is said.
    pub fn new(name: &str) -> Self {
        let options = JobOptions::default();
        Self {
            name: name.to_owned(),
            is_backfill: false,
            out: PathBuf::from(format!("./out/{name}")),
            data: Folder::usual(format!("./data/{name}")),
            model: Folder::usual(format!("./models/{name}")),
            workers: options.workers,
            pace: options.pace,
            order: options.order,
            batch_records: options.batch_records,
            keeps_features: false,
            topics: Topics::in_log(format!("./log/{name}")),
            cluster: None,
            checkpoints: CheckpointSettings::default(),
            deliveries: Deliveries::default(),
            start_timeout: options.start_timeout,
            notes: Arc::default(),
        }
    }

    /// The settings of a pipeline's backfill of which nothing else is said: it reads topics to the end they
    /// have at its start.
    pub fn for_backfill(name: &str) -> Self {
        let out = PathBuf::from(format!("./out/{name}-backfill"));
        Self {
            is_backfill: true,
            out,
            ..Self::new(name).until_end()
        }
    }

    /// The pipeline's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether only the features are wanted, written to files for training: the graph ends there.
    pub fn is_backfill(&self) -> bool {
        self.is_backfill
    }

    /// Whether the feature rows that are served are wanted in a file, too.
    pub fn keeps_features(&self) -> bool {
        self.keeps_features
    }

    /// The folder to write to; it exists once the run has begun.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// A file in the folder to write to; the summary lists it among the files written.
    pub fn out_file(&self, name: &str) -> PathBuf {
        let path = self.out.join(name);
        let files = &mut self.notes().files;
        if !files.contains(&path) {
            files.push(path.clone());
        }
        path
    }

    /// The folder to read data from.
    pub fn data(&self) -> &Path {
        &self.data.path
    }

    /// A file in the folder to read data from.
    pub fn data_file(&self, name: &str) -> PathBuf {
        self.data.path.join(name)
    }

    /// The folder of the model to score with.
    pub fn model(&self) -> &Path {
        &self.model.path
    }

    /// A file in the model's folder.
    pub fn model_file(&self, name: &str) -> PathBuf {
        self.model.path.join(name)
    }

    /// Where checkpoints are kept, if anywhere.
    pub fn checkpoint(&self) -> Option<&Location> {
        self.checkpoints.location.as_ref()
    }

    /// Worker threads.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Processes that run the pipeline together, each with its own worker threads.
    pub fn processes(&self) -> usize {
        self.cluster.as_ref().map_or(1, ClusterOptions::processes)
    }

    /// Which of the processes this is, from 0.
    pub fn process(&self) -> usize {
        self.cluster.as_ref().map_or(0, |cluster| cluster.process)
    }

    /// The order in which keyed steps process their records.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How fast sources replay.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Records that a reader hands over at once, at most.
    pub fn batch_records(&self) -> usize {
        self.batch_records
    }

    /// The folder of the embedded log, in which topics are read and written unless the settings say
    /// otherwise.
    pub fn log(&self) -> &Path {
        &self.topics.log
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    #[cfg(test)]
    pub(crate) fn topics_mut(&mut self) -> &mut Topics {
        &mut self.topics
    }

    /// Tells the span of event time that the sources cover, so that progress can be shown as a
    /// share of it. A span that ends before it begins is disregarded.
    pub fn progress_span(&self, first: EventTime, last: EventTime) {
        if first < last {
            self.notes().span = Some((first, last));
        }
    }

    /// The same settings with another folder to write to.
    pub fn with_out(self, out: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            ..self
        }
    }

    /// The same settings with another folder to read data from.
    pub fn with_data(self, data: impl Into<PathBuf>) -> Self {
        Self {
            data: Folder::named(data),
            ..self
        }
    }

    /// The same settings with another folder of the model.
    pub fn with_model(self, model: impl Into<PathBuf>) -> Self {
        Self {
            model: Folder::named(model),
            ..self
        }
    }

    /// The same settings with another folder of the embedded log.
    pub fn with_log(mut self, log: impl Into<PathBuf>) -> Self {
        self.topics.log = log.into();
        self
    }

    /// The same settings, but topics are read to the end that they have when the run begins.
    pub fn until_end(mut self) -> Self {
        self.topics.until_end = true;
        self
    }

    /// The same settings with another number of worker threads.
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// The same settings in a cluster, or alone.
    pub fn in_cluster(self, cluster: Option<ClusterOptions>) -> Self {
        Self { cluster, ..self }
    }

    /// The same settings with another order of processing.
    pub fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same settings with another rate of replay.
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }

    /// The same settings with another size of batches.
    pub fn with_batch_records(self, batch_records: usize) -> Self {
        Self {
            batch_records,
            ..self
        }
    }

    /// The same settings, with checkpoints at a place.
    pub fn with_checkpoint(mut self, checkpoint: Location) -> Self {
        self.checkpoints.location = Some(checkpoint);
        self
    }

    /// The engine's options for these settings. Dead letters and late events that the pipeline
    /// leaves alone go to `dead_letters.jsonl` and `late.jsonl` in the folder to write to.
    pub fn job_options(&self) -> JobOptions {
        let dead_letters = FileSink::<DeadLetter>::json_lines(self.out_file("dead_letters.jsonl"));
        let late = FileSink::<LateEvent>::json_lines(self.out_file("late.jsonl"));
        JobOptions {
            workers: self.workers,
            order: self.order,
            batch_records: self.batch_records,
            pace: self.pace,
            dead_letters: Some(Arc::new(dead_letters)),
            late: Some(Arc::new(late)),
            cluster: self.cluster.clone(),
            checkpoints: self
                .checkpoints
                .checkpointing(&self.name)
                // A backfill takes none.
                .filter(|_| !self.is_backfill),
            deliveries: self.deliveries.clone(),
            start_timeout: self.start_timeout,
            ..JobOptions::default()
        }
    }

    /// These settings, where a layer says nothing else.
    pub(crate) fn under(mut self, layer: &Layer) -> Self {
        if let Some(out) = &layer.out {
            self.out.clone_from(out);
        }
        if let Some(data) = &layer.data {
            self.data = Folder::named(data);
        }
        if let Some(model) = &layer.model {
            self.model = Folder::named(model);
        }
        self.workers = layer.workers.unwrap_or(self.workers);
        self.order = layer.order.unwrap_or(self.order);
        self.pace = layer.rate.unwrap_or(self.pace);
        self.keeps_features = layer.keep_features.unwrap_or(self.keeps_features);
        self.batch_records = layer.batch.unwrap_or(self.batch_records);
        self.checkpoints = self.checkpoints.under(layer);
        self.start_timeout = layer.deployment.start_timeout.unwrap_or(self.start_timeout);
        if !self.is_backfill {
            self.deliveries = layer.delivery.clone().unwrap_or_default();
        }
        let topics = &mut self.topics;
        topics.source = layer.source.unwrap_or(topics.source);
        topics.sink = layer.sink.unwrap_or(topics.sink);
        topics.until_end = layer.until_end.unwrap_or(topics.until_end);
        topics.start = layer.start.unwrap_or(topics.start);
        topics.subscription = layer.subscription.or(topics.subscription);
        topics.limits = layer.limits.over(topics.limits);
        if let Some(log) = &layer.log {
            topics.log.clone_from(log);
        }
        topics.kafka = layer.kafka_section.clone().unwrap_or_default();
        if let Some(brokers) = &layer.kafka {
            let brokers = toml::Value::String(brokers.clone());
            topics.kafka.0.insert("brokers".to_owned(), brokers);
        }
        topics.pulsar = layer.pulsar_section.clone().unwrap_or_default();
        if let Some(url) = &layer.pulsar {
            let url = toml::Value::String(url.clone());
            topics.pulsar.0.insert("url".to_owned(), url);
        }
        self
    }

    /// Adds an error for each folder that must be there and is not.
    pub(crate) fn check_folders(&self, errors: &mut Vec<String>) {
        check_folder(&self.data, "data", errors);
        if !self.is_backfill {
            check_folder(&self.model, "model", errors);
        }
    }

    /// Makes the folder to write to, and tries whether it can be written.
    pub(crate) fn prepare_out(&self) -> Result<(), String> {
        // Processes of a cluster may share the folder.
        let probe = self.out.join(format!(".thalweg-probe-{}", self.process()));
        let tried = std::fs::create_dir_all(&self.out)
            .and_then(|()| std::fs::write(&probe, b""))
            .and_then(|()| std::fs::remove_file(&probe));
        tried.map_err(|error| {
            format!(
                "cannot write to output folder `{}`: {error}; name a writable folder with --out",
                self.out.display()
            )
        })
    }

    /// The span of event time that the pipeline has told.
    pub(crate) fn span(&self) -> Option<(EventTime, EventTime)> {
        self.notes().span
    }

    /// The files that the pipeline may have written.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.notes().files.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_folder(folder: &Folder, what: &str, errors: &mut Vec<String>) {
    if !folder.is_named {
        return;
    }
    let reason = match std::fs::read_dir(&folder.path) {
        Ok(_) => return,
        Err(error) if error.kind() == ErrorKind::NotFound => "there is no such folder".to_owned(),
        Err(error) => error.to_string(),
    };
    errors.push(format!(
        "cannot read {what} folder `{}`: {reason}; name a readable one with --{what}, or start \
         where this path leads to it",
        folder.path.display()
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pipeline;

    #[test]
    fn a_backfill_writes_elsewhere() {
        assert_eq!(Settings::new("flights").out(), Path::new("./out/flights"));
        let backfill = Settings::for_backfill("flights");
        assert_eq!(backfill.out(), Path::new("./out/flights-backfill"));
        assert!(backfill.is_backfill());
    }

    #[test]
    fn a_backfill_ends_unless_it_is_to_follow() {
        let pipeline = Pipeline::new("fraud").topics("log");
        let ends = |is_backfill, until_end| {
            let layer = Layer {
                until_end,
                ..Layer::default()
            };
            let settings = pipeline.settings(is_backfill).under(&layer);
            settings.topics().until_end
        };
        assert_eq!((ends(true, None), ends(false, None)), (true, false));
        assert_eq!(
            (ends(true, Some(false)), ends(false, Some(true))),
            (false, true)
        );
    }

    #[test]
    fn copies_share_what_the_pipeline_tells() {
        let settings = Settings::new("flights");
        let copy = settings.clone();
        copy.progress_span(EventTime::from_seconds(1), EventTime::from_seconds(2));
        copy.progress_span(EventTime::from_seconds(9), EventTime::from_seconds(8));
        copy.out_file("alerts.jsonl");
        copy.out_file("alerts.jsonl");
        let expected = (EventTime::from_seconds(1), EventTime::from_seconds(2));
        assert_eq!(settings.span(), Some(expected));
        assert_eq!(settings.files(), [Path::new("./out/flights/alerts.jsonl")]);
    }

    #[test]
    fn only_folders_that_somebody_named_must_be_there() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let check = |settings: Settings, expected: &[&str]| {
            let mut errors = Vec::new();
            settings.check_folders(&mut errors);
            assert_eq!(errors.len(), expected.len(), "{errors:?}");
            for (error, start) in errors.iter().zip(expected) {
                assert!(error.starts_with(start), "{error}");
            }
        };
        check(Settings::new("flights"), &[]);
        check(Settings::new("flights").with_data(folder.path()), &[]);
        let missing = Settings::new("flights")
            .with_data("no/data")
            .with_model("no/model");
        let data = "cannot read data folder `no/data`: there is no such folder; name";
        let model = "cannot read model folder `no/model`: there is no such folder; name";
        check(missing, &[data, model]);
        check(
            Settings::for_backfill("flights").with_model("no/model"),
            &[],
        );
    }

    #[test]
    fn an_output_folder_that_cannot_be_written_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let good = Settings::new("flights").with_out(folder.path().join("a/b"));
        assert_eq!(good.prepare_out(), Ok(()));
        assert_eq!(
            std::fs::read_dir(good.out()).map(Iterator::count).ok(),
            Some(0)
        );

        let file = folder.path().join("file");
        std::fs::write(&file, b"in the way").expect("a file");
        let error = Settings::new("flights")
            .with_out(file.join("out"))
            .prepare_out();
        let error = error.expect_err("a file is in the way");
        assert!(
            error.starts_with("cannot write to output folder `"),
            "{error}"
        );
        assert!(
            error.ends_with("name a writable folder with --out"),
            "{error}"
        );
    }
}
