//! An ONNX graph as it stands in the file: checked against `model.toml`, made into plans.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::bail;

use super::error::{ModelError, Side};
use super::folder::ModelFolder;

/// A graph that takes [rows, features] under the name in `model.toml` and has the named output.
pub(super) struct Graph {
    path: PathBuf,
    proto: pb::ModelProto,
    features: usize,
    output: usize,
}

impl Graph {
    /// Parses `model.onnx` of the folder and checks names, types and shapes.
    pub(super) fn read(folder: &ModelFolder) -> Result<Self, ModelError> {
        let path = folder.path().join(super::onnx::FILE);
        let mut bytes = folder.file(super::onnx::FILE)?;
        let proto = contained(|| tract_onnx::onnx().proto_model_for_read(&mut bytes))
            .and_then(|proto| match proto.graph {
                Some(_) => Ok(proto),
                None => Err("it holds no graph".to_owned()),
            })
            .map_err(|reason| ModelError::Load {
                path: path.clone(),
                reason,
            })?;
        let features = folder.features().len();
        check_input(&path, &proto, folder.input(), features)?;
        let output = find_output(&path, &proto, folder.output())?;
        Ok(Self {
            path,
            proto,
            features,
            output,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Builds the plan for exactly `rows` rows.
    pub(super) fn plan(&self, rows: usize) -> Result<Arc<TypedSimplePlan>, ModelError> {
        let model = contained(|| self.optimized(rows)).map_err(|reason| ModelError::Load {
            path: self.path.clone(),
            reason,
        })?;
        self.check_scores(&model, rows)?;
        contained(|| model.into_runnable()).map_err(|reason| ModelError::Load {
            path: self.path.clone(),
            reason,
        })
    }

    /// The graph for exactly `rows` rows.
    ///
    /// Declared shapes inside the graph are ignored: they name the batch dimension, or fix it to
    /// the one row of the example that the model was exported with.
    fn optimized(&self, rows: usize) -> TractResult<TypedModel> {
        let mut framework = tract_onnx::onnx().with_ignore_value_info(true);
        framework.provider = Arc::new(NoExternalData);
        let mut model = framework.model_for_proto_model(&self.proto)?;
        let output = model.output_outlets()?[self.output];
        model.select_output_outlets(&[output])?;
        let input = InferenceFact::dt_shape(f32::datum_type(), [rows, self.features]);
        model
            .with_input_fact(0, input)?
            .with_output_fact(0, InferenceFact::default())?
            .into_optimized()
    }

    fn check_scores(&self, model: &TypedModel, rows: usize) -> Result<(), ModelError> {
        let fact = model.output_fact(0).map_err(|reason| ModelError::Load {
            path: self.path.clone(),
            reason: format!("{reason:#}"),
        })?;
        let shape = fact.shape.as_concrete();
        let fits = shape.is_some_and(|shape| shape == [rows] || shape == [rows, 1]);
        if fits && fact.datum_type == f32::datum_type() {
            return Ok(());
        }
        let reason = format!(
            "for {rows} rows its output is {:?} of {:?}; export it with one f32 score per row, \
             [rows] or [rows, 1]",
            fact.shape, fact.datum_type
        );
        Err(ModelError::Shape {
            path: self.path.clone(),
            reason,
        })
    }
}

/// Checks that features are the graph's only input and of the right shape.
fn check_input(
    path: &Path,
    proto: &pb::ModelProto,
    name: &str,
    features: usize,
) -> Result<(), ModelError> {
    let graph = proto
        .graph
        .as_ref()
        .expect("invariant: a graph without content was refused");
    let is_weight = |name: &str| graph.initializer.iter().any(|weight| weight.name == name);
    let inputs: Vec<_> = graph
        .input
        .iter()
        .filter(|input| !is_weight(&input.name))
        .collect();
    let names = || {
        inputs
            .iter()
            .map(|input| input.name.clone())
            .collect::<Vec<_>>()
    };
    let Some(input) = inputs.iter().find(|input| input.name == name) else {
        let (path, name) = (path.to_owned(), name.to_owned());
        return Err(ModelError::UnknownName {
            path,
            side: Side::Input,
            name,
            present: names(),
        });
    };
    let shape = |reason| {
        Err(ModelError::Shape {
            path: path.to_owned(),
            reason,
        })
    };
    if inputs.len() > 1 {
        return shape(format!(
            "it has the inputs {}; export it with one input of [rows, features]",
            names().join(", ")
        ));
    }
    let tensor = tensor(input);
    if tensor.is_none_or(|tensor| tensor.elem_type != DataType::Float as i32) {
        return shape(format!(
            "input `{name}` is not of type f32; export it with float inputs"
        ));
    }
    let Some(declared) = tensor.and_then(|tensor| tensor.shape.as_ref()) else {
        return Ok(());
    };
    let [_, columns] = declared.dim.as_slice() else {
        return shape(format!(
            "input `{name}` has {} dimensions; export it with two, [rows, features]",
            declared.dim.len()
        ));
    };
    match columns.value {
        Some(Dim::DimValue(taken)) if taken != features as i64 => Err(ModelError::FeatureCount {
            path: path.to_owned(),
            taken,
            listed: features,
        }),
        _ => Ok(()),
    }
}

/// The place of the output `name` among the graph's outputs.
fn find_output(path: &Path, proto: &pb::ModelProto, name: &str) -> Result<usize, ModelError> {
    let outputs = proto.graph.iter().flat_map(|graph| &graph.output);
    let present: Vec<String> = outputs.map(|output| output.name.clone()).collect();
    present
        .iter()
        .position(|present| present == name)
        .ok_or_else(|| ModelError::UnknownName {
            path: path.to_owned(),
            side: Side::Output,
            name: name.to_owned(),
            present,
        })
}

fn tensor(value: &pb::ValueInfoProto) -> Option<&pb::type_proto::Tensor> {
    let pb::type_proto::Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

/// Refuses weights in other files: the graph's hash would not cover them.
struct NoExternalData;

impl ModelDataResolver for NoExternalData {
    fn read_bytes_from_path(
        &self,
        _: &mut Vec<u8>,
        path: &Path,
        _: usize,
        _: Option<usize>,
    ) -> TractResult<()> {
        bail!("weights in another file ({}) are refused", path.display())
    }
}

/// Runs `work` of the inference library. What it says when it fails, by an error or by a panic.
///
/// The library indexes its tensors unchecked: a table lookup by a feature's value, for one, panics
/// when the value is beyond the table. What `work` has changed must not be used after a failure.
pub(super) fn contained<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(panic) => Err(panic_message(panic.as_ref())),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
        .to_owned()
}
