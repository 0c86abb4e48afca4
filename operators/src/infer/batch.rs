//! Scoring of feature rows in batches: binds columns, predicts in one go, keeps bad rows apart.

use std::ops::Range;

use super::binding::Binding;
use super::error::ModelError;
use super::model::{Model, ModelInfo};

/// Scores batches of feature rows by one model; one worker's own.
///
/// ```
/// # use thalweg_operators::infer::{Model, ModelError, ModelInfo};
/// # struct Sum(ModelInfo, Vec<String>);
/// # impl Model for Sum {
/// #     fn info(&self) -> &ModelInfo { &self.0 }
/// #     fn features(&self) -> &[String] { &self.1 }
/// #     fn predict(
/// #         &mut self, rows: &[f32], n: usize, out: &mut Vec<f32>
/// #     ) -> Result<(), ModelError> {
/// #         out.clear();
/// #         out.extend(rows.chunks(2).take(n).map(|row| row.iter().sum::<f32>()));
/// #         Ok(())
/// #     }
/// # }
/// use thalweg_operators::infer::{Binding, Scorer};
///
/// # let info = ModelInfo { name: "sum".into(), version: "1".into() };
/// # let sum = Sum(info, vec!["n_1h".into(), "spend_1h".into()]);
/// // A model of `n_1h` and `spend_1h`, on rows of three features.
/// let features = ["spend_1h", "max_1h", "n_1h"].map(String::from);
/// let binding = Binding::resolve(sum.features(), &features)?;
/// let mut scorer = Scorer::new(Box::new(sum), binding);
///
/// let scores = scorer.score([&[20.0, 9.0, 3.0][..], &[f64::INFINITY, 9.0, 3.0]]);
/// assert_eq!(scores[0], Ok(23.0));
/// assert_eq!(scores[1], Err("feature `spend_1h` is infinite".to_owned()));
/// # Ok::<(), ModelError>(())
/// ```
pub struct Scorer {
    model: Box<dyn Model>,
    binding: Binding,
    /// The bound columns of the rows that can be scored, row-major.
    inputs: Vec<f32>,
    predicted: Vec<f32>,
    /// The place in the batch of each row of `inputs`.
    places: Vec<usize>,
}

