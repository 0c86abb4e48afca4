//! The reference: the distribution of the data a model was made from, column by column.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::column::{Column, RawColumn};

/// The data that drift is measured against: a binned profile of each of its columns.
///
/// Stored as JSON beside the model:
///
/// ```json
/// {"rows": 4, "columns": [
///   {"name": "hour", "edges": [6.5, 9.0], "counts": [1, 1, 1], "nulls": 1, "min": 6, "max": 12}
/// ]}
/// ```
///
/// Of each column: the inner edges (strictly increasing), one count more than edges (see
/// [`Column`] for which value is in which bin), the nulls, and the range of the values; `min` and
/// `max` are `null` when there are none. Whatever made the file, a `Reference` is always checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawReference")]
pub struct Reference {
    rows: u64,
    columns: Vec<Column>,
}

/// A reference as it stands in the file, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    rows: u64,
    columns: Vec<RawColumn>,
}

/// A reference file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The file is not there or may not be read.
    #[error("cannot read drift reference {}: {reason}; check the path and its permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: std::io::Error,
    },
    /// The file is not JSON of the right shape.
    #[error(
        "drift reference {} is not a reference in JSON: {reason}; write it again with the model \
         (JSON has no NaN and no Infinity)",
        .path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the JSON parser said, with line and column of the file.
        reason: serde_json::Error,
    },
    /// The file's content contradicts itself.
    #[error("drift reference {}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, in which column.
        reason: InvalidReference,
    },
}

/// A reference whose content contradicts itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReference {
    /// There is nothing to compare with.
    #[error("it has no columns; write at least one")]
    NoColumns,
    /// Two columns have one name.
    #[error("column `{column}` stands there twice; keep one of the two")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// An inner edge is NaN or infinite.
    #[error(
        "column `{column}`: edge {index} is not finite; write inner edges only, the outer bins \
         reach to infinity by themselves"
    )]
    EdgeNotFinite {
        /// The column's name.
        column: String,
        /// The edge, counted from 0.
        index: usize,
    },
    /// Two edges are equal or out of order.
    #[error(
        "column `{column}`: edge {index} ({edge}) is not above the edge before it ({previous}); \
         sort the edges and remove equal ones"
    )]
    EdgesNotIncreasing {
        /// The column's name.
        column: String,
        /// The edge, counted from 0.
        index: usize,
        /// Its value.
        edge: f64,
        /// The value of the edge before it.
        previous: f64,
    },
    /// The number of counts is not that of the bins.
    #[error(
        "column `{column}`: {counts} counts for {edges} edges; write one count more than edges"
    )]
    CountsLength {
        /// The column's name.
        column: String,
        /// How many counts there are.
        counts: usize,
        /// How many edges there are.
        edges: usize,
    },
    /// The counts do not fit into 64 bits together.
    #[error("column `{column}`: the counts add up to more than 64 bits hold; count the rows again")]
    CountsOverflow {
        /// The column's name.
        column: String,
    },
    /// Counts and nulls are not as many as the rows.
    #[error(
        "column `{column}`: counts and nulls add up to {counted}, but the reference has {rows} \
         rows; count each row once, in one bin or as a null"
    )]
    RowsMismatch {
        /// The column's name.
        column: String,
        /// Counts and nulls of the column.
        counted: u64,
        /// The rows of the reference.
        rows: u64,
    },
    /// The range is missing, not finite or upside down.
    #[error(
        "column `{column}`: its range from {min:?} to {max:?} is none; write the least and the \
         greatest finite value as `min` and `max` (null for both only without values)"
    )]
    Range {
        /// The column's name.
        column: String,
        /// What stands there as the least value.
        min: Option<f64>,
        /// What stands there as the greatest value.
        max: Option<f64>,
    },
}

