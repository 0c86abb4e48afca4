//! Tries whether a folder can be written to, without leaving anything in it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Makes the folder if it is not there, then a file in it, whose name tells what the try was for,
/// and removes that again.
pub(crate) fn folder(folder: &Path, name: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".{name}.{}.check", std::process::id()));
    File::create(&probe)?.write_all(b"check")?;
    fs::remove_file(&probe)
}
