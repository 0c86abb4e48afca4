//! What `checkpoint` does: looks at the checkpoints of a pipeline, checks them, copies them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thalweg_engine::checkpoint::{
    CheckpointError, CheckpointOptions, Checkpoints, Epoch, Location, Manifest, PartRef, Verified,
};

use crate::checkpoint_args::{CheckpointTask, NEWEST};
use crate::format;
use crate::outcome::{Outcome, print, print_errors};
use crate::report::table;
use crate::settings::Settings;

/// Does what `checkpoint` was asked for.
pub(crate) fn checkpoint(settings: &Settings, task: &CheckpointTask, is_json: bool) -> Outcome {
    let Some(location) = settings.checkpoint() else {
        print_errors([
            "there is no place to look for checkpoints: name it with --checkpoint, as \
             THALWEG_CHECKPOINT, or as `checkpoint` under [run] in the settings file",
        ]);
        return Outcome::Refused;
    };
    let options = CheckpointOptions::new(location.clone());
    match answer(&options, settings.name(), task) {
        Ok(answer) => {
            print(&answer.text(is_json));
            print_errors(answer.problems.iter().map(String::as_str));
            if answer.problems.is_empty() {
                Outcome::Done
            } else {
                Outcome::Failed
            }
        }
        Err(error) => {
            print_errors([error.to_string().as_str()]);
            Outcome::Failed
        }
    }
}

/// What is said, for people and for programs.
struct Answer {
    text: String,
    json: Value,
    problems: Vec<String>,
}

impl Answer {
    fn new(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            problems: Vec::new(),
        }
    }

    fn text(&self, is_json: bool) -> String {
        if is_json {
            format!("{:#}\n", self.json)
        } else {
            format!("{}\n", self.text)
        }
    }
}

fn answer(
    options: &CheckpointOptions,
    pipeline: &str,
    task: &CheckpointTask,
) -> Result<Answer, CheckpointError> {
    if *task == CheckpointTask::Verify {
        return Ok(verified(Checkpoints::unread(options, pipeline)?.verify()?));
    }
    let checkpoints = Checkpoints::open(options, pipeline)?;
    let location = &options.location;
    match task {
        CheckpointTask::List | CheckpointTask::Verify => {
            let (kept, savepoints) = (checkpoints.list()?, checkpoints.savepoints()?);
            Ok(list(location, &kept, &savepoints))
        }
        CheckpointTask::Inspect { which } => {
            let (_, manifest) = find(&checkpoints, location, which)?;
            let json = serde_json::to_value(&manifest).expect("invariant: a manifest is JSON");
            Ok(Answer::new(inspect(&manifest), json))
        }
        CheckpointTask::Export { which, to } => {
            let (holder, manifest) = find(&checkpoints, location, which)?;
            let copied = holder.export(manifest.epoch, &to.parse()?)?;
            Ok(copy(
                &copied,
                to,
                &format!("start from it with --from {to}"),
            ))
        }
        CheckpointTask::Savepoint {
            name, delete: true, ..
        } => {
            checkpoints.delete_savepoint(name)?;
            let text = format!("savepoint `{name}` is deleted");
            Ok(Answer::new(text, json!({ "deleted": name })))
        }
        CheckpointTask::Savepoint { name, which, .. } => {
            let (_, manifest) = find(&checkpoints, location, which)?;
            let copied = checkpoints.savepoint(name, manifest.epoch)?;
            let hint = format!("start from it with --from {name}");
            Ok(copy(&copied, &format!("savepoint `{name}`"), &hint))
        }
    }
}

/// A checkpoint by its epoch, the newest, or a savepoint by its name, with the checkpoints it is among.
fn find(
    checkpoints: &Checkpoints,
    location: &Location,
    which: &str,
) -> Result<(Checkpoints, Manifest), CheckpointError> {
    let holder = match which.parse() {
        Ok(epoch) => return Ok((checkpoints.clone(), checkpoints.manifest(Epoch(epoch))?)),
        Err(_) if which == NEWEST => checkpoints.clone(),
        Err(_) => checkpoints.open_savepoint(which)?,
    };
    let newest = holder.newest()?.ok_or_else(|| CheckpointError::Unknown {
        what: "checkpoint".to_owned(),
        location: location.to_string(),
        known: Vec::new(),
    })?;
    Ok((holder, newest))
}

fn copy(manifest: &Manifest, to: &str, hint: &str) -> Answer {
    let (parts, bytes) = parts_of(manifest.parts());
    let text = format!(
        "epoch {} is copied to {to}: {}, {}; {hint}",
        manifest.epoch,
        format::things(parts, "part"),
        format::size(bytes),
    );
    let json = json!({ "epoch": manifest.epoch, "to": to, "parts": parts, "bytes": bytes });
    Answer::new(text, json)
}

fn verified(verified: Verified) -> Answer {
    let text = format!(
        "{}, {} and {} are read: {}",
        format::things(verified.checkpoints, "checkpoint"),
        format::things(verified.parts, "part"),
        format::size(verified.bytes),
        match verified.problems.len() {
            0 => "all is well".to_owned(),
            problems => format::things(problems, "problem"),
        },
    );
    let json = json!({
        "checkpoints": verified.checkpoints,
        "parts": verified.parts,
        "bytes": verified.bytes,
        "problems": verified.problems,
    });
    Answer {
        text,
        json,
        problems: verified.problems,
    }
}

