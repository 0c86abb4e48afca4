//! What can be wrong with a model, from its folder to its scores.

use std::fmt;
use std::path::PathBuf;

/// A model that cannot be used, or rows it could not score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The model's folder is not there.
    #[error("there is no model folder {}; check the path, or put the model there", .path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the folder is not there.
    #[error("model file {} is missing; copy the whole model folder again", .path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
    },
    /// A file of the folder may not be read.
    #[error("cannot read model file {}: {reason}; check its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// `model.toml` is not TOML of the right shape.
    #[error(
        "{} does not describe a model; correct this place: {}",
        .path.display(),
        .reason.to_string().trim_end()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the TOML parser said, with line and column of the file.
        reason: Box<toml::de::Error>,
    },
    /// `model.toml` contradicts itself.
    #[error("{}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A file is not the one that `model.toml` was written for.
    #[error(
        "model file {} has SHA-256 {actual}, but model.toml lists {listed}; copy the whole model \
         folder again, or write model.toml anew if the change is meant",
        .path.display()
    )]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The hash in `model.toml`.
        listed: String,
        /// The hash of the file.
        actual: String,
    },
    /// The graph cannot be read, or holds something that cannot be computed here.
    #[error(
        "cannot load model {}: {reason}; export it again as plain ONNX (operator set 9 to 18, \
         weights inside the file)",
        .path.display()
    )]
    Load {
        /// The graph's file.
        path: PathBuf,
        /// What the inference library said.
        reason: String,
    },
    /// The graph's inputs or outputs do not include the one that `model.toml` names.
    #[error(
        "model {} has no {side} `{name}`, it has {}; correct the name in model.toml",
        .path.display(), Quoted(.present)
    )]
    UnknownName {
        /// The graph's file.
        path: PathBuf,
        /// Whether an input or an output was looked for.
        side: Side,
        /// The name in `model.toml`.
        name: String,
        /// The names that the graph has.
        present: Vec<String>,
    },
    /// The graph takes another number of features than `model.toml` lists.
    #[error(
        "model {} takes {taken} features, but model.toml lists {listed}; list the features the \
         model was trained on, in their order",
        .path.display()
    )]
    FeatureCount {
        /// The graph's file.
        path: PathBuf,
        /// The second dimension of the graph's input.
        taken: i64,
        /// How many features `model.toml` lists.
        listed: usize,
    },
    /// The graph's input or output is not of the shape or type that scoring rows needs.
    #[error("model {}: {reason}", .path.display())]
    Shape {
        /// The graph's file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// The model did not give a finite score for a row without surprises.
    #[error(
        "model {} failed its warm-up: {reason}; a missing feature arrives as NaN, so the graph has \
         to replace NaN (IsNaN, Where) before it computes with it",
        .path.display()
    )]
    WarmUp {
        /// The graph's file.
        path: PathBuf,
        /// Which row failed, and how.
        reason: String,
    },
    /// The score of a row depends on the rows beside it.
    #[error(
        "model {} scores a row differently when other rows stand beside it; export it for \
         inference, so that nothing is computed across rows (no batch statistics)",
        .path.display()
    )]
    MixesRows {
        /// The graph's file.
        path: PathBuf,
    },
    /// Inputs of the model are not among the features.
    #[error(
        "the model needs {}, not among the features; compute them under these names, or correct \
         the names in model.toml if they were only renamed",
        Missing(.missing)
    )]
    MissingFeatures {
        /// All that are missing, in the model's order.
        missing: Vec<MissingFeature>,
    },
    /// The model failed on rows.
    #[error("model `{model}` version {version} failed on its input: {reason}")]
    Predict {
        /// The model's name.
        model: String,
        /// The model's version.
        version: String,
        /// What the inference library said.
        reason: String,
    },
}

/// One of the two ends of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where features go in.
    Input,
    /// Where scores come out.
    Output,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// An input of a model that no feature is named after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeature {
    /// The input's name.
    pub name: String,
    /// The available feature whose name is nearest, when one is near.
    pub nearest: Option<String>,
}

/// Names in backticks, separated by commas.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, name) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

/// Missing features, each with its suggestion.
struct Missing<'a>(&'a [MissingFeature]);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, MissingFeature { name, nearest }) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
            if let Some(nearest) = nearest {
                write!(f, " (is it `{nearest}`?)")?;
            }
        }
        Ok(())
    }
}
