use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

use super::super::error::Side;
use super::super::onnx_fixture::{
    Folder, Noise, integer, model, node, perceptron, table, value, weight,
};
use super::*;

/// The numbers of rows that tests score in one call: at, around and between the plans'.
const BATCH_ROWS: [usize; 10] = [1, 2, 3, 15, 16, 17, 63, 64, 65, 200];

fn build(folder: &Folder) -> OnnxModel {
    Onnx::load(folder.path()).unwrap().build().unwrap()
}

/// Scores all of `rows`, `batch` rows a call.
fn bits(model: &mut OnnxModel, rows: &[f32], batch: usize) -> Vec<u32> {
    let features = model.features().len();
    let mut bits = Vec::new();
    let mut scores = Vec::new();
    for part in rows.chunks(batch * features) {
        let n = part.len() / features;
        model.predict(part, n, &mut scores).unwrap();
        assert_eq!(scores.len(), n);
        bits.extend(scores.iter().map(|score| score.to_bits()));
    }
    bits
}

/// Loads the graph of `features` features and checks the kind of error and its message.
fn check_refused(features: usize, graph: &pb::ModelProto, parts: &[&str]) -> ModelError {
    let folder = Folder::of(features, graph);
    let error = Onnx::load(folder.path()).unwrap_err();
    let message = error.to_string();
    let path = folder.file(FILE).display().to_string();
    for part in parts.iter().chain([&path.as_str()]) {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    error
}

/// The perceptron of three features, with its graph changed by `edit`.
fn edited(edit: impl FnOnce(&mut pb::GraphProto)) -> pb::ModelProto {
    let mut proto = perceptron(3, 2);
    edit(proto.graph.as_mut().unwrap());
    proto
}

/// What the perceptron of the fixture computes, in f64.
fn perceptron_by_hand(proto: &pb::ModelProto, row: &[f32]) -> f64 {
    let graph = proto.graph.as_ref().unwrap();
    let weight = |name: &str| {
        let tensor = graph
            .initializer
            .iter()
            .find(|tensor| tensor.name == name)
            .unwrap();
        tensor
            .float_data
            .iter()
            .map(|value| f64::from(*value))
            .collect::<Vec<_>>()
    };
    let (median, mean, scale) = (weight("median"), weight("mean"), weight("scale"));
    let (w1, b1, w2, b2) = (weight("w1"), weight("b1"), weight("w2"), weight("b2"));
    let scaled = |i: usize| {
        let value = if row[i].is_nan() {
            median[i]
        } else {
            f64::from(row[i])
        };
        ((value - mean[i]) * scale[i]).clamp(-5.0, 5.0)
    };
    let hidden = |h: usize| {
        let sum: f64 = (0..row.len())
            .map(|i| scaled(i) * w1[i * b1.len() + h])
            .sum();
        (sum + b1[h]).max(0.0)
    };
    let logit = (0..b1.len()).map(|h| hidden(h) * w2[h]).sum::<f64>() + b2[0];
    1.0 / (1.0 + (-logit).exp())
}

#[test]
fn scores_are_those_of_the_graph() {
    let (features, rows) = (32, 200);
    let values = Noise::new(1).rows(rows * features);
    let proto = perceptron(features, 16);
    let mut model = build(&Folder::of(features, &proto));
    assert_eq!(
        (model.info().name.as_str(), model.info().version.as_str()),
        ("flights-delay", "1")
    );
    assert_eq!(model.features()[31], "f31");
    let mut scores = vec![7.0];
    model.predict(&values, rows, &mut scores).unwrap();
    for (score, row) in scores.iter().zip(values.chunks(features)) {
        let expected = perceptron_by_hand(&proto, row);
        assert!(
            (f64::from(*score) - expected).abs() < 1e-5,
            "{score} for {expected}"
        );
    }
    let distinct: std::collections::BTreeSet<_> = scores.iter().map(|s| s.to_bits()).collect();
    assert!(
        distinct.len() > rows / 2,
        "the model is too dull to test with"
    );
}

#[test]
fn scores_do_not_depend_on_the_batch_to_the_bit() {
    for (features, hidden) in [(32, 16), (1, 1), (7, 5), (33, 17), (100, 70)] {
        let mut model = build(&Folder::perceptron(features, hidden));
        let rows = Noise::new(features as u64).rows(200 * features);
        let alone = bits(&mut model, &rows, 1);
        for batch in BATCH_ROWS {
            assert_eq!(
                bits(&mut model, &rows, batch),
                alone,
                "{features}-{hidden}, {batch} rows"
            );
        }
    }
}

#[test]
fn scores_do_not_depend_on_the_place_in_the_batch_to_the_bit() {
    let features = 32;
    let mut model = build(&Folder::perceptron(features, 16));
    let mut noise = Noise::new(5);
    let row = noise.rows(features);
    let alone = bits(&mut model, &row, 1)[0];
    for batch in BATCH_ROWS {
        for place in 0..batch {
            let mut rows = noise.rows(batch * features);
            rows[place * features..][..features].copy_from_slice(&row);
            assert_eq!(
                bits(&mut model, &rows, batch)[place],
                alone,
                "{place} of {batch}"
            );
        }
    }
}

#[test]
fn a_plan_that_disagrees_is_left_out() {
    let features = 3;
    let graph = |folder: &Folder| Graph::read(&ModelFolder::open(folder.path()).unwrap()).unwrap();
    let (one, other) = (
        Folder::perceptron(features, 2),
        Folder::perceptron(features, 4),
    );
    let onnx = Onnx::load(one.path()).unwrap();
    let mut loaded = Loaded {
        path: onnx.loaded.path.clone(),
        info: onnx.info().clone(),
        features: onnx.features().to_vec(),
        plans: vec![
            (1, graph(&one).plan(1).unwrap()),
            (4, graph(&other).plan(4).unwrap()),
            (64, graph(&one).plan(64).unwrap()),
        ],
    };
    loaded.keep_agreeing_plans().unwrap();
    assert_eq!(
        loaded
            .plans
            .iter()
            .map(|(rows, _)| *rows)
            .collect::<Vec<_>>(),
        [1, 64]
    );
}

#[test]
fn a_clone_builds_the_same_model_in_another_thread() {
    fn check_shareable<T: Clone + Send + Sync>(_: &T) {}
    let onnx = Onnx::load(Folder::perceptron(4, 3).path()).unwrap();
    check_shareable(&onnx);
    let rows = Noise::new(2).rows(4 * 20);
    let here = bits(&mut onnx.build().unwrap(), &rows, 20);
    let clone = onnx.clone();
    let there = std::thread::spawn(move || bits(&mut clone.build().unwrap(), &rows, 7));
    assert_eq!(there.join().unwrap(), here);
}

#[test]
fn no_rows_have_no_scores() {
    let mut scores = vec![1.0];
    build(&Folder::perceptron(3, 2))
        .predict(&[], 0, &mut scores)
        .unwrap();
    assert!(scores.is_empty());
}

#[test]
fn a_row_that_makes_the_library_panic_is_an_error_and_the_model_goes_on() {
    let mut model = build(&Folder::of(1, &table(8)));
    let mut scores = Vec::new();
    for _ in 0..3 {
        let error = model
            .predict(&[1.0, 8.0, f32::NAN], 3, &mut scores)
            .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("`flights-delay` version 1 failed"),
            "{message}"
        );
        model
            .predict(&[1.0, 7.0, f32::NAN], 3, &mut scores)
            .unwrap();
        assert_eq!(scores, [0.125, 0.875, 0.0]);
    }
}

