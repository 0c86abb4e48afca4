//! Small model folders for tests, written without Python: an ONNX graph through tract's own
//! protobuf types, a `model.toml` with the right hashes, and a reference.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

/// Numbers that look random and are the same everywhere (xorshift64*).
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number in [-scale, scale).
    pub(crate) fn value(&mut self, scale: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 24) as f32;
        (unit * 2.0 - 1.0) * scale
    }

    pub(crate) fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.value(scale)).collect()
    }

    /// Rows of features, one value in eight missing.
    pub(crate) fn rows(&mut self, values: usize) -> Vec<f32> {
        let mut value = || {
            if self.bits().is_multiple_of(8) {
                f32::NAN
            } else {
                self.value(20.0)
            }
        };
        (0..values).map(|_| value()).collect()
    }
}

/// The names `f0`, `f1`, ...
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("f{i}")).collect()
}

/// A tensor of the graph: a weight.
pub(crate) fn weight(name: &str, shape: &[usize], values: &[f32]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_owned(),
        dims: shape.iter().map(|d| *d as i64).collect(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

/// A node of the graph with one output.
pub(crate) fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: op.to_owned(),
        name: format!("{op}_{output}"),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..Default::default()
    }
}

/// An input or output of the graph: `None` is a batch dimension without a name.
pub(crate) fn value(name: &str, of: DataType, shape: &[Option<i64>]) -> pb::ValueInfoProto {
    let dim = |d: &Option<i64>| pb::tensor_shape_proto::Dimension {
        value: d.map(Dim::DimValue),
        ..Default::default()
    };
    let shape = pb::TensorShapeProto {
        dim: shape.iter().map(dim).collect(),
    };
    let tensor = pb::type_proto::Tensor {
        elem_type: of as i32,
        shape: Some(shape),
    };
    let r#type = pb::TypeProto {
        value: Some(pb::type_proto::Value::TensorType(tensor)),
        ..Default::default()
    };
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(r#type),
        ..Default::default()
    }
}

/// A whole model with the input `features` [N, count] and the output `probability`.
pub(crate) fn model(
    features: usize,
    output: &[Option<i64>],
    nodes: Vec<pb::NodeProto>,
    weights: Vec<pb::TensorProto>,
) -> pb::ModelProto {
    let graph = pb::GraphProto {
        name: "test".to_owned(),
        node: nodes,
        initializer: weights,
        input: vec![value(
            "features",
            DataType::Float,
            &[None, Some(features as i64)],
        )],
        output: vec![value("probability", DataType::Float, output)],
        ..Default::default()
    };
    let opset = pb::OperatorSetIdProto {
        domain: String::new(),
        version: 15,
    };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![opset],
        graph: Some(graph),
        ..Default::default()
    }
}

/// A perceptron `features`-`hidden`-1 that replaces missing values, scales and clips in the graph.
pub(crate) fn perceptron(features: usize, hidden: usize) -> pb::ModelProto {
    let mut noise = Noise::new(7);
    let mut weighted = |name: &str, shape: &[usize], scale: f32| {
        weight(name, shape, &noise.values(shape.iter().product(), scale))
    };
    let weights = vec![
        weighted("median", &[features], 3.0),
        weighted("mean", &[features], 3.0),
        weighted("scale", &[features], 0.5),
        weighted("w1", &[features, hidden], 2.0 / (features as f32).sqrt()),
        weighted("b1", &[hidden], 0.5),
        weighted("w2", &[hidden, 1], 2.0 / (hidden as f32).sqrt()),
        weighted("b2", &[1], 0.5),
        weight("low", &[], &[-5.0]),
        weight("high", &[], &[5.0]),
    ];
    let nodes = vec![
        node("IsNaN", &["features"], "missing"),
        node("Where", &["missing", "median", "features"], "filled"),
        node("Sub", &["filled", "mean"], "centred"),
        node("Mul", &["centred", "scale"], "scaled"),
        node("Clip", &["scaled", "low", "high"], "clipped"),
        node("Gemm", &["clipped", "w1", "b1"], "hidden"),
        node("Relu", &["hidden"], "active"),
        node("Gemm", &["active", "w2", "b2"], "logit"),
        node("Sigmoid", &["logit"], "probability"),
    ];
    model(features, &[None, Some(1)], nodes, weights)
}

/// A model of one feature, which it looks up in a table of `size` numbers: 0 when it is missing.
pub(crate) fn table(size: usize) -> pb::ModelProto {
    let values: Vec<f32> = (0..size).map(|i| i as f32 / size as f32).collect();
    let mut cast = node("Cast", &["filled"], "index");
    cast.attribute.push(integer("to", DataType::Int64 as i64));
    let nodes = vec![
        node("IsNaN", &["features"], "missing"),
        node("Where", &["missing", "zero", "features"], "filled"),
        cast,
        node("Gather", &["table", "index"], "probability"),
    ];
    let weights = vec![
        weight("zero", &[], &[0.0]),
        weight("table", &[size], &values),
    ];
    model(1, &[None, Some(1)], nodes, weights)
}

/// A whole number that a node is parametrised with.
pub(crate) fn integer(name: &str, value: i64) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: value,
        ..Default::default()
    }
}

/// A model folder that lives as long as the test.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    /// A folder with `model.onnx`, `reference.json` and a `model.toml` that fits them.
    pub(crate) fn new(features: &[String], graph: &pb::ModelProto) -> Self {
        let folder = Self {
            dir: TempDir::new().unwrap(),
        };
        folder.write("model.onnx", &graph.encode_to_vec());
        folder.write("reference.json", b"{}");
        folder.write("model.toml", folder.manifest(features).as_bytes());
        folder
    }

    /// A folder with the graph `graph` and as many features as it takes.
    pub(crate) fn of(features: usize, graph: &pb::ModelProto) -> Self {
        Self::new(&names(features), graph)
    }

    /// The perceptron with features `f0`, `f1`, ...
    pub(crate) fn perceptron(features: usize, hidden: usize) -> Self {
        Self::of(features, &perceptron(features, hidden))
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    /// Replaces `from` by `to` in `model.toml`.
    pub(crate) fn edit_manifest(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.file("model.toml")).unwrap();
        assert!(text.contains(from), "no `{from}` in: {text}");
        self.write("model.toml", text.replace(from, to).as_bytes());
    }

    fn manifest(&self, features: &[String]) -> String {
        let mut text = format!(
            "name = \"flights-delay\"\nversion = \"1\"\n\n[input]\nname = \"features\"\n\
             dtype = \"f32\"\nfeatures = {features:?}\n\n[output]\nname = \"probability\"\n\
             dtype = \"f32\"\n\n[files]\n"
        );
        for file in ["model.onnx", "reference.json"] {
            let hash = Sha256::digest(std::fs::read(self.file(file)).unwrap());
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{file:?} = \"{hash}\"").unwrap();
        }
        text
    }
}
