"""Recomputes 500 payments' features from the payments alone and compares them with a job's."""

import csv
import math
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Iterator

from fraud import FEATURES, WINDOWS_MS, Payment, read_payments

SAMPLE = 500
TOLERANCE = 1e-6


def expected(history: list[Payment], at: Payment) -> list[float]:
    """The features of one payment, each window scanned anew."""
    row: list[float] = []
    window: list[Payment] = []
    for length in WINDOWS_MS.values():
        window = [other for other in history if at.ts - length < other.ts <= at.ts]
        amounts = [other.amount for other in window]
        std = statistics.stdev(amounts) if len(amounts) > 1 else math.nan
        total = math.fsum(amounts)
        row += [len(amounts), total, total / len(amounts), std, max(amounts)]
    row.append(len({other.merchant for other in window}))
    return row


def lines(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a job's file, or of the files in its folder."""
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            with part.open(newline="") as file:
                yield from csv.DictReader(file, ["ts", *FEATURES])


def same(got: str, wanted: float) -> bool:
    """An empty field is a missing value, as NaN is."""
    value = float(got) if got else math.nan
    if math.isnan(wanted):
        return math.isnan(value)
    return abs(value - wanted) <= TOLERANCE * max(1.0, abs(wanted))


def main() -> None:
    payments_path, features_path, *left_out = sys.argv[1:]
    payments = read_payments(payments_path)
    histories: defaultdict[str, list[Payment]] = defaultdict(list)
    for payment in payments:
        histories[payment.card].append(payment)
    # Sampled evenly, the last payment among them.
    step = len(payments) // SAMPLE
    sample = {payment.ts: payment for payment in payments[step - 1 :: step]}
    rows = 0
    for row in lines(Path(features_path)):
        rows += 1
        at = sample.pop(int(row["ts"]), None)
        if at is None:
            continue
        for name, wanted in zip(FEATURES, expected(histories[at.card], at)):
            if name not in left_out and not same(row[name], wanted):
                sys.exit(f"{name} of {at} is {row[name]}, should be {wanted}")
    if rows != len(payments) or sample:
        sys.exit(f"{rows} rows of {len(payments)} payments, {len(sample)} of the sample missing")


if __name__ == "__main__":
    main()
