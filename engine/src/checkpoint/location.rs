//! Where checkpoints are kept.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use super::error::CheckpointError;
use super::store::{Local, Store};

/// The URLs of stores that are not a local folder.
const CLOUD_SCHEMES: [&str; 3] = ["s3", "gs", "az"];

/// A place for checkpoints: a local folder, a store in a cloud, or any other [`Store`].
///
/// In text, a path, a `file://` URL, or, with the feature `cloud`, the URL of a bucket and a prefix
/// in it: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`. Rights to a bucket come
/// from the environment, by the names that the tools of its provider use.
#[derive(Clone, Debug)]
pub struct Location(Place);

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Cloud(String),
    Store(Arc<dyn Store>),
}

impl Location {
    /// A local folder. It is made when it is first written to.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self(Place::Folder(path.into()))
    }

    /// A store that is there already, such as a simulated one.
    pub fn store(store: Arc<dyn Store>) -> Self {
        Self(Place::Store(store))
    }

    /// Opens the store; a local folder need not be there.
    pub(super) fn open(&self) -> Result<Arc<dyn Store>, CheckpointError> {
        match &self.0 {
            Place::Folder(path) => Ok(Arc::new(Local::new(path))),
            Place::Cloud(url) => open_cloud(url),
            Place::Store(store) => Ok(Arc::clone(store)),
        }
    }
}

#[cfg(feature = "cloud")]
fn open_cloud(url: &str) -> Result<Arc<dyn Store>, CheckpointError> {
    let store = super::store::Cloud::open(url).map_err(|reason| CheckpointError::Location {
        location: url.to_owned(),
        reason,
    })?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "cloud"))]
fn open_cloud(url: &str) -> Result<Arc<dyn Store>, CheckpointError> {
    Err(CheckpointError::Location {
        location: url.to_owned(),
        reason: "this program is built without stores in a cloud; build it with `--features \
                 cloud`, or name a local folder"
            .to_owned(),
    })
}

impl FromStr for Location {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let wrong = |reason: &str| CheckpointError::Location {
            location: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.is_empty() {
            return Err(wrong("it is empty; name a folder or a URL"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::folder(text));
        };
        match scheme {
            "file" if rest.starts_with('/') => Ok(Self::folder(rest)),
            "file" => Err(wrong(
                "a file URL has an absolute path, as in `file:///var/lib/checkpoints`",
            )),
            _ if has_user(rest) => Err(CheckpointError::Location {
                location: format!("{scheme}://"),
                reason: "it names a user; credentials are for the environment, as the store's own tools \
                         take them"
                    .to_owned(),
            }),
            _ if CLOUD_SCHEMES.contains(&scheme) => Ok(Self(Place::Cloud(text.to_owned()))),
            _ => Err(wrong(
                "there is no store of this kind; give a path, file://, s3://, gs:// or az://",
            )),
        }
    }
}

/// Whether a URL, from its host on, holds a user, who may have a password.
fn has_user(rest: &str) -> bool {
    let host = rest.split('/').next().unwrap_or(rest);
    host.contains('@')
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Folder(path) => path.display().fmt(f),
            Place::Cloud(url) => f.write_str(url),
            Place::Store(store) => f.write_str(&store.describe()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_paths_or_urls() {
        let check = |text: &str, expected: &str| {
            let location = text.parse::<Location>();
            let shown = location.map_or_else(|error| error.to_string(), |l| l.to_string());
            assert!(shown.contains(expected), "{shown}");
        };
        check("checkpoints/fraud", "checkpoints/fraud");
        check("file:///var/lib/fraud", "/var/lib/fraud");
        check("s3://bucket/fraud", "s3://bucket/fraud");
        check("", "it is empty");
        check("file://fraud", "has an absolute path");
        check("ftp://fraud", "no store of this kind");
        check("s3://bucket/a@b", "s3://bucket/a@b");
        check(
            "s3://key:secret@bucket/fraud",
            "`s3://` cannot be used: it names a user",
        );
    }
}
