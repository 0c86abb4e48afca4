//! Tries whether a folder can be written to, without leaving anything behind.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a file, whose name tells what the try was for, in the folder or, where that is not there yet,
/// in the nearest one above it that is; and removes it again.
pub(crate) fn folder(folder: &Path, name: &str) -> io::Result<()> {
    static TRIES: AtomicU64 = AtomicU64::new(0);
    let mut above = folder.ancestors();
    let there = above
        .find(|folder| folder.exists())
        .unwrap_or(Path::new(""));
    let number = TRIES.fetch_add(1, Ordering::Relaxed);
    let probe = there.join(format!(".{name}.{}-{number}.check", std::process::id()));
    File::create(&probe)?.write_all(b"check")?;
    fs::remove_file(&probe)
}
