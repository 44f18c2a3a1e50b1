"""The monitor without a time of events: by arrival, and honest about what it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from machinery import grown, lengths, timeless
from mlgitops import settings
from mlgitops.commands import retrain
from mlgitops.monitor import (
    comparable,
    data_quality,
    decide,
    drift,
    inspect,
    page,
    performance,
    permutation,
    primary_metric,
    record,
    reference,
    sample,
    training_data,
    window,
)
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.reference import Reference
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.prediction_log import Entry

PARAMS = timeless.PARAMS
METRIC = PrimaryMetric("binary", "renewed")
LIMITS = settings.monitor(PARAMS)
WINDOWS = 2000 if os.environ.get("PROOF") else 30


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


def examined(
    source: str, labels: str | None = None, version: Reference | None = None
) -> tuple[decide.Decision, inspect.Window, record.Record]:
    """Examine a log as the command does; return decision, window and record."""
    version = version or timeless.version()
    log = window.read_log(source, LIMITS, 120, bool(labels), by_arrival=True)
    found = inspect.inspect(version, log, labels, PARAMS)
    decision = decide.decide(found.evidence, LIMITS)
    sha256 = version.manifest_sha256
    made = record.build("v1.0.0", sha256, found, decision, LIMITS)
    json.dumps(made, allow_nan=False)
    return decision, found, made


# Every type


def test_quiet_traffic_raises_no_alarm_and_says_what_cannot_be_told(
    tmp_path: Path,
) -> None:
    table = timeless.rows(4000, seed=1)
    source = timeless.write(tmp_path / "log", table)
    decision, found, made = examined(source, timeless.label(tmp_path / "l.csv", table))
    assert decision.decision == "none", decision
    assert "performance holds" in decision.sentence
    assert found.evidence.rows == len(table) == found.evidence.labels
    compared = {drift_.column for drift_ in found.evidence.columns}
    assert compared == {
        *("plan", "age", "paid", "spend", "joined (hour)", "joined (weekday)"),
        *("seen (hour)", "seen (weekday)", "seen (days after joined)"),
    }
    assert {d.column for d in found.evidence.missing} == set(timeless.COLUMNS)
    text, html = page.markdown(made), page.page(made, "")
    for words in ("names no time", "same season", "days of this window", "moves on"):
        assert any(words in caveat for caveat in made["caveats"])
        assert words in text and words in html
    assert "rows that arrived from 2024-01-01" in text
    assert "not with the same season" in made["compared_with"]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"older": 8}, ["age"]),
        ({"unpaid": 1}, ["paid"]),
        ({"later": 6}, ["joined (hour)"]),
    ],
)
def test_what_moved_is_named(
    change: dict[str, float], names: list[str], tmp_path: Path
) -> None:
    table = timeless.rows(4000, seed=2, **change)
    decision, found, _ = examined(timeless.write(tmp_path / "log", table))
    assert decision.decision == "watch", decision
    assert [d.column for d in found.evidence.drifted] == names
    assert f"{names[0]} drifted" in decision.sentence
    assert found.evidence.confirmed


@pytest.mark.parametrize(
    ("logged", "words"),
    [
        ({"paid": "yes"}, '"paid": 1,500 of 1,500 rows are not true or false'),
        ({"paid": 1}, '"paid": 1,500 of 1,500 rows are not true or false'),
        ({"age": 3.5}, '"age": 1,500 of 1,500 rows are not whole numbers'),
        ({"age": True}, '"age": 1,500 of 1,500 rows are not whole numbers'),
        ({"age": 121}, '"age": 1,500 of 1,500 rows are outside 0 to 120'),
        ({"joined": "yesterday"}, '"joined": 1,500 of 1,500 rows are not ISO 8601'),
        ({"joined": 1.7e9}, '"joined": 1,500 of 1,500 rows are not ISO 8601'),
        (
            {"joined": "1970-01-01T00:00:00+00:00"},
            '"joined": 1,500 of 1,500 rows are outside 2010-01-01 00:00 to 2030-12-31',
        ),
        ({"joined": None}, 'column "joined" has no values any more'),
        ({"paid": None}, 'column "paid" has no values any more'),
        ({"seen": None}, 'column "seen" has no values any more'),
    ],
)
def test_values_that_break_their_type_are_data_quality(
    logged: dict[str, Any], words: str, tmp_path: Path
) -> None:
    source = timeless.write(tmp_path / "log", timeless.rows(1500, seed=3), **logged)
    decision, _, made = examined(source)
    assert decision.decision == "stop" and words in decision.sentence
    assert made["checks"][0]["passed"] is False


def test_a_few_broken_values_are_set_aside(tmp_path: Path) -> None:
    """And whole numbers with a fraction of zero, or dates without a time, are none."""
    table = timeless.rows(1200, seed=4)
    entries = window.read_log(
        timeless.write(
            tmp_path / "log",
            table,
            age=lambda n, v: [v + 0.5, float(v)][n > 9],
            joined=lambda n, v: "?" if 5 <= n < 15 else v[:10],
            paid=lambda n, v: "" if n < 600 else v,
        ),
        LIMITS,
        by_arrival=True,
    ).entries
    seen = window.frame(entries, {}, timeless.CONTRACT)
    found = data_quality.quarantine(seen, timeless.CONTRACT)
    assert found.broken == 15 and len(found.valid) == 1185
    assert str(found.valid["joined"].dtype) == "datetime64[us, UTC]"
    assert found.valid["age"].tolist() == table["age"].iloc[15:].tolist()
    assert found.valid["paid"].iloc[:500].isna().all()
    assert set(found.valid["paid"].dropna()) == {0.0, 1.0}


def test_times_are_compared_by_the_event_where_there_is_one() -> None:
    """Hour, weekday, and how long after the event; never the date itself."""
    contract = Contract.read(timeless.TEXT + "time: when\n")
    at = pd.to_datetime(["2024-01-01T00:00Z", "2024-01-07T12:30Z"], utc=True)
    rows = pd.DataFrame({"when": at, "joined": at[::-1], "seen": [at[0], pd.NaT]})
    rows["paid"] = [1.0, np.nan]
    seen = comparable.table(rows, contract)
    assert seen["joined (hour)"].tolist() == ["12", "00"]
    assert seen["joined (weekday)"].tolist() == ["Sun", "Mon"]
    days = seen["joined (days after when)"]
    assert days.tolist() == pytest.approx([6.5208, -6.5208], abs=1e-3)
    assert seen["seen (hour)"].tolist() == ["00", None]
    assert seen["paid"].tolist() == ["true", None]
    made = comparable.contract(contract)
    kinds = {name: column.type for name, column in made.columns.items()}
    assert kinds["joined (days after when)"] == kinds["age"] == "number"
    assert kinds["paid"] == kinds["seen (hour)"] == "category"
    assert "joined (weekday)" not in comparable.contract(contract, False).columns


@pytest.mark.parametrize(
    ("days", "shown"), [(28, True), (90, True), (14, True), (10, False), (3, False)]
)
def test_weekdays_are_compared_in_whole_weeks(days: float, shown: bool) -> None:
    times = pd.Series(timeless.START + pd.to_timedelta(np.linspace(0, days, 99), "D"))
    assert comparable.show_weekdays(times) is shown


def test_slices_know_true_and_false(tmp_path: Path) -> None:
    table = timeless.rows(4000, seed=5)
    wrong = (table["paid"] == 0) & (np.random.default_rng(0).random(4000) < 0.9)
    table["renewed"] = table["renewed"].where(~wrong, 1 - table["renewed"])
    source = timeless.write(tmp_path / "log", table)
    _, found, made = examined(source, timeless.label(tmp_path / "l.csv", table))
    assert found.evidence.slices[0][:2] == ("paid", "false")
    assert "worst slice: paid false" in {check["name"] for check in made["checks"]}


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_columns_may_be_named_as_predictions_are(task: str) -> None:
    """A column `value`, a target `class`: none is taken for the prediction."""
    names = ("probability", "value", "class", "probabilities", "x (hour)")
    for target in names:
        document = {
            "name": "any",
            "task": task,
            "id": "key",
            "target": target,
            "columns": {n: {"type": "number", "missing": False} for n in names}
            | {"x": {"type": "datetime", "missing": False}},
        }
        document["classes"] = ["a", "b"] if task == "multiclass" else []
        del document["columns"][target]
        contract = Contract.parse(document)
        row: dict[str, Any] = dict.fromkeys([n for n in names if n != target], 7.0)
        row["x"] = "2024-01-01T05:00:00Z"
        said = [0.2, 0.8] if task == "multiclass" else 0.2
        at = timeless.START.to_pydatetime()
        entry = Entry("1", at, "a" * 64, None, said, None, at.isoformat(), row)
        label = {"binary": 1, "regression": 5.0, "multiclass": "a"}[task]
        rows = window.frame([entry], {"1": label}, contract)
        valid = data_quality.quarantine(rows, contract).valid
        assert all(valid[name].tolist() == [7] for name in row if name != "x")
        assert valid[target].tolist() == [label]
        metric = primary_metric.of(contract, valid)
        truth, predicted = metric.truth_and_predictions(valid)
        assert predicted.tolist() == [said] and len(truth) == 1
        seen = comparable.table(valid, contract)
        assert len(comparable.contract(contract).columns) == len(names) + 1
        hours = [n for n in seen if str(n).startswith("x (hour)") and n not in names]
        assert [seen[name].tolist() for name in hours] == [["05"]]


# By arrival


def test_the_window_goes_by_arrival(tmp_path: Path) -> None:
    """Golden rows open no window, a line without an arrival is counted."""
    table = timeless.rows(3000, 0, 60, seed=6)
    table.loc[:1, "key"] = ["golden-0", "golden-1"]
    source = timeless.write(tmp_path / "log", table)
    file = tmp_path / "log" / "predictions-2024-01-01.jsonl"
    odd = json.loads(file.read_text().splitlines()[5]) | {"logged_at": "", "id": "x"}
    with file.open("a") as log_file:
        log_file.write(json.dumps(odd) + "\n" + json.dumps(odd | {"id": "y"}) + "\n")
    _, found, made = examined(source)
    assert found.evidence.rows == pytest.approx(1400, abs=100)
    assert found.evidence.served_days == pytest.approx(60, abs=0.5)
    assert made["window"]["by"] == "arrival"
    counts = made["counts"]["log"]
    assert counts["asked by a deployment"] == counts["without a time"] == 2


@pytest.mark.parametrize(("wrong", "hidden"), [(5, False), (600, True)])
def test_a_clock_that_was_wrong_for_a_few_rows_hides_no_others(
    wrong: int, hidden: bool, tmp_path: Path
) -> None:
    """By arrival no other time tells; many such rows are production after a pause."""
    table = timeless.rows(2000, seed=7)
    later = table["arrival"].iloc[:wrong] + timedelta(days=365)
    table.loc[: wrong - 1, "arrival"] = later
    log = window.read_log(
        timeless.write(tmp_path / "log", table), LIMITS, 120, by_arrival=True
    )
    assert (log.end(log.entries).year == 2025) is hidden
    assert len(log.due()) == (wrong if hidden else 2000 - wrong)
    if not hidden:
        _, found, made = examined(str(tmp_path / "log"))
        assert found.evidence.rows == 2000 - wrong
        (ahead,) = [c for c in made["checks"] if c["name"].startswith("rows dated")]
        assert ahead["passed"] is False and "5 rows" in ahead["value"]


def test_a_drift_of_one_part_of_the_window_is_not_confirmed(tmp_path: Path) -> None:
    table = timeless.rows(4000, seed=8)
    table["age"] += np.where(table.index < 1900, 25, 0).astype("float32")
    decision, found, _ = examined(
        timeless.write(tmp_path / "log", table.assign(age=table["age"].clip(0, 120)))
    )
    assert [d.column for d in found.evidence.drifted] == ["age"]
    assert decision.decision == "watch" and "temporary" in decision.sentence


def test_a_number_that_grows_with_arrival_is_named(tmp_path: Path) -> None:
    table = timeless.rows(2000, seed=9)
    table["spend"] = np.linspace(5000, 9000, 2000).astype("float32")
    _, found, _ = examined(timeless.write(tmp_path / "log", table))
    assert found.evidence.clocks == ["spend"]


def test_late_labels_and_a_fall_lead_to_a_retraining(tmp_path: Path) -> None:
    """By main's split: both models are tried on the rows that it holds out."""
    known = timeless.version()
    few = replace(known, train=known.train.head(500), holdout=known.holdout.head(1500))
    table = timeless.rows(6000, seed=10, inverted=1)
    source = timeless.write(tmp_path / "log", table)
    labels = timeless.label(tmp_path / "l.csv", table.iloc[:5000])
    decision, found, made = examined(source, labels, few)
    evidence = found.evidence
    assert decision.decision == "retrain", decision
    assert evidence.fall is not None and evidence.fall.high < -0.02
    assert evidence.gain is not None and evidence.gain.low > 0.005
    assert evidence.label_delay == pytest.approx(28 / 6, abs=0.2)
    assert made["expectation"]["metric"] == "roc_auc"


