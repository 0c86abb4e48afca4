"""The job in Apache Flink: SQL OVER windows in event time."""

import time

from pyflink.table import EnvironmentSettings, TableEnvironment

from fraud import FEATURES, WINDOWS_MS, paths, report

PAYMENTS = """CREATE TABLE payments (
    card STRING, merchant INT, amount DOUBLE, ts BIGINT,
    event_time AS TO_TIMESTAMP_LTZ(ts, 3), WATERMARK FOR event_time AS event_time
) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv')"""
OPTIONS = {
    "parallelism.default": "1",
    "pipeline.object-reuse": "true",
    # Throughput before latency.
    "execution.buffer-timeout": "1 s",
    "pipeline.auto-watermark-interval": "1 s",
}
SINK = """CREATE TABLE {name} (
    ts BIGINT, {columns}
) WITH ({options})"""


def query() -> str:
    """The features as SQL.

    A query has one OVER window, so that each window reads from the query of the one before. A
    range of `length - 1` milliseconds leaves out what is `length` old.
    """
    source = "payments"
    for name, length in WINDOWS_MS.items():
        distinct = ""
        if name == "24h":
            distinct = ", COUNT(DISTINCT merchant) OVER w AS merchants_24h"
        day = time.strftime("%H:%M:%S", time.gmtime(length // 1000 - 1))
        source = f"""(SELECT *,
            COUNT(*) OVER w AS count_{name},
            SUM(amount) OVER w AS sum_{name},
            AVG(amount) OVER w AS mean_{name},
            STDDEV_SAMP(amount) OVER w AS std_{name},
            MAX(amount) OVER w AS max_{name}{distinct}
            FROM {source}
            WINDOW w AS (PARTITION BY card ORDER BY event_time
            RANGE BETWEEN INTERVAL '0 {day}.999' DAY TO SECOND(3) PRECEDING AND CURRENT ROW))"""
    return f"SELECT ts, {', '.join(FEATURES)} FROM {source}"


def insert(flink: TableEnvironment, sink: str, options: str) -> int:
    """Runs the job into a new sink and gives its milliseconds, planning left out."""
    columns = ", ".join(
        f"{name} {'BIGINT' if name.startswith(('count', 'merchants')) else 'DOUBLE'}"
        for name in FEATURES
    )
    flink.execute_sql(SINK.format(name=sink, columns=columns, options=options))
    result = flink.execute_sql(f"INSERT INTO {sink} {query()}")
    result.wait()
    job = result.get_job_client().get_job_execution_result().result()
    return job.get_net_runtime()


def main() -> None:
    path, out = paths()
    flink = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    for option, value in OPTIONS.items():
        flink.get_config().set(option, value)
    flink.execute_sql(PAYMENTS.format(path=path))
    # What is measured runs in a JVM that this has warmed, and writes nothing.
    insert(flink, "features", f"'connector' = 'filesystem', 'path' = '{out}', 'format' = 'csv'")
    nowhere = "'connector' = 'blackhole'"
    seconds = min(insert(flink, f"nowhere_{n}", nowhere) for n in range(2)) / 1e3
    with open(path) as file:
        events = sum(1 for _ in file)
    notes = "SQL OVER windows, one on another; CSV read included, warm JVM"
    report("apache-flink", "streaming", events, seconds, notes)


if __name__ == "__main__":
    main()
