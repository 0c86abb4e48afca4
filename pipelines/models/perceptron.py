"""What the training scripts of the models share: a small network in plain numpy, as ONNX, as a model folder.

Missing values, scaling and clipping are inside the graph, so that the pipeline feeds the features as they are.
"""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

HIDDEN = (32, 16)
# Features drift, so the network must not extrapolate: inputs stop at three standard deviations.
CLIP = 3.0
LEARNING_RATE = 3e-4
BATCH_ROWS = 512
SEED = 1

OPSET, IR_VERSION = 17, 8
PARITY_TOLERANCE = 1e-6


def train_epochs(inputs, labels, epochs, penalty, each_epoch):
    """Trains from scratch for a number of epochs, handing the parameters to `each_epoch` after each."""
    scaling = scaling_of(inputs)
    scaled = scale(scaling, inputs)
    network = MLPClassifier(HIDDEN, alpha=penalty, learning_rate_init=LEARNING_RATE, batch_size=BATCH_ROWS, random_state=SEED)
    for _ in range(epochs):
        network.partial_fit(scaled, labels, classes=[False, True])
        layers = [
            (weights.astype(np.float32), bias.astype(np.float32))
            for weights, bias in zip(network.coefs_, network.intercepts_)
        ]
        parameters = {"scaling": scaling, "layers": layers}
        each_epoch(parameters)
    return parameters


def scaling_of(inputs):
    """Returns each input's (median, mean, 1 / standard deviation), in f32, missing values taken as the median.

    Mean and deviation are of the values between the 1st and the 99th percentile, others moved to the nearer one:
    a few delays of twenty hours must not press all others together.
    """
    exact = inputs.astype(np.float64)
    empty = np.isnan(exact).all(axis=0)
    exact[:, empty] = 0
    median = np.nanmedian(exact, axis=0)
    filled = np.where(np.isnan(exact), median, exact)
    low, high = np.quantile(filled, [0.01, 0.99], axis=0)
    # A flag that is set once in two hundred rows lies outside the percentiles; it keeps its own range.
    flat = low == high
    low[flat], high[flat] = filled.min(axis=0)[flat], filled.max(axis=0)[flat]
    core = np.clip(filled, low, high)
    deviation = core.std(axis=0)
    deviation[low == high] = 1
    return tuple(part.astype(np.float32) for part in (median, core.mean(axis=0), 1 / deviation))


def scale(scaling, inputs):
    """Does what the graph does before its first layer, in f32 and in the graph's order."""
    median, mean, factor = scaling
    filled = np.where(np.isnan(inputs), median, inputs)
    return np.clip((filled - mean) * factor, np.float32(-CLIP), np.float32(CLIP))


def forward(parameters, inputs):
    """Predicts in plain f32 numpy: the figures that serving must reproduce."""
    hidden = scale(parameters["scaling"], inputs)
    *inner, (weights, bias) = parameters["layers"]
    for inner_weights, inner_bias in inner:
        hidden = np.maximum(hidden @ inner_weights + inner_bias, np.float32(0))
    logit = (hidden @ weights + bias)[:, 0]
    return np.float32(1) / (np.float32(1) + np.exp(-logit))


def export(name, parameters, names):
    """Builds the ONNX graph by hand: missing values, scaling and clipping inside, the batch dimension named N."""
    median, mean, factor = parameters["scaling"]
    limit = np.float32(CLIP)
    constants = {"median": median, "mean": mean, "factor": factor, "low": -limit, "high": limit}
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "median", "features"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "factor"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["layer_0"]),
    ]
    last = len(parameters["layers"])
    for i, (weights, bias) in enumerate(parameters["layers"], start=1):
        constants |= {f"weights_{i}": weights, f"bias_{i}": bias}
        nodes.append(helper.make_node("Gemm", [f"layer_{i - 1}", f"weights_{i}", f"bias_{i}"], [f"sum_{i}"]))
        kind, result = ("Sigmoid", "probability") if i == last else ("Relu", f"layer_{i}")
        nodes.append(helper.make_node(kind, [f"sum_{i}"], [result]))
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(names)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value), constant) for constant, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=name
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def check_export(model, inputs, score):
    """Asserts that onnxruntime computes from the exported graph what numpy computed."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    theirs = session.run(["probability"], {"features": inputs})[0][:, 0]
    off = float(np.abs(theirs.astype(np.float64) - score).max())
    print(f"greatest difference to onnxruntime over {len(score)} rows: {off:.2g}")
    require(off <= PARITY_TOLERANCE, f"onnxruntime agrees to {PARITY_TOLERANCE}, not {off}")


def profile(names, values, score):
    """Makes the drift reference of the training rows: every feature, and the score last."""
    columns = [profile_column(name, column) for name, column in zip(names, values.T)]
    columns.append(profile_column("score", score.astype(np.float64)))
    return {"rows": len(score), "columns": columns}


def profile_column(name, column):
    """Bins one column by its deciles. Bin i counts edges[i - 1] < x <= edges[i]; the outer edges are infinite."""
    values = column[~np.isnan(column)]
    edges = np.unique(np.quantile(values, np.arange(1, 10) / 10)) if len(values) else np.empty(0)
    if len(values) and edges.tolist() == [values.max()] and values.min() < values.max():
        # Nine in ten values are the greatest: without one more edge all values would lie in one bin.
        edges = np.array([values[values < values.max()].max(), values.max()])
    bins = np.searchsorted(edges, values, side="left")
    return {
        "name": name,
        "edges": edges.tolist(),
        "counts": np.bincount(bins, minlength=len(edges) + 1).tolist(),
        "nulls": len(column) - len(values),
        "min": float(values.min()) if len(values) else None,
        "max": float(values.max()) if len(values) else None,
    }


def write_folder(out, name, version, model, reference, names):
    """Writes the model, its drift reference, and the manifest with their hashes."""
    columns = ",\n".join(f"  {json.dumps(column, allow_nan=False)}" for column in reference["columns"])
    files = {
        "model.onnx": model,
        "reference.json": f'{{"rows": {reference["rows"]}, "columns": [\n{columns}\n]}}\n'.encode(),
    }
    lines = [f"name = {json.dumps(name)}", f"version = {json.dumps(version)}", ""]
    lines += ["[input]", 'name = "features"', 'dtype = "f32"', "features = ["]
    lines += [f"  {json.dumps(feature)}," for feature in names]
    lines += ["]", "", "[output]", 'name = "probability"', 'dtype = "f32"', "", "[files]"]
    for file, data in files.items():
        (out / file).write_bytes(data)
        lines.append(f"{json.dumps(file)} = {json.dumps(hashlib.sha256(data).hexdigest())}")
    (out / "model.toml").write_text("\n".join(lines) + "\n")


def require(holds, claim):
    """Ends the program with a message when what it relies on does not hold."""
    if not holds:
        raise SystemExit(f"does not hold: {claim}")