def test_the_next_training_data_keeps_the_contract(tmp_path: Path) -> None:
    """Without a time no past row is too old, which the pull request says."""
    table = timeless.rows(1500, seed=11)
    source = timeless.write(tmp_path / "log", table)
    log = window.read_log(source, LIMITS, 120, by_arrival=True)
    ids = {entry.id for entry in log.entries}
    labels_at = timeless.label(tmp_path / "l.csv", table)
    labels = read_labels(labels_at, ids, timeless.CONTRACT, LIMITS)
    labelled = window.frame(log.entries, labels.by_id, timeless.CONTRACT)
    past = timeless.version().train
    made = grown.build(past, labelled, timeless.CONTRACT, 1, 0.05)
    assert made.counts["new"] == 1500 and made.counts["quarantined"] == 0
    assert made.counts["dropped"] == 0
    assert made.counts[training_data.TIMELESS] == len(past)
    assert list(made.table) == ["key", *timeless.COLUMNS, "renewed"]
    added = made.table[made.table["key"].isin(ids)].set_index("key")
    pd.testing.assert_frame_equal(
        added.loc[table["key"], ["age", "paid", "joined", "seen"]],
        table.set_index("key")[["age", "paid", "joined", "seen"]],
        check_freq=False,
    )
    assert timeless.CONTRACT.time == "" and "" not in made.table


