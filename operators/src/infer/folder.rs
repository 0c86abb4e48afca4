//! A model's folder: `model.toml`, and the files it lists, verified against their hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::error::ModelError;
use super::model::ModelInfo;

/// The name of the manifest in a model's folder.
const MANIFEST: &str = "model.toml";

/// The verified content of a model's folder.
///
/// The folder's `model.toml` says what the model is and which files make it up:
///
/// ```toml
/// name = "flights-delay"
/// version = "1"
///
/// [input]
/// name = "features"               # of the graph's input, [rows, features]
/// dtype = "f32"
/// features = ["hour", "distance"] # in the order of the columns
///
/// [output]
/// name = "probability"            # of the graph's output, [rows] or [rows, 1]
/// dtype = "f32"
///
/// [files]                         # SHA-256 of each
/// "model.onnx" = "…"
/// "reference.json" = "…"
/// ```
///
/// Each listed file is read once and kept, so that what is used is what was verified. Files that
/// are not listed are not looked at.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    info: ModelInfo,
    input: Input,
    output: Output,
    files: BTreeMap<String, Vec<u8>>,
}

/// `model.toml`, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: String,
    input: Input,
    output: Output,
    files: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    #[serde(rename = "dtype")]
    _dtype: DType,
    features: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    name: String,
    #[serde(rename = "dtype")]
    _dtype: DType,
}

/// The types of numbers a model may take and give.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DType {
    F32,
}

