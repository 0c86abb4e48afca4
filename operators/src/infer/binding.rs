//! From the names of a model's inputs to columns of a feature row.

use std::collections::HashMap;

use super::error::{MissingFeature, ModelError};

/// Where in a feature row each input of a model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    columns: Vec<usize>,
    width: usize,
}

impl Binding {
    /// Looks up each of `model_features` among the `available` features.
    ///
    /// A feature may be left unused, or be used by several inputs.
    ///
    /// # Errors
    /// When inputs are missing: all of them, each with the nearest available name.
    pub fn resolve(model_features: &[String], available: &[String]) -> Result<Self, ModelError> {
        let places: HashMap<&str, usize> = available
            .iter()
            .enumerate()
            .map(|(column, name)| (name.as_str(), column))
            .collect();
        let mut columns = Vec::with_capacity(model_features.len());
        let mut missing = Vec::new();
        for name in model_features {
            match places.get(name.as_str()) {
                Some(column) => columns.push(*column),
                None => missing.push(MissingFeature {
                    name: name.clone(),
                    nearest: nearest(name, available),
                }),
            }
        }
        if missing.is_empty() {
            Ok(Self {
                columns,
                width: available.len(),
            })
        } else {
            Err(ModelError::MissingFeatures { missing })
        }
    }

    /// The column of each input of the model, in the model's order.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// How many values a feature row has.
    pub fn width(&self) -> usize {
        self.width
    }
}

/// The available name with the fewest edits from `name`, if those are at most a third of it.
fn nearest(name: &str, available: &[String]) -> Option<String> {
    let edits_max = (name.chars().count() / 3).max(1);
    let edits = |other: &String| strsim::osa_distance(name, other);
    let nearest = available.iter().min_by_key(|other| edits(other))?;
    (edits(nearest) <= edits_max).then(|| nearest.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    fn check(model: &str, available: &str, expected: &[usize]) {
        let binding = Binding::resolve(&names(model), &names(available)).unwrap();
        assert_eq!(binding.columns(), expected);
        assert_eq!(binding.width(), names(available).len());
    }

    #[test]
    fn inputs_are_bound_by_name_whatever_the_order() {
        check("a b c", "a b c", &[0, 1, 2]);
        check("c a", "a b c d", &[2, 0]);
        check("b b", "a b", &[1, 1]);
    }

    #[test]
    fn all_missing_inputs_are_named_each_with_its_nearest_feature() {
        let available = names("n_1h spend_1h max_1h merchants_24h");
        let model = names("n_1h spend1h merchant_24h device_age");
        let error = Binding::resolve(&model, &available).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model needs `spend1h` (is it `spend_1h`?), `merchant_24h` (is it \
             `merchants_24h`?), `device_age`, not among the features; compute them under these \
             names, or correct the names in model.toml if they were only renamed"
        );
        let ModelError::MissingFeatures { missing } = error else {
            panic!("{error}")
        };
        assert_eq!(missing.len(), 3);
        assert_eq!(
            missing[2],
            MissingFeature {
                name: "device_age".into(),
                nearest: None
            }
        );
    }

    #[test]
    fn without_any_feature_everything_is_missing() {
        let error = Binding::resolve(&names("a"), &[]).unwrap_err();
        assert!(error.to_string().contains("`a`, not among"), "{error}");
    }
}
