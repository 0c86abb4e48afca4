#!/usr/bin/env python3
"""Trains the flights-delay model on the features that `flights backfill` wrote.

Writes `model.onnx`, `model.toml`, `reference.json`, `parity.csv` and `figures.md`. Only what was known by the end of
March 2013 is trained on; the rest of the year is for judging. The same packages on the same machine give the same
bytes; another machine's linear algebra may differ in the last digits.

    python train.py --features features.csv --landed landed.csv.zst [--out DIR]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parent.parent))
from perceptron import check_export, export, forward, profile, require, train_epochs, write_folder

NAME, VERSION = "flights-delay", "1"
LATE_MIN = 15
TRAIN_FROM = pd.Timestamp("2013-01-01", tz="UTC")
TRAIN_TO = pd.Timestamp("2013-04-01", tz="UTC")

PENALTY = 1.0
EPOCHS_MAX = 30
# The last part in time of the training rows, on which the number of epochs is chosen.
VALIDATE_SHARE = 0.2

PARITY_ROWS = 5000


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
    model = export(NAME, parameters, names)
    check_export(model, inputs, score)
    figures = judge(rows, train, score, landings, epochs)
    print(figures)

    args.out.mkdir(parents=True, exist_ok=True)
    reference = profile(names, values[train], score[train])
    write_folder(args.out, NAME, VERSION, model, reference, names)
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

    train_epochs(inputs[:cut], late[:cut], EPOCHS_MAX, PENALTY, validate)
    epochs = int(np.argmin(losses)) + 1
    print(f"best after {epochs} of {EPOCHS_MAX} epochs: log loss {min(losses):.4f} on the last {len(late) - cut} rows")
    return train_epochs(inputs, late, epochs, PENALTY, lambda parameters: None), epochs


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


def write_parity(path, flights, score):
    """Writes this script's own predictions for rows spread evenly over the year."""
    picked = np.unique(np.linspace(0, len(score) - 1, PARITY_ROWS).round().astype(np.int64))
    lines = ["flight,probability", *(f"{flights[i]},{score[i]:.9g}" for i in picked)]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