#[test]
fn dimensions_may_be_named_declared_inside_or_left_open() {
    let named = edited(|graph| {
        let declared = |name: &str, columns: i64| {
            let mut info = value(name, DataType::Float, &[None, Some(columns)]);
            let pb::type_proto::Value::TensorType(tensor) =
                info.r#type.as_mut().unwrap().value.as_mut().unwrap();
            tensor.shape.as_mut().unwrap().dim[0].value = Some(Dim::DimParam("batch".into()));
            info
        };
        graph.input[0] = declared("features", 3);
        graph.output[0] = declared("probability", 1);
        graph.value_info = vec![declared("hidden", 2)];
    });
    let fixed = edited(|graph| {
        graph.input[0] = value("features", DataType::Float, &[Some(1), Some(3)]);
        graph.value_info = vec![value("hidden", DataType::Float, &[Some(1), Some(2)])];
    });
    let open = edited(|graph| {
        graph.input[0] = value("features", DataType::Float, &[None, None]);
    });
    let rows = Noise::new(9).rows(3 * 70);
    let expected = bits(&mut build(&Folder::perceptron(3, 2)), &rows, 70);
    for proto in [named, fixed, open] {
        assert_eq!(
            bits(&mut build(&Folder::of(3, &proto)), &rows, 70),
            expected
        );
    }
}

#[test]
fn the_named_output_is_used_among_several() {
    let two = edited(|graph| {
        graph
            .output
            .insert(0, value("hidden", DataType::Float, &[None, Some(2)]));
    });
    let rows = Noise::new(9).rows(3 * 70);
    let expected = bits(&mut build(&Folder::perceptron(3, 2)), &rows, 70);
    assert_eq!(bits(&mut build(&Folder::of(3, &two)), &rows, 70), expected);
}

#[test]
fn a_graph_that_cannot_be_read_or_computed_is_refused() {
    let error = check_refused(
        3,
        &pb::ModelProto::default(),
        &["holds no graph", "export it"],
    );
    assert!(matches!(error, ModelError::Load { .. }));
    let unknown = edited(|graph| graph.node[6].op_type = "Fancy".to_owned());
    check_refused(3, &unknown, &["Fancy", "export it again"]);
    let unmade = edited(|graph| drop(graph.node.pop()));
    check_refused(3, &unmade, &["export it again"]);
    let external = edited(|graph| {
        let weight = &mut graph.initializer[3];
        weight.float_data.clear();
        weight.data_location = Some(pb::tensor_proto::DataLocation::External as i32);
        weight.external_data = vec![pb::StringStringEntryProto {
            key: "location".to_owned(),
            value: "reference.json".to_owned(),
        }];
    });
    check_refused(3, &external, &["external data", "weights inside the file"]);
}

