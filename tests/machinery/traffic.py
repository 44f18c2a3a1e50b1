"""Made-up production: rows, what a model answered, the log's lines, the labels."""

import csv
import functools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from machinery import rows
from mlgitops import prediction_log, settings
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.reference import Reference
from mlgitops.monitor.window import Log, read_log

SHA = "a" * 64
START = pd.Timestamp("2020-01-01", tz="UTC")
SECTION: dict[str, Any] = {  # of params.yaml
    "window_days": 28,
    "every_days": 7,
    "min_rows": 1000,
    "min_labels": 500,
    "false_alarm_rate": 0.01,
    "block_days": 0,
    "confirm_parts": 2,
    "cooldown_days": 0,
    "sample_precision": 0.02,
    "min_shift_number": 0.1,
    "min_shift_category": 0.1,
    "min_shift_prediction": 0.1,
    "min_group": 30,
    "min_shift_columns": {},
    "max_missing": 0.1,
    "max_broken": 0.05,
    "max_corrupt": 0.05,
    "max_duplicate": 0.5,
    "confidence": 0.99,
    "max_fall": 0.02,
    "min_gain": 0.005,
    "probe_rows": 20_000,
}
METRIC = PrimaryMetric("binary", "late")
MONITOR = settings.monitor({"monitor": SECTION})
PARAMS: dict[str, Any] = {
    "prepare": {"split": "time", "holdout_days": 14, "train_days": 90},
    "train": rows.PARAMS,
    "monitor": SECTION,
    "retrain": {"keep_days": 120, "min_days": 0},
    "gates": {},
}


def limits(rows_seen: int = 0, **changes: Any) -> settings.Monitor:
    """Return other limits, with the precision for which so many rows are looked at."""
    found = replace(MONITOR, **changes)
    if rows_seen:
        precision = (
            math.log(2 / (1 - settings.SAMPLE_CONFIDENCE)) / (2 * rows_seen)
        ) ** 0.5
        found = replace(found, sample_precision=precision * (1 + 1e-9))
    return found


def flights(
    count: int, day: float = 0, days: float = 28, seed: int = 0, **change: float
) -> pd.DataFrame:
    """Return rows of `rows.small()` with a true probability and a late or not.

    `warmer` moves temp, `inverted` turns what temp means, `lost` removes its values.
    """
    rng = np.random.default_rng(seed)
    temp = rng.normal(40 + change.get("warmer", 0), 10, count)
    far = rng.uniform(100, 3000, count)
    carrier = rng.integers(0, 3, count)
    sign = -1 if change.get("inverted") else 1
    known = -(temp - 40) / 5 + (far - 1500) / 1000 + carrier - 1.5
    truth = sign * -(temp - 40) / 5 + (far - 1500) / 1000 + carrier - 1.5
    temp[rng.random(count) < change.get("lost", 0.05)] = np.nan
    seconds = np.sort(rng.uniform(day, day + days, count)) * 86_400
    return pd.DataFrame(
        {
            "flight_id": [f"{seed}-{day}-{number}" for number in range(count)],
            "scheduled_departure": START + pd.to_timedelta(seconds.round(), unit="s"),
            "carrier": np.array(["AA", "B6", "UA"], dtype=object)[carrier],
            "distance": far.astype("float32"),
            "temp": temp.astype("float32"),
            "probability": 1 / (1 + np.exp(-known)),
            "late": (rng.random(count) < 1 / (1 + np.exp(-truth))).astype("int8"),
        }
    ).astype({"scheduled_departure": "datetime64[us, UTC]"})


@functools.cache
def reference(seed: int = 100) -> Reference:
    """Return a version that was trained on 60 days and judged on the next 14.

    It is made once: whoever wants another one takes `dataclasses.replace`.
    """
    train, holdout = flights(6000, 0, 60, seed), flights(3000, 60, 14, seed + 1)
    manifest = {"columns": ["temp", "carrier", "distance"]}
    importance = {"temp": 0.5, "carrier": 0.3, "distance": 0.2}
    return Reference("v1.0.0", SHA, manifest, rows.small(), train, holdout, importance)


def lines(table: pd.DataFrame, sha: str = SHA, beside: str | None = None) -> list[str]:
    """Return the log lines of answered rows, as the server writes them."""
    made = []
    for row in table.to_dict("records"):
        sent = {n: row[n] for n in ("carrier", "distance", "temp") if n in row}
        p = row["probability"]
        fields = prediction_log.line(
            {"id": row["flight_id"], "probability": p, "decision": p >= 0.5},
            row["scheduled_departure"],
            sha,
            "v1.0.0",
            "2031-01-01T00:00:00+00:00",
            {n: None if v != v else v for n, v in sent.items()},
            beside,
        )
        made.append(json.dumps(fields))
    return made


def write(
    folder: Path, table: pd.DataFrame, sha: str = SHA, beside: str | None = None
) -> str:
    """Append rows to a log's folder and return it as a source."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / prediction_log.file_name("2020-01-01")).open("a") as file:
        file.writelines(line + "\n" for line in lines(table, sha, beside))
    return str(folder)


def label(path: Path, table: pd.DataFrame) -> str:
    """Append the labels of rows and return the file as a source."""
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(["id", "late"])
        writer.writerows(zip(table["flight_id"], table["late"], strict=True))
    return str(path)


def answered(folder: Path, table: pd.DataFrame) -> Log:
    """Write rows to a log and read them again."""
    return read_log(write(folder, table), MONITOR)