fn list(location: &Location, kept: &[Manifest], savepoints: &[(String, Manifest)]) -> Answer {
    let json = json!({
        "location": location.to_string(),
        "checkpoints": kept.iter().map(|manifest| listed(None, manifest)).collect::<Vec<_>>(),
        "savepoints": savepoints
            .iter()
            .map(|(name, manifest)| listed(Some(name), manifest))
            .collect::<Vec<_>>(),
    });
    if kept.is_empty() && savepoints.is_empty() {
        return Answer::new(format!("there are no checkpoints in {location}"), json);
    }
    let head = [
        "epoch",
        "sealed",
        "generation",
        "workers",
        "parts",
        "size",
        "savepoint",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(kept.iter().map(|manifest| row(manifest, "")));
    rows.extend(
        savepoints
            .iter()
            .map(|(name, manifest)| row(manifest, name)),
    );
    Answer::new(table(&rows), json)
}

fn listed(savepoint: Option<&String>, manifest: &Manifest) -> Value {
    let (parts, bytes) = parts_of(manifest.parts());
    let mut listed = json!({
        "epoch": manifest.epoch,
        "sealed_at": manifest.sealed_at.to_string(),
        "generation": manifest.generation.number,
        "workers": manifest.workers,
        "processes": manifest.processes,
        "parts": parts,
        "bytes": bytes,
    });
    if let Some(name) = savepoint {
        listed["name"] = json!(name);
    }
    listed
}

fn row(manifest: &Manifest, savepoint: &str) -> [String; 7] {
    let (parts, bytes) = parts_of(manifest.parts());
    [
        manifest.epoch.to_string(),
        manifest.sealed_at.to_string(),
        manifest.generation.number.to_string(),
        manifest.workers.to_string(),
        format::count(parts as u64),
        format::size(bytes),
        savepoint.to_owned(),
    ]
}

fn parts_of<'p>(parts: impl IntoIterator<Item = &'p PartRef>) -> (usize, u64) {
    let mut sum = (0, 0);
    for part in parts {
        sum = (sum.0 + 1, sum.1 + part.bytes);
    }
    sum
}

fn inspect(manifest: &Manifest) -> String {
    let mut paragraphs = vec![headline(manifest)];
    let mut sources = vec![["source", "partition", "next offset", "watermark"].map(str::to_owned)];
    for source in &manifest.sources {
        sources.extend(source.partitions.iter().map(|partition| {
            [
                source.id.clone(),
                partition.name.clone(),
                format::count(partition.offset),
                partition.watermark.time.to_string(),
            ]
        }));
    }
    let head = ["step", "type", "content", "parts", "base", "changes"];
    let mut steps = vec![head.map(str::to_owned)];
    for step in &manifest.steps {
        let mut contents: BTreeMap<&str, Vec<&PartRef>> = BTreeMap::new();
        for part in &step.parts {
            contents.entry(&part.content).or_default().push(part);
        }
        for (content, parts) in contents {
            let of = |is_base| {
                parts
                    .iter()
                    .filter(move |part| part.kind.is_base() == is_base)
            };
            steps.push([
                step.id.clone(),
                step.kind.clone(),
                content.to_owned(),
                format::count(parts.len() as u64),
                format::size(parts_of(of(true).copied()).1),
                format::size(parts_of(of(false).copied()).1),
            ]);
        }
    }
    let mut outboxes = vec![["outbox", "epoch", "parts", "size"].map(str::to_owned)];
    outboxes.extend(manifest.outboxes.iter().map(|outbox| {
        let (parts, bytes) = parts_of(&outbox.parts);
        [
            outbox.sink.clone(),
            outbox.epoch.to_string(),
            format::count(parts as u64),
            format::size(bytes),
        ]
    }));
    let notes = manifest
        .notes
        .iter()
        .map(|(name, note)| [format!("{name}:"), note.to_string()]);
    let notes: Vec<_> = notes.collect();
    if sources.len() > 1 {
        paragraphs.push(table(&sources));
    }
    if steps.len() > 1 {
        paragraphs.push(table(&steps));
    }
    if outboxes.len() > 1 {
        paragraphs.push(table(&outboxes));
    }
    if !notes.is_empty() {
        paragraphs.push(table(&notes));
    }
    paragraphs.join("\n\n")
}

fn headline(manifest: &Manifest) -> String {
    let (parts, bytes) = parts_of(manifest.parts());
    let restored = manifest
        .restored_from
        .map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
    format!(
        "{} epoch {}, sealed {} by generation {}, which began with {restored}\n{} in {}, engine {}; {}, {}",
        manifest.pipeline,
        manifest.epoch,
        manifest.sealed_at,
        manifest.generation.number,
        format::things(manifest.workers, "worker"),
        if manifest.processes == 1 {
            "1 process".to_owned()
        } else {
            format!("{} processes", manifest.processes)
        },
        manifest.engine,
        format::things(parts, "part"),
        format::size(bytes),
    )
}