impl Reference {
    /// Reads and checks a reference file.
    ///
    /// # Errors
    /// When the file cannot be read, is not JSON of the right shape, or contradicts itself.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ReferenceError> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|reason| ReferenceError::Read {
            path: path.to_owned(),
            reason,
        })?;
        let raw: RawReference =
            serde_json::from_slice(&text).map_err(|reason| ReferenceError::Parse {
                path: path.to_owned(),
                reason,
            })?;
        Self::try_from(raw).map_err(|reason| ReferenceError::Invalid {
            path: path.to_owned(),
            reason,
        })
    }

    /// Puts columns that were made from the same rows together.
    ///
    /// # Errors
    /// When there are none, two have one name, or they are not of equally many rows.
    pub fn from_columns(columns: Vec<Column>) -> Result<Self, InvalidReference> {
        let rows = columns.first().map_or(0, rows_of);
        Self::checked(rows, columns)
    }

    /// How many rows the reference was made from.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The columns, in the order of the file.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name() == name)
    }

    fn checked(rows: u64, columns: Vec<Column>) -> Result<Self, InvalidReference> {
        if columns.is_empty() {
            return Err(InvalidReference::NoColumns);
        }
        let mut names = BTreeSet::new();
        for column in &columns {
            let name = || column.name().to_owned();
            if !names.insert(column.name()) {
                return Err(InvalidReference::DuplicateColumn { column: name() });
            }
            let counted = rows_of(column);
            if counted != rows {
                return Err(InvalidReference::RowsMismatch {
                    column: name(),
                    counted,
                    rows,
                });
            }
        }
        Ok(Self { rows, columns })
    }
}

/// The rows a column was made from.
fn rows_of(column: &Column) -> u64 {
    column.values() + column.nulls()
}

impl TryFrom<RawReference> for Reference {
    type Error = InvalidReference;

    fn try_from(raw: RawReference) -> Result<Self, InvalidReference> {
        let columns: Result<_, _> = raw.columns.into_iter().map(Column::try_from).collect();
        Self::checked(raw.rows, columns?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"{"rows": 4, "columns": [{"name": "hour", "edges": [6.5, 9],
        "counts": [1, 1, 1], "nulls": 1, "min": 6, "max": 12}]}"#;

    /// Reads `text` as a file and checks that the message names the file and all of `parts`.
    fn check_refused(text: &str, parts: &[&str]) {
        let dir = std::env::temp_dir().join(format!("thalweg-reference-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(format!(
            "{}.json",
            parts.join("-").replace(['/', ' ', '`'], "_")
        ));
        std::fs::write(&path, text).unwrap();
        let message = Reference::from_path(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(
            message.contains(&path.display().to_string()),
            "no file in: {message}"
        );
        for part in parts {
            assert!(message.contains(part), "no `{part}` in: {message}");
        }
    }

    #[test]
    fn a_valid_file_is_read() {
        let reference: Reference = serde_json::from_str(VALID).unwrap();
        assert_eq!(reference.rows(), 4);
        let hour = reference.column("hour").unwrap();
        assert_eq!(
            (hour.edges(), hour.counts()),
            (&[6.5, 9.0][..], &[1, 1, 1][..])
        );
        assert_eq!((hour.nulls(), hour.range()), (1, Some((6.0, 12.0))));
        assert!(reference.column("day").is_none());
        let json = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    }

    #[test]
    fn a_missing_file_is_named_with_the_remedy() {
        let message = Reference::from_path("no/such/reference.json")
            .unwrap_err()
            .to_string();
        assert!(message.contains("no/such/reference.json"), "{message}");
        assert!(message.contains("check the path"), "{message}");
    }

    #[test]
    fn an_invalid_file_is_named_with_column_and_remedy() {
        let check = |from, to, parts: &[&str]| {
            assert!(VALID.contains(from));
            check_refused(&VALID.replace(from, to), parts);
        };
        check(
            "[6.5, 9]",
            "[6.5, 6.5]",
            &["`hour`", "not above", "remove equal"],
        );
        check("[6.5, 9]", "[6.5]", &["`hour`", "3 counts for 1 edges"]);
        check("[6.5, 9]", "[6.5, NaN]", &["line 1", "no NaN"]);
        check("[1, 1, 1]", "[1, 1, 2]", &["`hour`", "5", "4 rows"]);
        check("[1, 1, 1]", "[1, -1, 1]", &["-1", "line 2"]);
        check(
            "[1, 1, 1]",
            "[1, 1, 18446744073709551615]",
            &["`hour`", "64 bits"],
        );
        check("\"min\": 6", "\"min\": 13", &["`hour`", "13", "12"]);
        check("\"min\": 6", "\"min\": null", &["`hour`", "None"]);
        check("\"nulls\": 1,", "", &["nulls", "write it again"]);
        check(
            VALID,
            r#"{"rows": 0, "columns": []}"#,
            &["no columns", "at least one"],
        );
        check(VALID, "", &["not a reference"]);
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let column = Column::from_values("hour", &[1.0, 2.0]);
        let refused = Reference::from_columns(vec![column.clone(), column]);
        let column = "hour".to_owned();
        assert_eq!(refused, Err(InvalidReference::DuplicateColumn { column }));
    }
}
