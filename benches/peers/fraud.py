"""What the peers share: the payments, the names of the features, the report."""

import csv
import json
import sys
from importlib import metadata
from typing import Iterable, NamedTuple, Sequence

WINDOWS_MS: dict[str, int] = {"1m": 60_000, "1h": 3_600_000, "24h": 86_400_000}
FEATURES: list[str] = [
    f"{what}_{window}"
    for window in WINDOWS_MS
    for what in ("count", "sum", "mean", "std", "max")
] + ["merchants_24h"]


class Payment(NamedTuple):
    """One payment, as the generator of `benches/fraud_features` makes it."""

    card: str
    merchant: int
    amount: float
    ts: int
    """Milliseconds since the Unix epoch; no two payments share one."""


def read_payments(path: str) -> list[Payment]:
    """Reads the file that `cargo bench --bench fraud_features -- --write` makes."""
    with open(path, newline="") as file:
        return [
            Payment(card, int(merchant), float(amount), int(ts))
            for card, merchant, amount, ts in csv.reader(file)
        ]


def write_features(path: str, rows: Iterable[tuple[int, Sequence[float]]]) -> None:
    """Writes a payment's time and features a line, for `check.py`."""
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows((ts, *features) for ts, features in rows)


def paths() -> tuple[str, str]:
    """The payments to read and the features to write, as `run` names them."""
    payments, features = sys.argv[1:]
    return payments, features


def report(package: str, mode: str, events: int, seconds: float, notes: str) -> None:
    """Ends a job: how many events went through in how much time, for `table.py`."""
    version = metadata.version(package)
    line = {"version": version, "mode": mode, "events": events, "seconds": seconds, "notes": notes}
    print(json.dumps(line))
