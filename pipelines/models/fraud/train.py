#!/usr/bin/env python3
"""Trains the fraud model on the features and labels that `fraud backfill` wrote for a generated stream.

Writes `model.onnx`, `model.toml`, `reference.json`, `parity.csv` and `figures.md`. The same packages on the same machine give
the same bytes; another machine's linear algebra may differ in the last digits.

    python train.py --backfill DIR [--out DIR]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent.parent))
from perceptron import check_export, export, forward, profile, require, train_epochs, write_folder

NAME, VERSION = "fraud", "1"
PENALTY = 1e-3
EPOCHS_MAX = 20
# The last part in time, on which the number of epochs is chosen and the figures are made.
VALIDATE_SHARE = 0.2
# Before the features have filled up there is little to learn.
WARM_UP_DAYS = 1
PARITY_ROWS = 2000


def main():
    """Parses the command line, trains, checks the exported model and writes the model folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backfill", type=Path, required=True, help="the folder that `fraud backfill` wrote to")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    args = parser.parse_args()

    rows, names, values = read(args.backfill)
    inputs = values.astype(np.float32)
    fraud = rows["fraud"].to_numpy(dtype=bool)
    cut = int(len(rows) * (1 - VALIDATE_SHARE))
    warm = rows["event_time"].iloc[0] + WARM_UP_DAYS * 86_400_000_000
    train = np.arange(len(rows)) < cut
    train &= (rows["event_time"] >= warm).to_numpy()
    print(f"{len(rows)} labelled rows, {len(names)} features, {fraud.sum()} frauds; training on {train.sum()} rows")

    losses, best = [], []

    def validate(parameters):
        loss = log_loss(fraud[cut:], forward(parameters, inputs[cut:]).astype(np.float64))
        if not losses or loss < min(losses):
            best[:] = [parameters]
        losses.append(loss)

    with threadpool_limits(1):
        train_epochs(inputs[train], fraud[train], EPOCHS_MAX, PENALTY, validate)
        parameters, epochs = best[0], int(np.argmin(losses)) + 1
        score = forward(parameters, inputs)
    model = export(NAME, parameters, names)
    check_export(model, inputs, score)
    figures = judge(fraud[cut:], score[cut:].astype(np.float64), train.sum(), epochs)
    print(figures)

    args.out.mkdir(parents=True, exist_ok=True)
    reference = profile(names, values[train], score[train])
    write_folder(args.out, NAME, VERSION, model, reference, names)
    write_parity(args.out / "parity.csv", rows["payment"].to_numpy(), score)
    (args.out / "figures.md").write_text(figures)
    print(f"wrote the model folder {args.out}")


def read(folder):
    """Reads the backfill: the labelled rows, the features' names, and their values (f64)."""
    path = folder / "features.csv"
    header = pd.read_csv(path, nrows=0).columns.tolist()
    require(header[:2] == ["payment", "event_time"] and len(header) > 2, f"{path} starts with payment,event_time,<features>")
    names = header[2:]
    types = {name: np.float64 for name in names} | {"payment": np.int64, "event_time": np.int64}
    table = pd.read_csv(path, dtype=types, float_precision="round_trip")
    require(table["event_time"].is_monotonic_increasing, f"{path} is in event-time order")
    labels = pd.read_csv(folder / "labels.csv", usecols=["payment", "fraud"])
    table = table.merge(labels, on="payment", how="inner", validate="one_to_one")
    return table[["payment", "event_time", "fraud"]], names, table[names].to_numpy()


def judge(fraud, score, trained, epochs):
    """Makes the figures of the last part in time, as a Markdown table."""
    share = fraud.mean()
    lines = [
        f"Trained on {trained} rows for {epochs} epochs. Figures of the last {len(fraud)} labelled rows in time, by which",
        "the number of epochs was chosen. The baseline is their share of frauds, for all of them.",
        "",
        "| rows | frauds | AUC | average precision | log loss | baseline log loss |",
        "|---:|---:|---:|---:|---:|---:|",
        f"| {len(fraud)} | {share:.2%} | {roc_auc_score(fraud, score):.4f} | {average_precision_score(fraud, score):.4f} "
        f"| {log_loss(fraud, score):.4f} | {log_loss(fraud, np.full(len(fraud), share)):.4f} |",
    ]
    return "\n".join(lines) + "\n"


def write_parity(path, payments, score):
    """Writes this script's own predictions for rows spread evenly over the stream."""
    picked = np.unique(np.linspace(0, len(score) - 1, PARITY_ROWS).round().astype(np.int64))
    lines = ["payment,probability", *(f"{payments[i]},{score[i]:.9g}" for i in picked)]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
