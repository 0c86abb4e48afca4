"""The job in Bytewax: a stateful step by card whose logic is plain Python."""

import time
from datetime import timedelta
from typing import Sequence

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from fraud import Payment, paths, read_payments, report, write_features
from sliding import Card

Row = tuple[int, Sequence[float]]


class CardLogic(op.StatefulLogic[Payment, Row, Card]):
    """The features of one card."""

    def __init__(self, card: Card | None) -> None:
        self.card = card or Card()

    def on_item(self, value: Payment) -> tuple[list[Row], bool]:
        row = self.card.update(value.ts, value.amount, value.merchant)
        return [(value.ts, row)], self.RETAIN

    def snapshot(self) -> Card:
        # Nothing recovers here, so that the copy that a recovery needs is saved.
        return self.card


def main() -> None:
    path, out = paths()
    payments = read_payments(path)
    rows: list[tuple[str, Row]] = []
    flow = Dataflow("fraud_features")
    stream = op.input("payments", flow, TestingSource(payments, batch_size=1_000))
    keyed = op.key_on("card", stream, lambda payment: payment.card)
    features = op.stateful("features", keyed, CardLogic)
    op.output("rows", features, TestingSink(rows))
    begun = time.perf_counter()
    # One long epoch asks for no snapshot on the way.
    run_main(flow, epoch_interval=timedelta(days=1))
    seconds = time.perf_counter() - begun
    report("bytewax", "streaming", len(payments), seconds, "stateful step in Python, per event")
    write_features(out, (row for _, row in rows))


if __name__ == "__main__":
    main()
