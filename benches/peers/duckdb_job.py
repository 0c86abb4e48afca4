"""The job in DuckDB, offline: window functions over a table in memory."""

import time

import duckdb

from fraud import WINDOWS_MS, paths, report


def query() -> str:
    """The features as SQL; a range of `length - 1` leaves out what is `length` old.

    The mean is made of the other two, which takes a fifth less time than `avg`.
    """
    amounts = [
        f"""count(*) OVER w_{name} AS count_{name},
        sum(amount) OVER w_{name} AS sum_{name},
        sum(amount) OVER w_{name} / count(*) OVER w_{name} AS mean_{name},
        stddev_samp(amount) OVER w_{name} AS std_{name},
        max(amount) OVER w_{name} AS max_{name}"""
        for name in WINDOWS_MS
    ]
    windows = [
        f"w_{name} AS (PARTITION BY card ORDER BY ts"
        f" RANGE BETWEEN {length - 1} PRECEDING AND CURRENT ROW)"
        for name, length in WINDOWS_MS.items()
    ]
    return f"""SELECT ts, {", ".join(amounts)},
        count(DISTINCT merchant) OVER w_24h AS merchants_24h
        FROM payments WINDOW {", ".join(windows)}"""


def main() -> None:
    path, out = paths()
    database = duckdb.connect(config={"threads": 1, "preserve_insertion_order": False})
    database.execute(
        """CREATE TABLE payments AS SELECT * FROM read_csv($path, header = false, columns = {
            'card': 'UBIGINT', 'merchant': 'UINTEGER', 'amount': 'DOUBLE', 'ts': 'BIGINT'})""",
        {"path": path},
    )
    begun = time.perf_counter()
    database.execute(f"CREATE TABLE features AS {query()}")
    seconds = time.perf_counter() - begun
    [(events,)] = database.execute("SELECT count(*) FROM features").fetchall()
    report("duckdb", "offline", events, seconds, "SQL window functions")
    database.execute("COPY features TO $out (HEADER false)", {"out": out})


if __name__ == "__main__":
    main()
