//! What `checkpoint` does: looks at the checkpoints of a pipeline, checks them, copies them.

use serde_json::{Value, json};
use thalweg_engine::checkpoint::{
    CheckpointError, CheckpointOptions, Checkpoints, Epoch, Location, Manifest, Verified,
};

use crate::checkpoint_args::{CheckpointTask, NEWEST};
use crate::checkpoint_text::{inspect, listing, parts_of};
use crate::format;
use crate::outcome::{Outcome, print, print_errors};
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
        let found = Checkpoints::unread(options, pipeline)?.verify()?;
        return Ok(verified(&options.location, found));
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
        CheckpointTask::Savepoint { name, .. } if name == NEWEST => {
            Err(CheckpointError::Location {
                location: format!("savepoints/{name}"),
                reason: format!(
                    "`{NEWEST}` is the word for the newest checkpoint; choose another name"
                ),
            })
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

fn verified(location: &Location, mut verified: Verified) -> Answer {
    if verified.checkpoints == 0 && verified.problems.is_empty() {
        // Nothing is well where there is nothing: it may be the wrong place.
        let problem =
            format!("there are no checkpoints in `{location}`; see that it is the right place");
        verified.problems.push(problem);
    }
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
    Answer::new(listing(kept, savepoints), json)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use thalweg_engine::checkpoint::{
        KeyGroups, ManifestDraft, PartContent, PartKind, PartSpec, SourcePartition, SourceRecord,
        StartFrom, StepDraft,
    };
    use thalweg_engine::key::KeyGroup;
    use thalweg_engine::time::EventTime;
    use thalweg_engine::watermark::Watermark;

    use super::*;

    fn options(folder: &Path) -> CheckpointOptions {
        CheckpointOptions::new(Location::folder(folder))
    }

    /// Seals two epochs of a pipeline with one source and one step.
    fn seal(folder: &Path) {
        let checkpoints = Checkpoints::open(&options(folder), "fraud").expect("opened");
        let mut generation = checkpoints.begin(&StartFrom::Newest).expect("begun");
        for (epoch, kind) in [(1, PartKind::Base), (2, PartKind::Delta)] {
            let spec = PartSpec {
                epoch: Epoch(epoch),
                step: "card".to_owned(),
                content: "keys".to_owned(),
                worker: 0,
                process: 0,
                kind,
                groups: KeyGroups::ALL,
                state_version: 1,
                fingerprint: 7,
            };
            let content = PartContent::from([(KeyGroup(3), vec![1, 2, 3])]);
            let part = generation.writer().write(&spec, &content).expect("written");
            let partition = SourcePartition {
                name: "payments-0".to_owned(),
                number: 0,
                offset: epoch * 1_000,
                watermark: Watermark::active(EventTime::from_seconds(1_700_000_000)),
            };
            let draft = ManifestDraft {
                epoch: Epoch(epoch),
                sealed_at: EventTime::from_seconds(1_700_000_000),
                workers: 1,
                processes: 1,
                sources: vec![SourceRecord {
                    id: "payments".to_owned(),
                    kind: "events".to_owned(),
                    partitions: vec![partition],
                    notes: BTreeMap::new(),
                }],
                steps: vec![StepDraft {
                    id: "card".to_owned(),
                    kind: "features".to_owned(),
                    parts: vec![part],
                    notes: BTreeMap::new(),
                }],
                notes: BTreeMap::from([("model".to_owned(), json!("fraud 3"))]),
                ..ManifestDraft::default()
            };
            generation.seal(&draft).expect("sealed");
        }
    }

    fn ask(folder: &Path, task: &CheckpointTask) -> Result<Answer, String> {
        answer(&options(folder), "fraud", task).map_err(|error| error.to_string())
    }

    fn inspect_task(which: &str) -> CheckpointTask {
        let which = which.to_owned();
        CheckpointTask::Inspect { which }
    }

    fn savepoint_task(delete: bool) -> CheckpointTask {
        CheckpointTask::Savepoint {
            name: "friday".to_owned(),
            which: "1".to_owned(),
            delete,
        }
    }

    #[test]
    fn the_list_names_checkpoints_and_savepoints() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let empty = ask(folder.path(), &CheckpointTask::List).expect("a list");
        assert!(empty.text.starts_with("there are no checkpoints in "));
        let empty = ask(folder.path(), &CheckpointTask::Verify).expect("verified");
        assert!(
            empty.problems[0].starts_with("there are no checkpoints in "),
            "{:?}",
            empty.problems
        );
        seal(folder.path());
        ask(folder.path(), &savepoint_task(false)).expect("saved");
        let list = ask(folder.path(), &CheckpointTask::List).expect("a list");
        let lines: Vec<_> = list.text.lines().map(str::split_whitespace).collect();
        let words = |line: usize| lines[line].clone().collect::<Vec<_>>();
        assert_eq!(lines.len(), 4, "{}", list.text);
        assert_eq!(words(0)[..4], ["epoch", "sealed", "generation", "workers"]);
        assert_eq!(words(2)[..3], ["2", "2023-11-14T22:13:20Z", "1"]);
        assert_eq!(words(3).last(), Some(&"friday"));
        assert_eq!(list.json["checkpoints"][1]["epoch"], 2);
        assert_eq!(list.json["savepoints"][0]["name"], "friday");
        let newest = CheckpointTask::Savepoint {
            name: NEWEST.to_owned(),
            which: "1".to_owned(),
            delete: false,
        };
        let error = ask(folder.path(), &newest).err().expect("it is a word");
        assert!(error.contains("the word for the newest"), "{error}");
        ask(folder.path(), &savepoint_task(true)).expect("deleted");
        let error = ask(folder.path(), &inspect_task("friday"))
            .err()
            .expect("it is gone");
        assert!(
            error.starts_with("there is no savepoint `friday` in "),
            "{error}"
        );
    }

    #[test]
    fn an_inspected_checkpoint_reads_as_a_whole() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        seal(folder.path());
        let answer = ask(folder.path(), &inspect_task("newest")).expect("inspected");
        let sizes: Vec<_> = answer.json["steps"][0]["parts"]
            .as_array()
            .expect("parts")
            .iter()
            .map(|part| part["bytes"].as_u64().expect("a size"))
            .collect();
        let expected = format!(
            "\
fraud epoch 2, sealed 2023-11-14T22:13:20Z by generation 1, which began with nothing
1 worker in 1 process, engine {}; 2 parts, {} B

source    partition   next offset  watermark
payments  payments-0        2,000  2023-11-14T22:13:20Z

step  type      content  parts  base  changes
card  features  keys         2  {} B     {} B

model:  \"fraud 3\"",
            env!("CARGO_PKG_VERSION"),
            sizes[0] + sizes[1],
            sizes[0],
            sizes[1],
        );
        assert_eq!(answer.text, expected);
        assert_eq!(answer.json["notes"]["model"], "fraud 3");
        let error = ask(folder.path(), &inspect_task("9"))
            .err()
            .expect("there is none");
        assert!(error.ends_with("there are epochs 1 to 2"), "{error}");
    }

    #[test]
    fn damage_is_a_problem_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        seal(folder.path());
        let well = ask(folder.path(), &CheckpointTask::Verify).expect("verified");
        assert!(
            well.text.ends_with("are read: all is well"),
            "{}",
            well.text
        );
        let parts = folder.path().join("parts/g0000000001");
        let part = std::fs::read_dir(parts).expect("a folder").next();
        let part = part.expect("a part").expect("a part").path();
        let mut bytes = std::fs::read(&part).expect("a part");
        *bytes.last_mut().expect("a byte") ^= 1;
        std::fs::write(&part, bytes).expect("written");
        let hurt = ask(folder.path(), &CheckpointTask::Verify).expect("verified");
        assert!(hurt.text.ends_with("are read: 1 problem"), "{}", hurt.text);
        assert!(
            hurt.problems[0].contains(&*part.to_string_lossy()),
            "{:?}",
            hurt.problems
        );
        assert_eq!(hurt.json["problems"][0], hurt.problems[0]);
    }

    #[test]
    fn an_export_is_a_place_of_checkpoints() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let copy = folder.path().join("copy");
        seal(folder.path());
        let to = copy.display().to_string();
        let which = "1".to_owned();
        let export = CheckpointTask::Export { which, to };
        ask(folder.path(), &export).expect("exported");
        let inspected = ask(&copy, &inspect_task("newest")).expect("inspected");
        assert!(
            inspected.text.starts_with("fraud epoch 1,"),
            "{}",
            inspected.text
        );
    }
}