@pytest.mark.parametrize(
    ("split", "part"),
    [
        ({"split": "random", "holdout_share": 0.3, "seed": 1}, "key"),
        ({"split": "group", "holdout_share": 0.3, "seed": 1}, "customer"),
        ({"split": "column", "holdout": ["test"]}, "part"),
    ],
)
def test_the_gain_is_estimated_on_rows_that_the_split_holds_out(
    split: dict[str, Any], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entity and the part come with labels; no row is on both sides."""
    contract = replace(timeless.CONTRACT, entity="customer", part="part")
    past, now = (timeless.rows(2000, seed=n, inverted=n) for n in (0, 1))

    def beside(table: pd.DataFrame) -> dict[str, pd.Series]:
        number = pd.Series(np.arange(len(table)), table["key"])
        parts = (number % 3).map({0: "test", 1: "a", 2: "b"})
        return {"customer": (number // 4).map("c{}".format), "part": parts}

    columns = {name: values.to_numpy() for name, values in beside(past).items()}
    by_id = {name: values.to_dict() for name, values in beside(now).items()}
    sides = list[pd.DataFrame]()
    real = performance._with_groups
    monkeypatch.setattr(
        performance, "_with_groups", lambda t, c: real(sides.append(t) or t, c)
    )
    rules = {**PARAMS, "prepare": split}
    rules["monitor"] = {**PARAMS["monitor"], "min_labels": 400}
    ask = (contract, rules, METRIC, by_id["customer"], by_id["part"])
    arrived = now.rename(columns={"arrival": ""})
    gain = performance.gain(past.assign(**columns), arrived, arrived, *ask)
    assert not isinstance(gain, str) and gain.challenger > gain.champion
    (held,) = sides
    assert set(held["key"]) <= set(now["key"]) and 400 < len(held) < 900
    if part != "key":
        inside = arrived["key"].map(by_id[part]).isin(set(held[part]))
        assert int(inside.sum()) == len(held)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("no", name="xgboost"), "xgboost is not among"),
        (ContractError("too few rows"), "cannot be fitted on these rows: too few"),
    ],
)
def test_a_model_that_cannot_be_fitted_here_gives_no_estimate_and_says_so(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on: what else it saw is not lost."""
    past, now = (timeless.rows(2000, seed=n, inverted=n) for n in (0, 1))
    arrived = now.rename(columns={"arrival": ""})
    split = {"split": "random", "holdout_share": 0.3, "seed": 1}
    rules = {**PARAMS, "prepare": split}
    rules["monitor"] = {**PARAMS["monitor"], "min_labels": 400}
    ask = (past, arrived, arrived, timeless.CONTRACT, rules, METRIC)
    assert not isinstance(performance.gain(*ask), str), "the control"

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("mlgitops.pipeline.fitting.fit", fail)
    assert reason in str(performance.gain(*ask))


@pytest.mark.parametrize("name", ["customer", "part"])
def test_labels_without_the_part_or_the_entity_give_no_estimate_and_say_so(
    name: str, tmp_path: Path
) -> None:
    """In the record, in the pull request, and the control has an estimate."""
    split = {"split": "column", "holdout": ["test"]}
    if name == "customer":
        split = {"split": "random", "holdout_share": 0.3, "seed": 1}
    role = {"customer": "entity", "part": "part"}[name]
    contract = replace(timeless.CONTRACT, **{role: name})
    known = timeless.version()
    number = np.arange(len(known.train))
    values = np.where(number % 3, f"{name}-1", "test") if name == "part" else number
    train = known.train.assign(**{name: values.astype(str)})
    version = replace(known, contract=contract, train=train)
    version = replace(version, holdout=known.holdout.assign(**{name: "test"}))
    table = timeless.rows(4000, seed=10, inverted=1)
    source = timeless.write(tmp_path / "log", table)
    labels = timeless.label(tmp_path / "l.csv", table)

    def seen() -> tuple[decide.Decision, record.Record]:
        log = window.read_log(source, LIMITS, 120, True, by_arrival=True)
        found = inspect.inspect(version, log, labels, PARAMS | {"prepare": split})
        decision = decide.decide(found.evidence, LIMITS)
        return decision, record.build("v1.0.0", "a" * 64, found, decision, LIMITS)

    decision, made = seen()
    assert decision.decision == "retrain" and made["expectation"] is None
    words = f'"{name}" ({"the " + role} in contract.yaml): add that column'
    (check,) = [c for c in made["checks"] if c["name"] == "gain of retraining"]
    assert words in check["note"]
    for text in (page.markdown(made), retrain._expectation(made)):
        assert "add that column to the labels" in text
    beside = pd.read_csv(labels)
    parts = np.where(np.arange(4000) % 2, "test", "train")
    beside[name] = parts if name == "part" else np.arange(4000)
    beside.to_csv(labels, index=False)
    made = seen()[1]
    assert made["expectation"] and "no_expectation" not in made


def caveats(folder: Path, past: pd.DataFrame, version: Reference) -> list[str]:
    """Return what a run says of a window of these rows beside its checks."""
    steps = pd.to_timedelta(np.arange(len(past)), "min")
    table = past.assign(arrival=timeless.START + steps, probability=0.5)
    made = examined(timeless.write(folder / f"{len(past)}", table), version=version)[2]
    assert "caveats" in made, made
    return list(made["caveats"])


def test_rows_that_the_version_was_trained_on_are_counted(tmp_path: Path) -> None:
    """They say nothing about new ones; rows of the holdout do, and are the control."""
    version = timeless.version()
    mixed = pd.concat([version.train.head(500), version.holdout.head(700)])
    assert "500 of 1,200 rows have the id" in caveats(tmp_path, mixed, version)[0]
    others = caveats(tmp_path, version.holdout.head(1100), version)
    assert not any("trained on" in caveat for caveat in others)


def test_of_a_long_table_all_ids_are_looked_up_and_the_sample_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sixth of the training rows is kept: without the file, as many are counted."""
    whole = timeless.version()
    monkeypatch.setattr(reference.sample, "MAX_ROWS", 1000)
    monkeypatch.setattr(reference.sample, "BATCH", 700)
    timeless.build(tmp_path / "long")
    version = reference.load(tmp_path / "long" / "build", "v1.0.0")
    assert len(version.train) == len(version.holdout) == 1000
    mixed = pd.concat([whole.train.head(500), whole.holdout.head(700)])
    said = caveats(tmp_path, mixed, version)
    assert "500 of 1,200 rows have the id of a row" in said[0]
    assert "1,000 of the 6,000 rows trained on and 1,000 of the 3,000 " in said[1]
    blind = caveats(tmp_path, mixed, replace(version, train_file=None))
    assert "500 of 1,200" not in blind[0] and "have the id of a row" in blind[0]


def test_the_interval_of_a_fall_knows_that_days_of_arrival_differ() -> None:
    """Days on which the model does well or badly are no news; a lasting fall is."""
    holdout = timeless.version().holdout

    def half(mood: float, **change: float) -> tuple[float, float, float]:
        table = timeless.rows(3000, seed=13, **change)
        day = (table["arrival"] - timeless.START).dt.days.to_numpy()
        wrong = np.random.default_rng(5).random(28)[day] < mood
        truth = table["renewed"].where(~wrong, 1 - table["renewed"])
        table = table.assign(renewed=truth).rename(columns={"arrival": ""})
        wide, narrow = (
            performance.measure(
                table,
                holdout,
                METRIC,
                [],
                timeless.CONTRACT,
                replace(LIMITS, block_days=days),
            )[0]
            for days in (7, 0)
        )
        assert wide[:3] == narrow[:3]
        return narrow.high - narrow.low, wide.high - wide.low, wide.high

    narrow, wide, _ = half(0.3)
    assert wide > 2 * narrow
    assert half(0)[1] < 1.6 * half(0)[0]
    assert half(0, inverted=1)[2] < -0.02


def test_the_holdout_is_put_into_blocks_by_its_entity() -> None:
    arrived = np.repeat(np.arange(28), 100)
    groups = np.repeat(np.arange(300), 10)
    blocks = permutation.blocks_by_arrival(3000, arrived, groups)
    assert blocks is not None and blocks.window == 28
    assert set(blocks.past) == set(range(28)) and set(blocks.current) == {
        *range(28, 56)
    }
    assert (blocks.past.reshape(300, 10) == blocks.past[::10, None]).all()
    alone = permutation.blocks_by_arrival(3000, arrived)
    assert alone is not None and np.bincount(alone.past).min() > 100
    assert permutation.blocks_by_arrival(20, arrived) is None


def test_a_long_log_is_drawn_from_by_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = timeless.write(tmp_path / "log", timeless.rows(8000, 0, 40))
    monkeypatch.setattr(sample, "LONG", 1000)
    limits = replace(LIMITS, sample_precision=0.05, window_days=7, probe_rows=1000)
    log = window.read_log(source, limits, 40, labelled=True, by_arrival=True)
    until = log.end(log.entries)
    recent = [e for e in log.entries if e.event_time > until - timedelta(days=7)]
    assert log.by_arrival and len(log.entries) < 8000 == log.counts["lines"]
    assert len(recent) == pytest.approx(limits.sample_rows, rel=0.1)


# False alarms


def compared(
    table: pd.DataFrame, known: Reference | None = None, **changes: Any
) -> drift.Comparison:
    """Compare rows that arrived with the version, without a smallest shift."""
    kinds = ("number", "category", "prediction")
    none = {f"min_shift_{kind}": 0.001 for kind in kinds} | {"max_missing": 0.0}
    limits = replace(LIMITS, **none | changes)
    arrived = table.rename(columns={"arrival": ""})
    return drift.compare(arrived, None, known or timeless.version(), limits)


def alarms(found: drift.Comparison) -> bool:
    """Tell whether anything is called drift."""
    others = [found.data_set, found.prediction]
    every = [*found.columns, *found.missing, *[d for d in others if d is not None]]
    return any(d.detected for d in every)


@pytest.mark.parametrize("size", lengths.turn([100, 1000]))
def test_f18_false_alarms_stay_within_the_setting(size: int) -> None:
    """A stable world without a time: over all checks together, no floor."""
    rate = 0.05

    def seen(count: int, **change: float) -> int:
        tables = (timeless.rows(size, seed=1000 + n, **change) for n in range(count))
        return sum(alarms(compared(table, false_alarm_rate=rate)) for table in tables)

    assert seen(WINDOWS) <= stats.binom.ppf(0.999, WINDOWS, rate)
    # The control: of windows that differ, most are seen.
    assert seen(10, older=10) >= 9 and seen(10, later=4) >= 9


def days(table: pd.DataFrame, size: float, seed: int) -> pd.DataFrame:
    """Return rows of which those that arrived on one day share a cause."""
    day = (table["arrival"] - timeless.START).dt.days.to_numpy()
    mood = np.random.default_rng(seed).normal(0, size, day.max() - day.min() + 1)
    age = table["age"] + mood[day - day.min()].round()
    return table.assign(age=age.clip(0, 120).astype("float32"))


@pytest.mark.slow
def test_f18_days_that_differ_by_themselves_are_no_drift() -> None:
    """Their rows look like many, and are few causes: the window's own days tell."""
    rate, count = 0.05, 2000 if WINDOWS > 1000 else 20
    past = days(timeless.rows(9000, -120, 120, seed=99), 6, seed=99)
    known = replace(timeless.version(), train=past.iloc[::2], holdout=past.iloc[1::2])
    said = {0.0: 0, 7.0: 0}
    for block_days in said:
        for seed in range(count):
            table = days(timeless.rows(1000, seed=2000 + seed), 6, seed=seed)
            limits = {"block_days": block_days, "false_alarm_rate": rate}
            said[block_days] += alarms(compared(table, known, **limits))
    assert said[7.0] <= stats.binom.ppf(0.999, count, rate)
    assert said[0.0] > count / 4, "rows alone cry wolf"
    lasting = [
        days(timeless.rows(1000, seed=2000 + n, older=8), 6, seed=n) for n in range(10)
    ]
    assert sum(alarms(compared(table, known)) for table in lasting) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("requested", lengths.turn([True, False]))
def test_f18_rows_of_an_entity_count_as_one(requested: bool) -> None:
    """Whether requests carry it or only labelled rows do."""
    rate, count = 0.05, 2000 if WINDOWS > 1000 else 20

    def grouped(table: pd.DataFrame) -> pd.DataFrame:
        """Twenty rows each, in any order, of the same age and plan."""
        rng = np.random.default_rng(len(table))
        first = np.repeat(np.arange(0, len(table), 20), 20)[: len(table)]
        same = {name: table[name].to_numpy()[first] for name in ("age", "plan")}
        order = rng.permutation(len(table))
        names = [f"{table['key'].iloc[n]}" for n in first]
        shuffled = {n: np.asarray(v)[order] for n, v in same.items()}
        return table.assign(**shuffled, customer=np.array(names, dtype=object)[order])

    past = grouped(timeless.rows(6000, -120, 120, seed=98))
    contract = replace(timeless.CONTRACT, entity="customer")
    halves = {"train": past.iloc[:3000], "holdout": past.iloc[3000:]}
    known = replace(timeless.version(), contract=contract, **halves)
    without = replace(known, contract=timeless.CONTRACT)
    said = [0, 0]
    for seed in range(count):
        table = grouped(timeless.rows(1000, seed=3000 + seed))
        if not requested:
            table = table.drop(columns="customer")
        for index, version in enumerate((known, without)):
            found = compared(table, version, false_alarm_rate=rate, block_days=0)
            said[index] += alarms(found)
    assert said[0] <= stats.binom.ppf(0.999, count, rate)
    assert said[1] > count / 4, "rows alone cry wolf"
    older = grouped(timeless.rows(1000, seed=4, older=20))
    assert alarms(compared(older, known, block_days=0))


# The command


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "decision", "words"),
    lengths.turn(
        [
            ({}, "nothing to do", "performance holds"),
            ({"later": 6}, "watch", "joined (hour) drift"),
        ]
    ),
)
def test_the_command_and_evidently_say_the_same(
    change: dict[str, float], decision: str, words: str, tmp_path: Path
) -> None:
    """On rows of every type, without a time: record, report and history."""
    subprocess.run(["git", "init", "-q", "--bare", "origin.git"], check=True)
    subprocess.run(["git", "clone", "-q", "origin.git", "work"], check=True)
    work = tmp_path / "work"
    timeless.build(work)
    table = timeless.rows(4000, seed=12, **change)
    log = timeless.write(tmp_path / "log", table)
    labels = timeless.label(tmp_path / "labels.csv", table)
    ran = subprocess.run(
        [sys.executable, "-m", "mlgitops", "monitor"],
        cwd=work,
        env=os.environ | {"PREDICTION_LOG": log, "LABELS": labels},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert words in ran.stdout and "names no time" in ran.stdout
    html = (work / "build" / "monitor.html").read_text()
    assert f"Monitoring: {decision}</h1>" in html and page.CAVEATS in html
    assert "seen (days after joined)" in html and "paid" in html
    index = (work / "build" / "monitoring" / "index.html").read_text()
    assert "not with the same season" in index
