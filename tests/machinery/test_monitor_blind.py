"""What the monitor must not overlook: flags, the future, large numbers, few 1s."""

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from machinery import rows, traffic
from machinery.traffic import MONITOR, PARAMS, SHA, START
from mlgitops.commands import retrain
from mlgitops.monitor import (
    data_quality,
    decide,
    drift,
    null_distribution,
    primary_metric,
    record,
    sample,
    window,
)
from mlgitops.monitor.evidence import Rare
from mlgitops.monitor.inspect import Window, inspect
from mlgitops.monitor.reference import Reference
from mlgitops.monitor.window import Log, read_log
from mlgitops.pipeline.contract import Column
from mlgitops.prediction_log import Entry

CONTRACT = rows.small()
WINDOWS = 1000 if os.environ.get("PROOF") else 30
WEEKLY = traffic.limits(block_days=7, false_alarm_rate=0.01)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


def judge(
    log: Log, labels: str | None = None, known: Reference | None = None
) -> tuple[decide.Decision, Window]:
    """Look at a log and decide."""
    found = inspect(known or traffic.reference(), log, labels, PARAMS)
    return decide.decide(found.evidence, MONITOR), found


def checks(found: Window) -> dict[str, record.Check]:
    """Return the checks of a window by name."""
    return {check["name"]: check for check in record.checks(found.evidence, MONITOR)}


# Numbers with few values


def numbers(kind: str, size: int, much: float, rng: Any) -> Any:
    """Return a column of integers: a flag, a count or an amount with a long tail."""
    if kind == "flag":
        return (rng.random(size) < much).astype(float)
    if kind == "count":
        return rng.poisson(much, size).astype(float)
    return np.floor(rng.lognormal(3, 1.2, size) * much)


def drifted(kind: str, past: float, now: float, seed: int) -> bool:
    """Tell whether a shift of 13 weeks to four is called drift, as shipped."""
    rng = np.random.default_rng(seed)
    known = traffic.flights(6000, 0, 91, seed=seed)
    fresh = traffic.flights(2000, 91, 28, seed=seed + 1000)
    known = known.assign(temp=numbers(kind, len(known), past, rng))
    fresh = fresh.assign(temp=numbers(kind, len(fresh), now, rng))
    cut = len(known) // 2
    sha = f"{kind} {past} {seed}"
    reference = replace(
        traffic.reference(), manifest_sha256=sha, train=known[:cut], holdout=known[cut:]
    )
    found = drift.compare(fresh, None, reference, WEEKLY)
    return any(d.detected for d in found.columns if d.column == "temp")


@pytest.mark.parametrize(
    ("kind", "past", "now"),
    [
        ("flag", 0.2, 0.8),
        ("flag", 0.0, 1.0),
        ("flag", 1.0, 0.0),
        ("flag", 0.02, 0.1),
        ("count", 1.0, 2.0),
        ("count", 0.05, 0.3),
        ("amount", 1.0, 2.0),
    ],
)
def test_a_shift_of_numbers_with_few_values_is_seen(
    kind: str, past: float, now: float
) -> None:
    """A flag from 20 % to 80 %, a count, integers with a long tail."""
    assert drifted(kind, past, now, 0)


@pytest.mark.parametrize(
    ("kind", "much"), [("flag", 0.2), ("flag", 0.0), ("count", 1.0), ("amount", 1.0)]
)
def test_numbers_with_few_values_stay_silent(kind: str, much: float) -> None:
    assert not any(drifted(kind, much, much, seed) for seed in range(2))


@pytest.mark.parametrize("kind", ["flag", "count"])
def test_f18_false_alarms_of_numbers_with_few_values_stay_within_the_setting(
    kind: str,
) -> None:
    """Without a floor, by the null distribution and by the test of weeks."""
    rate, windows, said, tested = 0.05, WINDOWS, 0, 0
    for seed in range(windows):
        rng = np.random.default_rng(seed)
        values = numbers(kind, 2000, 0.2, rng)
        column = {"x": null_distribution.bin_numbers(values[:1500], 1e-9)}
        limit = null_distribution.thresholds(column, 500, rate).columns["x"]
        said += drift.distance.wasserstein(values[:1500], values[1500:]) >= limit
        found = drift.permutation.compare_choices(
            {"x": null_distribution.bin_numbers(values, 1e-9)},
            np.arange(2000) // 100,
            20,
            5,
            rate,
            rng,
        )
        tested += found.observed.columns["x"] >= found.critical.columns["x"]
    most = stats.binom.ppf(0.999, windows, rate)
    assert said <= most and tested <= most