#[test]
fn bytes_that_are_no_graph_are_refused() {
    let folder = Folder::perceptron(3, 2);
    let hash = |bytes: &[u8]| -> String {
        use sha2::Digest;
        sha2::Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let before = hash(&std::fs::read(folder.file(FILE)).unwrap());
    folder.write(FILE, b"PK\x03\x04");
    folder.edit_manifest(&before, &hash(b"PK\x03\x04"));
    let error = Onnx::load(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::Load { .. }), "{error}");
}

#[test]
fn an_unlisted_graph_is_refused() {
    let folder = Folder::perceptron(3, 2);
    std::fs::rename(folder.file(FILE), folder.file("other.onnx")).unwrap();
    folder.edit_manifest("model.onnx", "other.onnx");
    let message = Onnx::load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("`model.onnx` is not listed"), "{message}");
}

#[test]
fn wrong_names_are_refused_with_those_there_are() {
    let input = edited(|graph| {
        graph.input[0].name = "x".to_owned();
        graph.node[0].input[0] = "x".to_owned();
        graph.node[1].input[2] = "x".to_owned();
    });
    let error = check_refused(
        3,
        &input,
        &["no input `features`, it has `x`", "model.toml"],
    );
    assert!(matches!(
        error,
        ModelError::UnknownName {
            side: Side::Input,
            ..
        }
    ));
    let output = edited(|graph| graph.output[0].name = "logit".to_owned());
    let error = check_refused(3, &output, &["no output `probability`, it has `logit`"]);
    assert!(matches!(
        error,
        ModelError::UnknownName {
            side: Side::Output,
            ..
        }
    ));
}

#[test]
fn another_number_of_features_is_refused() {
    for listed in [2, 4] {
        let counts = format!("takes 3 features, but model.toml lists {listed}");
        let error = check_refused(listed, &perceptron(3, 2), &[&counts, "in their order"]);
        assert!(matches!(error, ModelError::FeatureCount { taken: 3, .. }));
    }
}

#[test]
fn other_shapes_and_types_are_refused() {
    let check = |edit: &dyn Fn(&mut pb::GraphProto), part: &str| {
        let error = check_refused(3, &edited(|graph| edit(graph)), &[part, "export it with"]);
        assert!(matches!(error, ModelError::Shape { .. }), "{error}");
    };
    check(
        &|graph| graph.input.push(value("extra", DataType::Float, &[None])),
        "the inputs features, extra",
    );
    check(
        &|graph| graph.input[0] = value("features", DataType::Double, &[None, Some(3)]),
        "not of type f32",
    );
    check(
        &|graph| {
            let mut cast = node("Cast", &["sigmoid"], "probability");
            cast.attribute.push(integer("to", DataType::Double as i64));
            graph.node[8].output[0] = "sigmoid".to_owned();
            graph.node.push(cast);
        },
        "of F64",
    );
    check(
        &|graph| graph.input[0] = value("features", DataType::Float, &[None, None, Some(3)]),
        "3 dimensions",
    );
    check(
        &|graph| {
            graph.node.truncate(6);
            graph.node[5].output[0] = "probability".to_owned();
        },
        "for 1 rows its output is 1,2 of F32; export it with one f32 score per row",
    );
}

#[test]
fn a_model_without_a_score_for_missing_features_fails_its_warm_up() {
    let nodes = vec![
        node("Gemm", &["features", "w", "b"], "logit"),
        node("Identity", &["logit"], "probability"),
    ];
    let weights = vec![weight("w", &[3, 1], &[1.0; 3]), weight("b", &[1], &[1.0])];
    let proto = model(3, &[None, Some(1)], nodes, weights);
    let error = check_refused(
        3,
        &proto,
        &["a row of missing features is NaN", "replace NaN"],
    );
    assert!(matches!(error, ModelError::WarmUp { .. }));

    let infinite = edited(|graph| {
        graph.initializer.push(weight("zero", &[], &[0.0]));
        graph.node.last_mut().unwrap().output = vec!["p".to_owned()];
        graph.node.push(node("Div", &["p", "zero"], "probability"));
    });
    check_refused(3, &infinite, &["a row of zeros is inf"]);
    // Without a first entry, no value can be looked up.
    check_refused(1, &table(0), &[]);
}

#[test]
fn a_model_that_computes_across_rows_is_refused() {
    let across = edited(|graph| {
        let mut most = node("ReduceMax", &["logit"], "most");
        most.attribute.push(integer("keepdims", 1));
        graph.node.insert(8, most);
        graph
            .node
            .insert(9, node("Sub", &["logit", "most"], "centred_logit"));
        graph.node[10].input = vec!["centred_logit".to_owned()];
    });
    let error = check_refused(3, &across, &["other rows stand beside it", "inference"]);
    assert!(matches!(error, ModelError::MixesRows { .. }));
}
