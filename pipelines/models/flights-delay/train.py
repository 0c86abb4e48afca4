#!/usr/bin/env python3
"""Trains the flights-delay model on the features that `flights backfill` wrote.

Writes `model.onnx`, `model.toml`, `reference.json`, `parity.csv` and `figures.md`. Only what was known by the end of
March 2013 is trained on; the rest of the year is for judging. The same packages on the same machine give the same
bytes; another machine's linear algebra may differ in the last digits.

    python train.py --features features.csv --landed landed.csv.zst [--out DIR]
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

NAME, VERSION = "flights-delay", "1"
LATE_MIN = 15
TRAIN_FROM = pd.Timestamp("2013-01-01", tz="UTC")
TRAIN_TO = pd.Timestamp("2013-04-01", tz="UTC")

HIDDEN = (32, 16)
# Features drift (winter was all the model saw), so it must not extrapolate: inputs stop at three standard deviations.
CLIP = 3.0
PENALTY = 1.0
LEARNING_RATE = 3e-4
BATCH_ROWS = 512
EPOCHS_MAX = 30
SEED = 1
# The last part in time of the training rows, on which the number of epochs is chosen.
VALIDATE_SHARE = 0.2

OPSET, IR_VERSION = 17, 8
PARITY_ROWS = 5000
PARITY_TOLERANCE = 1e-6


def main():
    """Parses the command line, trains, checks the exported model and writes the model folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--features", type=Path, required=True, help="what `flights backfill` wrote (.csv or .csv.zst)")
    parser.add_argument("--landed", type=Path, required=True, help="landed.csv.zst of the data set")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    args = parser.parse_args()

    rows, names, values = read_features(args.features)
    landings = read_landings(args.landed)
    rows = rows.merge(landings, on="flight", how="left", validate="one_to_one")
    rows["late"] = rows["arrival_delay"] > LATE_MIN
    train = training_rows(rows)
    print(f"{len(rows)} rows, {len(names)} features, {rows['at'].notna().sum()} labels; training on {train.sum()} rows")

    inputs = values.astype(np.float32)
    with threadpool_limits(1):
        parameters, epochs = fit(inputs[train], rows["late"].to_numpy()[train])
        score = forward(parameters, inputs)
    model = export(parameters, names)
    check_export(model, inputs, score)
    figures = judge(rows, train, score, landings, epochs)
    print(figures)

    args.out.mkdir(parents=True, exist_ok=True)
    reference = profile(names, values[train], score[train])
    write_folder(args.out, model, reference, names)
    write_parity(args.out / "parity.csv", rows["flight"].to_numpy(), score)
    (args.out / "figures.md").write_text(figures)
    print(f"wrote the model folder {args.out}")


def read_features(path):
    """Reads the backfill: the rows' ids and event times (µs UTC), the features' names, and their values (f64)."""
    header = pd.read_csv(path, nrows=0).columns.tolist()
    require(header[:2] == ["flight", "event_time"] and len(header) > 2, f"{path} starts with flight,event_time,<features>")
    names = header[2:]
    types = {name: np.float64 for name in names} | {"flight": np.int64, "event_time": np.int64}
    table = pd.read_csv(path, dtype=types, float_precision="round_trip")
    values = table[names].to_numpy()
    for name, column in zip(names, values.T):
        require(not np.isinf(column).any(), f"feature `{name}` has no infinite value")
    require(table["event_time"].is_monotonic_increasing, f"{path} is in event-time order")
    return table[["flight", "event_time"]], names, values


def read_landings(path):
    """Reads each flight's landing: when (s UTC) and how late (min)."""
    return pd.read_csv(path, usecols=["flight", "at", "arrival_delay"])


def training_rows(rows):
    """Marks the rows of January to March whose label was known by the end of March."""
    asked_us = rows["event_time"]
    from_us, to_us = (int(time.timestamp()) * 1_000_000 for time in (TRAIN_FROM, TRAIN_TO))
    train = (asked_us >= from_us) & (asked_us < to_us) & (rows["at"] < TRAIN_TO.timestamp())
    require(train.any(), "there is a row to train on")
    return train.to_numpy()


def fit(inputs, late):
    """Trains the network and returns its parameters and the number of epochs.

    How many epochs is chosen by log loss on the last part in time; the network is then trained anew, for
    as many epochs, on all rows.
    """
    cut = int(len(inputs) * (1 - VALIDATE_SHARE))
    losses = []

    def validate(parameters):
        losses.append(log_loss(late[cut:], forward(parameters, inputs[cut:]).astype(np.float64)))

    train_epochs(inputs[:cut], late[:cut], EPOCHS_MAX, validate)
    epochs = int(np.argmin(losses)) + 1
    print(f"best after {epochs} of {EPOCHS_MAX} epochs: log loss {min(losses):.4f} on the last {len(late) - cut} rows")
    return train_epochs(inputs, late, epochs, lambda parameters: None), epochs