impl ModelFolder {
    /// Reads the manifest of the folder `path` and all files it lists, and verifies them.
    ///
    /// # Errors
    /// When the folder or a file is missing or unreadable, the manifest is not of the right shape
    /// (unknown keys included) or contradicts itself, or a file's hash is not the listed one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        if !path.is_dir() {
            return Err(ModelError::NoFolder {
                path: path.to_owned(),
            });
        }
        let manifest_path = path.join(MANIFEST);
        let manifest = parse(&manifest_path, &read(&manifest_path)?)?;
        check(&manifest).map_err(|reason| ModelError::Invalid {
            path: manifest_path,
            reason,
        })?;
        let mut files = BTreeMap::new();
        for (name, listed) in manifest.files {
            let bytes = read_verified(path.join(&name), listed)?;
            files.insert(name, bytes);
        }
        Ok(Self {
            path: path.to_owned(),
            info: ModelInfo {
                name: manifest.name,
                version: manifest.version,
            },
            input: manifest.input,
            output: manifest.output,
            files,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which model it is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The name of the input that takes the features.
    pub fn input(&self) -> &str {
        &self.input.name
    }

    /// The names of the features, in the order of the input's columns; at least one, no two alike.
    pub fn features(&self) -> &[String] {
        &self.input.features
    }

    /// The name of the output that gives the scores.
    pub fn output(&self) -> &str {
        &self.output.name
    }

    /// The content of the file `name`.
    ///
    /// # Errors
    /// When the manifest does not list it, whether it is there or not.
    pub fn file(&self, name: &str) -> Result<&[u8], ModelError> {
        self.files
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| ModelError::Invalid {
                path: self.path.join(MANIFEST),
                reason: format!("`{name}` is not listed; add it under [files] with its SHA-256"),
            })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    fs::read(path).map_err(|reason| match reason.kind() {
        ErrorKind::NotFound => ModelError::NoFile {
            path: path.to_owned(),
        },
        _ => ModelError::Read {
            path: path.to_owned(),
            reason,
        },
    })
}

fn read_verified(path: PathBuf, listed: String) -> Result<Vec<u8>, ModelError> {
    let bytes = read(&path)?;
    let actual: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if actual.eq_ignore_ascii_case(&listed) {
        Ok(bytes)
    } else {
        Err(ModelError::WrongHash {
            path,
            listed,
            actual,
        })
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest, ModelError> {
    let text = std::str::from_utf8(bytes).map_err(|reason| ModelError::Invalid {
        path: path.to_owned(),
        reason: format!("it is not text: {reason}; write it in UTF-8"),
    })?;
    toml::from_str(text).map_err(|reason| ModelError::Parse {
        path: path.to_owned(),
        reason: Box::new(reason),
    })
}

/// Says what contradicts itself, and the remedy.
fn check(manifest: &Manifest) -> Result<(), String> {
    if manifest.name.is_empty() || manifest.version.is_empty() {
        return Err("name or version is empty; predictions are told apart by them".to_owned());
    }
    if manifest.input.features.is_empty() {
        return Err("no features are listed; list the input's columns in their order".to_owned());
    }
    let mut seen = BTreeSet::new();
    for name in &manifest.input.features {
        if !seen.insert(name) {
            return Err(format!(
                "feature `{name}` is listed twice; keep one of the two"
            ));
        }
    }
    for name in manifest.files.keys() {
        if Path::new(name).file_name() != Some(name.as_ref()) || name.contains('\\') {
            return Err(format!(
                "file `{name}` is not a plain name; a model's files lie in its folder itself"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::onnx_fixture::Folder;
    use super::*;

    /// Opens `folder` and checks that the message names `file` and all of `parts`.
    fn check_refused(folder: &Folder, file: &str, parts: &[&str]) -> ModelError {
        let error = ModelFolder::open(folder.path()).unwrap_err();
        let message = error.to_string();
        let path = folder.file(file).display().to_string();
        for part in parts.iter().chain([&path.as_str()]) {
            assert!(message.contains(part), "no `{part}` in: {message}");
        }
        error
    }

    /// Checks the message when `from` is replaced by `to` in the manifest.
    fn check_manifest(from: &str, to: &str, parts: &[&str]) {
        let folder = Folder::perceptron(3, 2);
        folder.edit_manifest(from, to);
        check_refused(&folder, "model.toml", parts);
    }

    #[test]
    fn a_folder_that_fits_is_read() {
        let folder = ModelFolder::open(Folder::perceptron(3, 2).path()).unwrap();
        assert_eq!(folder.info().name, "flights-delay");
        assert_eq!(folder.info().version, "1");
        assert_eq!(
            (folder.input(), folder.output()),
            ("features", "probability")
        );
        assert_eq!(folder.features(), ["f0", "f1", "f2"]);
        assert_eq!(folder.file("reference.json").unwrap(), b"{}");
        let message = folder.file("model.toml").unwrap_err().to_string();
        assert!(message.contains("not listed"), "{message}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = ModelFolder::open("no/such/model").unwrap_err();
        assert!(matches!(error, ModelError::NoFolder { .. }));
        assert!(
            error.to_string().contains("no/such/model; check the path"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_manifest_or_file_is_named() {
        for file in ["model.toml", "model.onnx", "reference.json"] {
            let folder = Folder::perceptron(3, 2);
            fs::remove_file(folder.file(file)).unwrap();
            let error = check_refused(&folder, file, &["is missing", "copy"]);
            assert!(matches!(error, ModelError::NoFile { .. }));
        }
    }

    #[test]
    fn an_unreadable_file_is_named() {
        for file in ["model.toml", "model.onnx"] {
            let folder = Folder::perceptron(3, 2);
            fs::remove_file(folder.file(file)).unwrap();
            fs::create_dir(folder.file(file)).unwrap();
            let error = check_refused(&folder, file, &["cannot read", "permissions"]);
            assert!(matches!(error, ModelError::Read { .. }));
        }
    }

    #[test]
    fn a_changed_file_is_refused() {
        for file in ["model.onnx", "reference.json"] {
            let folder = Folder::perceptron(3, 2);
            folder.write(file, b"tampered");
            let error = check_refused(&folder, file, &["SHA-256", "model.toml lists"]);
            assert!(matches!(error, ModelError::WrongHash { .. }));
        }
    }

    #[test]
    fn a_hash_may_be_written_in_capitals() {
        let folder = Folder::perceptron(3, 2);
        let hash: String = Sha256::digest(b"{}")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        folder.edit_manifest(&hash, &hash.to_uppercase());
        ModelFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn a_manifest_of_another_shape_is_refused_with_its_place() {
        check_manifest("version = \"1\"", "version = 1", &["line 2", "string"]);
        check_manifest("version = \"1\"", "", &["missing field `version`"]);
        check_manifest("[output]", "[outputs]", &["unknown field `outputs`"]);
        check_manifest(
            "[files]",
            "extra = 1\n[files]",
            &["unknown field `extra`", "line 13"],
        );
        check_manifest("dtype = \"f32\"", "dtype = \"f64\"", &["`f64`", "`f32`"]);
        check_manifest("name = ", "name ", &["line 1"]);
    }

    #[test]
    fn a_manifest_that_contradicts_itself_is_refused() {
        check_manifest("\"flights-delay\"", "\"\"", &["name or version is empty"]);
        check_manifest("[\"f0\", \"f1\", \"f2\"]", "[]", &["no features"]);
        check_manifest("\"f2\"", "\"f0\"", &["`f0` is listed twice"]);
        check_manifest(
            "\"reference.json\"",
            "\"../reference.json\"",
            &["not a plain name"],
        );
        check_manifest(
            "\"reference.json\"",
            "\"/etc/passwd\"",
            &["not a plain name"],
        );
    }

    #[test]
    fn a_manifest_that_is_not_text_is_refused() {
        let folder = Folder::perceptron(3, 2);
        folder.write("model.toml", &[0xff, 0xfe]);
        check_refused(&folder, "model.toml", &["UTF-8"]);
    }
}
