//! Which files a source reads.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use thalweg_engine::source::SourceError;

use super::source::open_error;

/// Files by name, or by a pattern.
pub(crate) struct Files {
    pattern: Option<String>,
    /// None until the pattern has been looked at.
    found: Mutex<Option<Result<Vec<PathBuf>, Reason>>>,
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
            found: Mutex::new(Some(found)),
        }
    }

    pub(crate) fn matching(pattern: String) -> Self {
        Self {
            pattern: Some(pattern),
            found: Mutex::default(),
        }
    }

    /// Their paths: as they were named, or in order; what [`look_again`](Self::look_again) has found
    /// comes after those.
    pub(crate) fn paths(&self) -> Result<Vec<PathBuf>, SourceError> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let pattern = self.pattern.as_deref().unwrap_or_default();
        match found.get_or_insert_with(|| find(pattern)) {
            Ok(paths) => Ok(paths.clone()),
            Err((reason, remedy)) => Err(open_error("the files", reason.clone(), remedy)),
        }
    }

    /// Adds the files that match the pattern by now.
    pub(crate) fn look_again(&self) {
        let Some(pattern) = &self.pattern else { return };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Ok(known)), Ok(there)) = (&mut *found, find(pattern)) {
            let new: Vec<_> = there
                .into_iter()
                .filter(|path| !known.contains(path))
                .collect();
            known.extend(new);
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
