"""Makes one Markdown table of what `run` has measured."""

import json
import sys
from pathlib import Path

RATES = ("dataflow_events_per_second", "operator_events_per_second")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def thalweg(folder: Path) -> tuple[str, float | None]:
    """Which part of Thalweg the benchmark gives a rate for, and the rate."""
    figures = json.loads((folder / "thalweg.json").read_text())
    for key in RATES:
        if key in figures:
            return key.removesuffix("_events_per_second"), figures[key]
    return "dataflow", None


def peer_row(folder: Path, peer: str, own: float | None) -> str:
    skipped = folder / f"{peer}.skipped"
    if skipped.exists():
        return row(peer, "", "", "", "", "", f"skipped: {skipped.read_text().strip()}")
    runs = map(json.loads, (folder / f"{peer}.json").read_text().splitlines())
    job = min(runs, key=lambda run: run["seconds"])
    rate = job["events"] / job["seconds"]
    ratio = f"{own / rate:,.1f}" if own else "not measured"
    counts = (f"{job['events']:,}", f"{rate:,.0f}", ratio)
    return row(peer, job["version"], job["mode"], *counts, job["notes"])


def main() -> None:
    folder, peers = Path(sys.argv[1]), sys.argv[2:]
    part, own = thalweg(folder)
    heads = ("payments", "events/s per core", "Thalweg over it")
    print(row("engine", "version", "mode", *heads, "notes"))
    print(row("---", "---", "---", "---:", "---:", "---:", "---"))
    if own:
        counts = ("2,000,000", f"{own:,.0f}", "1.0")
        print(row("Thalweg", "", "streaming", *counts, f"{part}, one worker"))
    for peer in peers:
        print(peer_row(folder, peer, own))


if __name__ == "__main__":
    main()
