"""The job in Polars, offline: rolling groups over a frame in memory."""

import time

import polars as pl

from fraud import WINDOWS_MS, paths, report


def amounts(payments: pl.LazyFrame, name: str, length: int) -> pl.LazyFrame:
    """The five features of one window; `rolling` leaves out what is `length` old."""
    amount = pl.col("amount")
    return (
        payments.rolling("ts", period=f"{length}i", group_by="card")
        .agg(
            pl.len().alias(f"count_{name}"),
            amount.sum().alias(f"sum_{name}"),
            amount.mean().alias(f"mean_{name}"),
            amount.std().alias(f"std_{name}"),
            amount.max().alias(f"max_{name}"),
        )
        .drop("card", "ts")
    )


def merchants(payments: pl.LazyFrame, length: int) -> pl.LazyFrame:
    """Distinct merchants over `length`.

    `n_unique` looks at every payment of every window anew, which takes minutes. Rather, a
    payment counts until the next one at its merchant or until it is `length` old: the number is
    what has begun to count less what has ended.
    """
    ts, following = pl.col("ts"), pl.col("ts").shift(-1)
    pairs = pl.struct("card", "merchant")
    ends = payments.sort("card", "merchant", "ts").select(
        "card",
        ts=pl.when(pairs == pairs.shift(-1))
        .then(pl.min_horizontal(following, ts + length))
        .otherwise(ts + length),
        change=-1,
    )
    changes = pl.concat([payments.select("card", "ts", change=1), ends])
    # Every card's changes add up to nothing, so that one running sum does for all.
    return (
        changes.sort("card", "ts", "change")
        .with_columns(merchants_24h=pl.col("change").cum_sum())
        .filter(pl.col("change") == 1)
        .select("merchants_24h")
    )


def main() -> None:
    path, out = paths()
    schema = {"card": pl.UInt64, "merchant": pl.UInt32, "amount": pl.Float64, "ts": pl.Int64}
    payments = pl.read_csv(path, schema=schema, has_header=False)
    begun = time.perf_counter()
    # Sorted by card once, every part gives its rows in the same order.
    ordered = payments.lazy().sort("card", "ts")
    features = pl.concat(
        [
            ordered.select("ts"),
            *(amounts(ordered, name, length) for name, length in WINDOWS_MS.items()),
            merchants(ordered, WINDOWS_MS["24h"]),
        ],
        how="horizontal",
    ).collect()
    seconds = time.perf_counter() - begun
    notes = "rolling groups, distinct merchants as a running sum"
    report("polars", "offline", len(features), seconds, notes)
    features.write_csv(out, include_header=False)


if __name__ == "__main__":
    main()
