#!/usr/bin/env python3
"""Writes a 16-64-32-1 perceptron with seeded weights: something to run, not something to believe.

    pip install onnx==1.23.2 numpy==2.4.6 && python make.py
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
LAYERS = (16, 64, 32, 1)
WINDOWS = ("1m", "1h", "24h")
STATISTICS = ("count", "sum", "mean", "std", "max")


def graph() -> onnx.ModelProto:
    """A missing value counts as zero; every layer but the last is rectified."""
    random = np.random.default_rng(42)
    weights = [numpy_helper.from_array(np.float32(0), "zero")]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["layer0"]),
    ]
    for n, (inputs, outputs) in enumerate(zip(LAYERS, LAYERS[1:]), start=1):
        matrix = random.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix / (1000 if n == 1 else 1), f"weights{n}"))
        weights.append(numpy_helper.from_array(np.zeros(outputs, np.float32), f"bias{n}"))
        nodes.append(helper.make_node("Gemm", [f"layer{n - 1}", f"weights{n}", f"bias{n}"], [f"sum{n}"]))
        last = n == len(LAYERS) - 1
        kind, name = ("Sigmoid", "probability") if last else ("Relu", f"layer{n}")
        nodes.append(helper.make_node(kind, [f"sum{n}"], [name]))
    made = helper.make_graph(
        nodes,
        "fraud-features",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", LAYERS[0]])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Writes `model.onnx` and the `model.toml` that names its inputs."""
    content = graph().SerializeToString()
    (HERE / "model.onnx").write_bytes(content)
    names = [f"{statistic}_{window}" for window in WINDOWS for statistic in STATISTICS]
    features = "".join(f'  "{name}",\n' for name in [*names, "merchants_24h"])
    digest = hashlib.sha256(content).hexdigest()
    (HERE / "model.toml").write_text(
        'name = "fraud-features"\nversion = "1"\n\n'
        f'[input]\nname = "features"\ndtype = "f32"\nfeatures = [\n{features}]\n\n'
        '[output]\nname = "probability"\ndtype = "f32"\n\n'
        f'[files]\n"model.onnx" = "{digest}"\n'
    )


if __name__ == "__main__":
    main()
