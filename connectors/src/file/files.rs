//! Which files a source reads.

use std::path::PathBuf;
use std::sync::OnceLock;

use thalweg_engine::source::SourceError;

use super::source::open_error;

/// Files by name, or by a pattern that is looked at once.
pub(crate) struct Files {
    pattern: Option<String>,
    found: OnceLock<Result<Vec<PathBuf>, Reason>>,
}

/// What is wrong with the files, and the remedy.
type Reason = (String, &'static str);

impl Files {
    pub(crate) fn named(paths: Vec<PathBuf>) -> Self {
        let found = if paths.is_empty() {
            Err(("no file is named".to_owned(), "name at least one"))
        } else {
            Ok(paths)
        };
        Self {
            pattern: None,
            found: OnceLock::from(found),
        }
    }

    pub(crate) fn matching(pattern: String) -> Self {
        Self {
            pattern: Some(pattern),
            found: OnceLock::new(),
        }
    }

    /// Their paths: as they were named, or in order.
    pub(crate) fn paths(&self) -> Result<&[PathBuf], SourceError> {
        let pattern = self.pattern.as_deref().unwrap_or_default();
        match self.found.get_or_init(|| find(pattern)) {
            Ok(paths) => Ok(paths),
            Err((reason, remedy)) => Err(open_error("the files", reason.clone(), remedy)),
        }
    }
}

fn find(pattern: &str) -> Result<Vec<PathBuf>, Reason> {
    let paths = glob::glob(pattern).map_err(|error| {
        let reason = format!("the pattern `{pattern}` is malformed: {error}");
        (reason, "mend the pattern")
    })?;
    let mut found = Vec::new();
    for path in paths {
        let path = path.map_err(|error| (error.to_string(), "make the folders readable"))?;
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        let reason = format!("no file matches `{pattern}`");
        return Err((reason, "check the pattern, and where the job is started"));
    }
    found.sort();
    Ok(found)
}
