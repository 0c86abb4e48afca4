//! What a model is to the rest of the engine: rows of features in, one score per row out.

use super::error::ModelError;

/// Which model it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelInfo {
    /// The model's name, the same for all its versions.
    pub name: String,
    /// The version, as its author wrote it.
    pub version: String,
}

/// A model that is ready to score, owned by one worker.
///
/// The score of a row is a function of that row alone: neither the number of rows of a call nor a
/// row's place among them changes a bit of it. Replays rely on that, since they batch differently.
///
/// ```
/// use thalweg_operators::infer::{Model, ModelError, ModelInfo};
///
/// /// Scores the share of features that are missing.
/// struct Missing(ModelInfo, Vec<String>);
///
/// impl Model for Missing {
///     fn info(&self) -> &ModelInfo {
///         &self.0
///     }
///     fn features(&self) -> &[String] {
///         &self.1
///     }
///     fn predict(
///         &mut self,
///         rows: &[f32],
///         n: usize,
///         out: &mut Vec<f32>,
///     ) -> Result<(), ModelError> {
///         let width = self.1.len();
///         out.clear();
///         for row in rows.chunks(width).take(n) {
///             let missing = row.iter().filter(|value| value.is_nan()).count();
///             out.push(missing as f32 / width as f32);
///         }
///         Ok(())
///     }
/// }
///
/// let info = ModelInfo { name: "missing".into(), version: "1".into() };
/// let mut model = Missing(info, vec!["hour".into(), "distance".into()]);
/// let mut scores = Vec::new();
/// model.predict(&[8.0, f32::NAN, 9.0, 410.0], 2, &mut scores)?;
/// assert_eq!(scores, [0.5, 0.0]);
/// # Ok::<(), ModelError>(())
/// ```
pub trait Model {
    /// Which model this is.
    fn info(&self) -> &ModelInfo;

    /// The names of the features a row consists of, in order; at least one.
    fn features(&self) -> &[String];

    /// Replaces what is in `out` by one score for each of the `n` rows of `rows`.
    ///
    /// `rows` is row-major, `n` times as many values as there are features; NaN is a missing value.
    /// A score that is not finite is returned as it is.
    ///
    /// # Errors
    /// When the rows cannot be scored together; `out` is then empty or of no meaning, and the model
    /// can be used again.
    fn predict(&mut self, rows: &[f32], n: usize, out: &mut Vec<f32>) -> Result<(), ModelError>;
}
