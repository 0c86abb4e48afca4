//! Checkpoints as they are shown to people.

use std::collections::BTreeMap;

use thalweg_engine::checkpoint::{Manifest, PartRef};

use crate::format;
use crate::report::table;

/// The checkpoints that are kept, and the savepoints, a line each.
pub(crate) fn listing(kept: &[Manifest], savepoints: &[(String, Manifest)]) -> String {
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
    table(&rows)
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

/// What a checkpoint consists of.
pub(crate) fn inspect(manifest: &Manifest) -> String {
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

/// How many parts there are, and their bytes.
pub(crate) fn parts_of<'p>(parts: impl IntoIterator<Item = &'p PartRef>) -> (usize, u64) {
    let mut sum = (0, 0);
    for part in parts {
        sum = (sum.0 + 1, sum.1 + part.bytes);
    }
    sum
}