impl Scorer {
    /// Scores by `model`, whose inputs stand in the rows where `binding` says.
    ///
    /// # Panics
    /// When the binding was resolved for a model with another number of inputs.
    pub fn new(model: Box<dyn Model>, binding: Binding) -> Self {
        let (bound, taken) = (binding.columns().len(), model.features().len());
        assert_eq!(
            bound, taken,
            "invariant: the binding was resolved for this model"
        );
        Self {
            model,
            binding,
            inputs: Vec::new(),
            predicted: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Which model scores.
    pub fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    /// Returns the score of each of `rows`, in order, or the reason why it has none.
    ///
    /// A row consists of all available features; NaN is a missing value. A row has no score when a
    /// feature that the model uses is infinite, when the model fails on it, or when the model's
    /// score is not finite. Such a row leaves the scores of the others as they would be without it.
    ///
    /// # Panics
    /// When a row is not as long as there are available features.
    pub fn score<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a [f64]>,
    ) -> Vec<Result<f32, String>> {
        self.inputs.clear();
        self.places.clear();
        let rows = rows.into_iter();
        let mut scores = Vec::with_capacity(rows.size_hint().0);
        for (place, row) in rows.enumerate() {
            let gathered = self.gather(row);
            if gathered.is_ok() {
                self.places.push(place);
            }
            scores.push(gathered.map(|()| f32::NAN));
        }
        let all = 0..self.places.len();
        if !all.is_empty() && self.predict(all, &mut scores).is_err() {
            self.predict_each(&mut scores);
        }
        scores
    }

    /// Appends the bound columns of `row` to the inputs, or nothing when one is infinite.
    fn gather(&mut self, row: &[f64]) -> Result<(), String> {
        assert_eq!(
            row.len(),
            self.binding.width(),
            "invariant: a row holds every feature"
        );
        let start = self.inputs.len();
        self.inputs.extend(
            self.binding
                .columns()
                .iter()
                .map(|column| row[*column] as f32),
        );
        let Some(input) = self.inputs[start..]
            .iter()
            .position(|value| value.is_infinite())
        else {
            return Ok(());
        };
        self.inputs.truncate(start);
        let name = &self.model.features()[input];
        let value = row[self.binding.columns()[input]];
        Err(if value.is_infinite() {
            format!("feature `{name}` is infinite")
        } else {
            format!("feature `{name}` is {value:e}, too large for the model's f32")
        })
    }

    /// Scores a part of the inputs in one go.
    fn predict(
        &mut self,
        part: Range<usize>,
        scores: &mut [Result<f32, String>],
    ) -> Result<(), ModelError> {
        let width = self.binding.columns().len();
        let rows = &self.inputs[part.start * width..part.end * width];
        self.model.predict(rows, part.len(), &mut self.predicted)?;
        assert_eq!(
            self.predicted.len(),
            part.len(),
            "invariant: a model gives one score per row"
        );
        for (place, score) in self.places[part].iter().zip(&self.predicted) {
            scores[*place] = if score.is_finite() {
                Ok(*score)
            } else {
                let ModelInfo { name, version } = self.model.info();
                Err(format!(
                    "its score by model `{name}` version {version} is {score}"
                ))
            };
        }
        Ok(())
    }

    /// Scores each row alone, so that only those fail that the model fails on.
    fn predict_each(&mut self, scores: &mut [Result<f32, String>]) {
        for row in 0..self.places.len() {
            if let Err(error) = self.predict(row..row + 1, scores) {
                scores[self.places[row]] = Err(error.to_string());
            }
        }
    }
}

impl std::fmt::Debug for Scorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scorer")
            .field("info", self.info())
            .field("binding", &self.binding)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::onnx::Onnx;
    use super::super::onnx_fixture::{Folder, Noise, table};
    use super::*;

    /// Scores the sum of `a` and `b`, and fails on a batch with a 13.
    struct Sum {
        info: ModelInfo,
        features: Vec<String>,
    }

    impl Model for Sum {
        fn info(&self) -> &ModelInfo {
            &self.info
        }

        fn features(&self) -> &[String] {
            &self.features
        }

        fn predict(
            &mut self,
            rows: &[f32],
            n: usize,
            out: &mut Vec<f32>,
        ) -> Result<(), ModelError> {
            assert_eq!(rows.len(), n * 2);
            out.clear();
            out.extend(rows.chunks(2).map(|row| row.iter().sum::<f32>()));
            if rows.contains(&13.0) {
                let ModelInfo { name, version } = self.info.clone();
                return Err(ModelError::Predict {
                    model: name,
                    version,
                    reason: "bad luck".into(),
                });
            }
            Ok(())
        }
    }

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    fn sum(available: &str) -> Scorer {
        let info = ModelInfo {
            name: "sum".into(),
            version: "2".into(),
        };
        bound(
            Sum {
                info,
                features: names("a b"),
            },
            &names(available),
        )
    }

    fn bound(model: impl Model + 'static, available: &[String]) -> Scorer {
        let binding = Binding::resolve(model.features(), available).unwrap();
        Scorer::new(Box::new(model), binding)
    }

    /// Scores rows of `b`, `unused` and `a`.
    fn check(rows: &[[f64; 3]], expected: &[Result<f32, &str>]) {
        let mut scorer = sum("b unused a");
        for _ in 0..2 {
            let scores = scorer.score(rows.iter().map(|row| &row[..]));
            let scores: Vec<_> = scores
                .iter()
                .map(|score| score.as_ref().copied().map_err(String::as_str))
                .collect();
            assert_eq!(scores, expected);
        }
    }

