"""The job in Pathway: a stateful reducer by card whose logic is plain Python."""

import time
from typing import Any, Sequence

import pathway as pw

from fraud import Payment, paths, read_payments, report, write_features
from sliding import Card


class PaymentSchema(pw.Schema):
    card: str
    merchant: int
    amount: float
    ts: int


class Payments(pw.io.python.ConnectorSubject):
    """Hands the payments over one by one."""

    def __init__(self, payments: list[Payment]) -> None:
        super().__init__()
        self.payments = payments

    def run(self) -> None:
        for payment in self.payments:
            self.next(**payment._asdict())


@pw.reducers.stateful_many
def features(
    state: tuple[pw.PyObjectWrapper, list[tuple]] | None, rows: list[tuple[list, int]]
):
    """Takes a batch of one card's payments in; the state holds the batch's features too."""
    card = state[0] if state else pw.PyObjectWrapper(Card())
    out = []
    for (ts, amount, merchant), _ in sorted(rows):
        out.append((ts, *map(float, card.value.update(ts, amount, merchant))))
    return card, tuple(out)


def main() -> None:
    path, out = paths()
    payments = read_payments(path)
    rows: list[tuple[int, Sequence[float]]] = []
    table = pw.io.python.read(Payments(payments), schema=PaymentSchema)
    states = table.groupby(pw.this.card).reduce(
        state=features(pw.this.ts, pw.this.amount, pw.this.merchant)
    )

    def on_change(key: pw.Pointer, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            rows.extend((ts, features) for ts, *features in row["state"][1])

    pw.io.subscribe(states, on_change)
    begun = time.perf_counter()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    seconds = time.perf_counter() - begun
    notes = "stateful reducer in Python, rows come out in batches of 1.5 s"
    report("pathway", "streaming", len(payments), seconds, notes)
    write_features(out, rows)


if __name__ == "__main__":
    main()