def train_epochs(inputs, late, epochs, each_epoch):
    """Trains from scratch for a number of epochs, handing the parameters to `each_epoch` after each."""
    scaling = scaling_of(inputs)
    scaled = scale(scaling, inputs)
    network = MLPClassifier(HIDDEN, alpha=PENALTY, learning_rate_init=LEARNING_RATE, batch_size=BATCH_ROWS, random_state=SEED)
    for _ in range(epochs):
        network.partial_fit(scaled, late, classes=[False, True])
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


def export(parameters, names):
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
        NAME,
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(names)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name=NAME
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


def judge(rows, train, score, landings, epochs):
    """Makes the figures per month of event time, beside the baseline, as a Markdown table."""
    table = rows[["event_time", "at", "late"]].assign(score=score.astype(np.float64), base=late_share_so_far(rows, landings))
    table = table[table["at"].notna()]
    month = pd.to_datetime(table["event_time"], unit="us", utc=True).dt.strftime("%Y-%m")
    april = TRAIN_TO.strftime("%Y-%m")
    lines = [
        f"Trained on {train.sum()} rows for {epochs} epochs. Labels: more than {LATE_MIN} minutes late.",
        "Log loss of the baseline: the share late of all landings before the prediction.",
        "",
        "| month (UTC) | labels | late | mean score | AUC | log loss | baseline log loss |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(figures_line(name, part) for name, part in table.groupby(month)),
        figures_line("before April (trained on)", table[month < april]),
        figures_line("**from April**", table[month >= april]),
    ]
    return "\n".join(lines) + "\n"


def figures_line(name, part):
    """Formats one line of the figures; empty where a span has labels of one kind only."""
    late = part["late"].to_numpy()
    if late.all() or not late.any():
        return f"| {name} | {len(part)} | | | | | |"
    auc = roc_auc_score(late, part["score"])
    losses = log_loss(late, part["score"]), log_loss(late, part["base"])
    shares = f"{late.mean():.1%} | {part['score'].mean():.1%}"
    return f"| {name} | {len(part)} | {shares} | {auc:.4f} | {losses[0]:.4f} | {losses[1]:.4f} |"


def late_share_so_far(rows, landings):
    """Returns, for each row, the share late of all landings by its event time (Laplace's (late + 1) / (n + 2))."""
    landings = landings.sort_values("at", kind="stable")
    late = np.concatenate([[0], np.cumsum(landings["arrival_delay"].to_numpy() > LATE_MIN)])
    known = np.searchsorted(landings["at"].to_numpy() * 1_000_000, rows["event_time"].to_numpy(), side="right")
    return (late[known] + 1) / (known + 2)


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


def write_folder(out, model, reference, names):
    """Writes the model, its drift reference, and the manifest with their hashes."""
    columns = ",\n".join(f"  {json.dumps(column, allow_nan=False)}" for column in reference["columns"])
    files = {
        "model.onnx": model,
        "reference.json": f'{{"rows": {reference["rows"]}, "columns": [\n{columns}\n]}}\n'.encode(),
    }
    lines = [f"name = {json.dumps(NAME)}", f"version = {json.dumps(VERSION)}", ""]
    lines += ["[input]", 'name = "features"', 'dtype = "f32"', "features = ["]
    lines += [f"  {json.dumps(name)}," for name in names]
    lines += ["]", "", "[output]", 'name = "probability"', 'dtype = "f32"', "", "[files]"]
    for name, data in files.items():
        (out / name).write_bytes(data)
        lines.append(f"{json.dumps(name)} = {json.dumps(hashlib.sha256(data).hexdigest())}")
    (out / "model.toml").write_text("\n".join(lines) + "\n")


def write_parity(path, flights, score):
    """Writes this script's own predictions for rows spread evenly over the year."""
    picked = np.unique(np.linspace(0, len(score) - 1, PARITY_ROWS).round().astype(np.int64))
    lines = ["flight,probability", *(f"{flights[i]},{score[i]:.9g}" for i in picked)]
    path.write_text("\n".join(lines) + "\n")


def require(holds, claim):
    """Ends the program with a message when what it relies on does not hold."""
    if not holds:
        raise SystemExit(f"train.py: does not hold: {claim}")


if __name__ == "__main__":
    main()