    #[test]
    fn rows_are_scored_in_order_by_their_bound_columns() {
        check(
            &[[1.0, 100.0, 2.0], [5.0, 200.0, 5.0]],
            &[Ok(3.0), Ok(10.0)],
        );
        check(&[], &[]);
    }

    #[test]
    fn an_infinite_feature_costs_its_own_row_only() {
        let inf = f64::INFINITY;
        check(
            &[
                [1.0, 0.0, -inf],
                [inf, 0.0, 1.0],
                [1.0, inf, 1.0],
                [0.0, 0.0, 1e39],
            ],
            &[
                Err("feature `a` is infinite"),
                Err("feature `b` is infinite"),
                Ok(2.0),
                Err("feature `a` is 1e39, too large for the model's f32"),
            ],
        );
    }

    #[test]
    fn a_score_that_is_not_finite_costs_its_own_row_only() {
        let most = f64::from(f32::MAX);
        check(
            &[[1.0, 0.0, f64::NAN], [1.0, 0.0, 1.0], [most, 0.0, most]],
            &[
                Err("its score by model `sum` version 2 is NaN"),
                Ok(2.0),
                Err("its score by model `sum` version 2 is inf"),
            ],
        );
    }

    #[test]
    fn a_row_that_the_model_fails_on_costs_itself_only() {
        let failed = Err("model `sum` version 2 failed on its input: bad luck");
        check(
            &[
                [1.0, 0.0, 1.0],
                [13.0, 0.0, 1.0],
                [f64::INFINITY, 0.0, 13.0],
                [2.0, 13.0, 2.0],
            ],
            &[Ok(2.0), failed, Err("feature `b` is infinite"), Ok(4.0)],
        );
    }

    #[test]
    #[should_panic(expected = "a row holds every feature")]
    fn a_row_of_another_length_is_a_bug() {
        sum("a b").score([&[1.0][..]]);
    }

    #[test]
    #[should_panic(expected = "resolved for this model")]
    fn a_binding_of_another_model_is_a_bug() {
        let info = ModelInfo {
            name: "sum".into(),
            version: "2".into(),
        };
        let binding = Binding::resolve(&names("a"), &names("a b")).unwrap();
        Scorer::new(
            Box::new(Sum {
                info,
                features: names("a b"),
            }),
            binding,
        );
    }

    #[test]
    fn bad_rows_leave_the_scores_of_an_onnx_model_as_they_are_to_the_bit() {
        let onnx = Onnx::load(Folder::perceptron(6, 4).path()).unwrap();
        let mut scorer = bound(onnx.build().unwrap(), onnx.features());
        assert_eq!(scorer.info(), onnx.info());
        let mut rows: Vec<Vec<f64>> = Noise::new(4)
            .rows(200 * 6)
            .chunks(6)
            .map(|row| row.iter().map(|value| f64::from(*value)).collect())
            .collect();
        let mut clean = scorer.score(rows.iter().map(Vec::as_slice));
        assert!(clean.iter().all(Result::is_ok));
        for bad in (0..rows.len()).step_by(7) {
            rows[bad][5] = f64::NEG_INFINITY;
            clean[bad] = Err("feature `f5` is infinite".to_owned());
        }
        assert_eq!(scorer.score(rows.iter().map(Vec::as_slice)), clean);
    }

    #[test]
    fn a_value_beyond_an_onnx_models_table_costs_its_own_row_only() {
        let onnx = Onnx::load(Folder::of(1, &table(4)).path()).unwrap();
        let mut scorer = bound(onnx.build().unwrap(), onnx.features());
        let rows: Vec<[f64; 1]> = (0..100)
            .map(|i| [if i == 70 { 4e6 } else { 3.0 }])
            .collect();
        for (i, score) in scorer
            .score(rows.iter().map(|row| &row[..]))
            .iter()
            .enumerate()
        {
            match score {
                Ok(score) => assert_eq!((i != 70, *score), (true, 0.75)),
                Err(reason) => assert!(i == 70 && reason.contains("failed on its input")),
            }
        }
    }
}