def test_bins_are_values_where_they_are_few() -> None:
    few = null_distribution.bin_numbers([0, 1, 1, np.nan, 7], 0.1)
    assert few.centres is not None and few.centres.tolist() == [0, 1, 7]
    assert few.codes.tolist() == [0, 1, 1, 3, 2] and few.bins == 3
    many = np.random.default_rng(0).normal(-50, 1, 10_000)
    many[:4000] = many.max()  # a value that is cut off above
    column = null_distribution.bin_numbers(many, 0.1)
    assert column.centres is not None and (np.diff(column.centres) > 0).all()
    assert column.centres[-1] == pytest.approx(many.max(), rel=1e-9)
    assert 128 < column.bins <= null_distribution.BINS
    assert np.bincount(column.codes).min() > 0


# The future


def dated(count: int = 1, **changes: Any) -> list[str]:
    """Return lines of rows from the year 2099, that arrived with all others."""
    lines = []
    for number, line in enumerate(traffic.lines(traffic.flights(count, 80, seed=5))):
        fields = json.loads(line) | {"time": "2099-01-01T00:00:00+00:00", **changes}
        lines.append(json.dumps(fields | {"id": f"future-{number}"}))
    return lines


@pytest.mark.parametrize("long", [False, True])
def test_f33_a_row_dated_in_the_future_hides_no_other(
    long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stands in the log, however the log is read."""
    if long:
        monkeypatch.setattr(sample, "LONG", 1000)
    good = traffic.lines(traffic.flights(3000, 80, 28))
    for name, lines in (("first", [*dated(), *good]), ("last", [*good, *dated()])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "predictions-1.jsonl").write_text("\n".join(lines) + "\n")
        monkeypatch.setattr(window, "PRUNE", 100)
        log = read_log(str(folder), MONITOR, days=120)
        decision, found = judge(log)
        assert decision.decision == "none", decision
        assert found.evidence.rows == 3000 and found.until is not None
        assert found.until.startswith("2020-04-1")
        check = checks(found)["rows dated after the window"]
        assert check["passed"] is False and "1 row" in check["value"]
        assert "future-0" in check["value"] and "2099-01-01" in check["value"]


def test_f37_rows_from_a_clock_that_is_a_year_ahead_hide_no_other(
    tmp_path: Path,
) -> None:
    """A tenth of the clients; their rows are told, and no more."""
    table = traffic.flights(3000, 80, 28)
    time = table["scheduled_departure"]
    wrong = time.where(table.index % 10 > 0, time + pd.Timedelta(days=365))
    lines = [
        json.dumps(json.loads(line) | {"logged_at": at.isoformat()})
        for line, at in zip(
            traffic.lines(table.assign(scheduled_departure=wrong)), time, strict=True
        )
    ]
    (tmp_path / "predictions-1.jsonl").write_text("\n".join(lines))
    decision, found = judge(read_log(str(tmp_path), MONITOR, days=120))
    assert decision.decision == "none" and found.evidence.rows == 2700
    assert found.evidence.ahead is not None and found.evidence.ahead.rows == 300


def test_rows_that_are_always_dated_ahead_have_their_window() -> None:
    """A flight of tomorrow is asked for today, a stay months before."""
    for lead in (timedelta(hours=20), timedelta(days=90)):
        entries = [
            Entry(str(n), at + lead, SHA, None, 0.5, None, at.isoformat(), {})
            for n in range(500)
            for at in [START + timedelta(hours=n)]
        ]
        assert window.end(entries) == entries[-1].event_time
        late = replace(entries[7], id="late", time=START + 3 * lead + timedelta(500))
        assert window.end([*entries, late]) == entries[-1].event_time
    silent = [replace(entry, logged_at="") for entry in entries]
    assert window.end(silent) == entries[-1].event_time


def test_a_window_with_few_rows_says_where_the_others_are(tmp_path: Path) -> None:
    traffic.write(tmp_path, traffic.flights(2000, 0, 10))
    traffic.write(tmp_path, traffic.flights(5, 200, 1, seed=2))
    decision, _ = judge(read_log(str(tmp_path), MONITOR))
    assert decision.decision == "not enough data"
    assert "5 rows" in decision.sentence and "2,000" in decision.sentence


# Large numbers


def test_numbers_that_float32_merges_are_named(tmp_path: Path) -> None:
    """An order's number, a timestamp: neighbours are one value, to model and us."""
    columns = {**CONTRACT.columns, "distance": Column("number", False)}
    large = replace(CONTRACT, columns=columns)
    table = traffic.flights(1000).astype({"distance": object})
    exact = data_quality.quarantine(table.assign(distance=2**24), large)
    assert exact.rounded == {} and exact.broken == 0
    times = [1_700_000_000 + n for n in range(1000)]
    found = data_quality.quarantine(table.assign(distance=times), large)
    assert found.rounded["distance"] > 900 and found.broken == 0
    log = traffic.answered(
        tmp_path, traffic.flights(2000, 80).assign(distance=2**24 + 1.0)
    )
    known = replace(traffic.reference(), contract=large)
    _, seen = judge(log, known=known)
    check = checks(seen)["rounded values of distance"]
    assert check["passed"] is False and "2,000 rows" in check["value"]


def test_a_number_that_grows_with_time_is_named(tmp_path: Path) -> None:
    """A timestamp as a number drifts in every window."""
    known, table = traffic.reference(), traffic.flights(2000, 80, 28)

    def stamped(rows_: pd.DataFrame) -> pd.DataFrame:
        hours = (rows_["scheduled_departure"] - START).dt.total_seconds() / 3600
        return rows_.assign(distance=hours.astype("float32"))

    known = replace(known, train=stamped(known.train), holdout=stamped(known.holdout))
    _, found = judge(traffic.answered(tmp_path, stamped(table)), known=known)
    assert found.evidence.clocks == ["distance"]
    check = checks(found)["drift of input distance"]
    assert check["passed"] is False and "grows with time" in check["note"]
    _, usual = judge(traffic.answered(tmp_path / "usual", table))
    assert usual.evidence.clocks == []


def test_a_labelled_row_dated_in_the_future_leaves_the_training_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest days before it would be all that is kept."""
    old, fresh = traffic.flights(300), traffic.flights(200, 28, seed=1)
    old.drop(columns="probability").to_parquet(tmp_path / "old.parquet")
    future = traffic.flights(1, 0, 1, seed=2)
    future["scheduled_departure"] += pd.Timedelta(days=365 * 70)
    traffic.write(tmp_path / "log", fresh)
    monkeypatch.setenv("PREDICTION_LOG", traffic.write(tmp_path / "log", future))
    traffic.label(tmp_path / "labels.csv", fresh)
    monkeypatch.setenv("LABELS", traffic.label(tmp_path / "labels.csv", future))
    files = (tmp_path / "old.parquet", tmp_path / "newer.parquet")
    made = retrain.collect(files[0], CONTRACT, PARAMS, files[1])
    whole = pd.read_parquet(files[1])
    assert len(whole) == 500
    rules = {**PARAMS, "prepare": {**PARAMS["prepare"], "batch": 1_000}}
    assert retrain.collect(files[0], CONTRACT, rules, files[1]) == made
    assert pd.read_parquet(files[1])["flight_id"].equals(whole["flight_id"])
    assert made.counts["new"] == 200 and made.counts["rows"] == 500
    assert made.counts["dated in the future"] == 1


# Few positives


def test_performance_that_rests_on_few_positives_is_a_caution(tmp_path: Path) -> None:
    table = traffic.flights(5457, 80, 28)
    few = (table.index < 8).astype("int8")
    labels = traffic.label(tmp_path / "labels.csv", table.assign(late=few))
    log = traffic.answered(tmp_path / "log", table)
    decision, found = judge(log, labels)
    assert found.evidence.rare == Rare("1", 8, 5457, "in the window")
    assert "only 8 of 5,457 labels" in decision.sentence
    check = checks(found)["caution: few labels"]
    assert check["passed"] is False and check["limit"] == "at least 30"
    usual = traffic.label(tmp_path / "usual.csv", table)
    decision, found = judge(log, usual)
    assert found.evidence.rare is None and "only" not in decision.sentence
    metric = primary_metric.of(rows.small("multiclass"), table)
    names = metric.classes
    assert metric.rarest(pd.DataFrame({"late": [names[0]] * 3})) == (names[1], 0)
