"""The monitor: reads what it can, says what it found, and cries only with a reason."""

import json
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from machinery import rows, traffic
from machinery.traffic import MONITOR, PARAMS, SHA
from mlgitops import settings
from mlgitops.commands import monitor as command
from mlgitops.metrics import Difference
from mlgitops.monitor import (
    data_quality,
    decide,
    drift,
    evidently_report,
    page,
    record,
    window,
)
from mlgitops.monitor.decide import Decision
from mlgitops.monitor.evidence import Drift, Evidence, Fall, GatedMetric
from mlgitops.monitor.evidently_report import EvidentlyError
from mlgitops.monitor.inspect import Window, inspect
from mlgitops.monitor.labels import read_labels
from mlgitops.monitor.window import Log, read_log
from mlgitops.monitor.wording import plural
from mlgitops.pipeline.contract import ContractError
from mlgitops.prediction_log import Entry
from mlgitops.production_data import ProductionDataError

CONTRACT = rows.small()


def judge(log: Log, labels: str | None = None) -> tuple[Decision, Window]:
    """Look at a log and decide."""
    found = inspect(traffic.reference(), log, labels, PARAMS)
    return decide.decide(found.evidence, MONITOR), found


# Reading


def test_f19_corrupt_half_written_and_repeated_lines_are_counted(
    tmp_path: Path,
) -> None:
    good = traffic.lines(traffic.flights(200))
    odd = ["{", good[0][:40], "[]", "null", '{"id": 1}', good[1], good[1]]
    odd.append(good[2].replace('"probability": 0', '"probability": 7'))
    (tmp_path / "predictions-1.jsonl").write_text("\n".join([*good, "", *odd]))
    log = read_log(str(tmp_path), MONITOR)
    assert len(log.entries) == 200
    assert log.counts == {"lines": 208, "corrupt": 6, "duplicate": 2}


def test_rows_that_no_event_has_a_time_for_belong_to_no_window(
    tmp_path: Path,
) -> None:
    """A deployment sends golden rows without a time: they open no window of today."""
    good = traffic.lines(traffic.flights(200))
    golden = json.dumps(json.loads(good[0]) | {"id": "golden-0", "time": None})
    (tmp_path / "predictions-1.jsonl").write_text("\n".join([*good, golden]))
    log = read_log(str(tmp_path), MONITOR, days=28)
    assert log.counts == {"lines": 201, "without a time": 1}
    assert "golden-0" not in {entry.id for entry in log.entries}


def test_f19_a_log_that_is_mostly_rubbish_is_not_believed(tmp_path: Path) -> None:
    good = traffic.lines(traffic.flights(90))
    (tmp_path / "predictions-1.jsonl").write_text("\n".join([*good, *["{"] * 10]))
    with pytest.raises(
        ProductionDataError, match=r"10 of 100 lines .* corrupt \(10.0%"
    ):
        read_log(str(tmp_path), MONITOR)
    (tmp_path / "predictions-1.jsonl").write_text("\n".join(good * 3))
    with pytest.raises(ProductionDataError, match=r"180 of 270 lines .* duplicate"):
        read_log(str(tmp_path), MONITOR)


def test_windows_follow_the_events_and_the_version_not_the_clock(
    tmp_path: Path,
) -> None:
    traffic.write(tmp_path, traffic.flights(300, 40, 10))
    traffic.write(tmp_path, traffic.flights(300, 0, 10, seed=1))  # arrives later
    traffic.write(tmp_path, traffic.flights(50, 90, 1, seed=2), sha="b" * 64)
    log = read_log(str(tmp_path), MONITOR)
    assert len(log.entries) == 650
    found = inspect(traffic.reference(), log, None, PARAMS)
    assert found.evidence.rows == 300 and found.until is not None
    assert found.until.startswith("2020-02-19")


def test_old_rows_are_let_go_while_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "PRUNE", 100)
    traffic.write(tmp_path, traffic.flights(1000, 0, 100))
    log = read_log(str(tmp_path), MONITOR, days=10)
    assert {entry.event_time.month for entry in log.entries} <= {3, 4}
    assert 50 < len(log.entries) < 150


def test_a_log_elsewhere_is_read_through_fsspec(tmp_path: Path) -> None:
    traffic.write(tmp_path / "log", traffic.flights(20))
    label = traffic.label(tmp_path / "labels.csv", traffic.flights(20))
    log = read_log(f"file://{tmp_path}/log", MONITOR)
    ids = {entry.id for entry in log.entries}
    assert len(ids) == 20
    assert len(read_labels(f"file://{label}", ids, CONTRACT, MONITOR).by_id) == 20
    with pytest.raises(ProductionDataError, match="nowhere://x cannot be read"):
        read_log("nowhere://x", MONITOR)


def test_f20_labels_join_by_id_and_contradictory_ones_are_dropped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "labels.csv"
    good = "".join(f"r{n},{n % 2}\n" for n in range(100))
    path.write_text(f"id,late\n{good}r1,0\nr2,0\nelse,1\nr3,maybe\n")
    wanted = {f"r{n}" for n in range(50)} | {"unlabelled"}
    found = read_labels(str(path), wanted, CONTRACT, MONITOR)
    labels, counts = found.by_id, found.counts
    assert len(labels) == 49 and "r1" not in labels and "else" not in labels
    assert labels["r2"] == 0 and labels["r3"] == 1
    assert counts["contradictory"] == 1 and counts["corrupt"] == 1
    table = window.frame(
        [Entry("r3", traffic.START, SHA, None, 0.5, None, "", {})] * 2,
        labels,
        CONTRACT,
    )
    assert table["late"].tolist() == [1, 1]


def test_f20_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    found = read_labels(str(path), {"a"}, CONTRACT, MONITOR)
    assert found.by_id == {} and found.counts["no file"] == 1
    path.write_text("flight,late\na,1\n")
    with pytest.raises(ProductionDataError, match=r'labels\.csv has no column "id"'):
        read_labels(str(path), {"a"}, CONTRACT, MONITOR)
    path.write_text("id,late\na,maybe\n")
    with pytest.raises(
        ProductionDataError, match="1 of 1 lines of the labels are corrupt"
    ):
        read_labels(str(path), {"a"}, CONTRACT, MONITOR)


def test_ids_that_left_the_window_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long log of short windows: memory is that of the window, ids and all."""
    table = traffic.flights(1500, 0, 300)
    table["flight_id"] = [f"{n}-{'x' * 2000}" for n in range(1500)]
    source = f"file://{traffic.write(tmp_path / 'log', table)}"

    def peak() -> int:
        tracemalloc.start()
        log = read_log(source, MONITOR, days=10)
        assert 25 < len(log.entries) < 75 and log.counts["lines"] == 1500
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    whole = peak()
    monkeypatch.setattr(window, "PRUNE", 50)
    assert peak() < whole / 5


# Data quality


def test_f16_an_empty_log_is_not_enough_data(tmp_path: Path) -> None:
    decision, found = judge(read_log(str(tmp_path), MONITOR))
    assert decision.decision == "not enough data" and found.until is None
    with pytest.raises(ProductionDataError, match="does not exist"):
        read_log(str(tmp_path / "nowhere"), MONITOR)


@pytest.mark.parametrize("count", [1, 5, 50, 999])
def test_f17_few_rows_get_no_verdict_and_no_check(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "compare", None)  # calling it would raise
    decision, _ = judge(traffic.answered(tmp_path, traffic.flights(count, 80)))
    assert decision.decision == "not enough data"
    assert f" {plural(count, 'row')};" in decision.sentence


def test_nothing_to_compare_with_is_no_verdict(tmp_path: Path) -> None:
    known = traffic.reference()
    few = replace(known, holdout=known.holdout.head(999))
    log = traffic.answered(tmp_path, traffic.flights(2000, 80))
    found = inspect(few, log, None, PARAMS)
    decision = decide.decide(found.evidence, MONITOR)
    assert decision.decision == "no verdict" and "999" in decision.sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.assign(temp=float("nan")), 'column "temp" has no values any more'),
        (lambda t: t.drop(columns="temp"), 'column "temp" has no values any more'),
        (
            lambda t: t.assign(distance=t["distance"].astype(str)),
            'column "distance": 1,200 of 1,200 rows are not numbers',
        ),
        (
            lambda t: t.assign(distance=t["distance"] * 1000),
            'column "distance": 1,200 of 1,200 rows are outside 0 to 6000',
        ),
        (
            lambda t: t.assign(carrier=t["carrier"].where(t.index % 4 > 0, None)),
            'column "carrier": 300 of 1,200 rows are missing',
        ),
    ],
    ids=["all empty", "gone", "text in numbers", "another unit", "missing"],
)
def test_f16_a_broken_feed_stops(
    change: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "compare", None)
    table = change(traffic.flights(1200, 80))
    decision, _ = judge(traffic.answered(tmp_path, table))
    assert decision.decision == "stop" and sentence in decision.sentence


def test_a_few_broken_rows_are_set_aside_and_new_categories_counted() -> None:
    table = traffic.flights(1000).astype({"distance": object, "temp": object})
    table.loc[:9, "distance"] = "far"
    table.loc[5:14, "temp"] = float("inf")
    table.loc[20:29, "carrier"] = "ZZ"
    found = data_quality.quarantine(table, CONTRACT)
    assert found.broken == 15 and len(found.valid) == 985
    assert found.unknown["carrier"] == (10, 1, ("ZZ",))
    found = data_quality.quarantine(table, CONTRACT, min_group=11)
    assert found.unknown["carrier"] == (10, 1, ())  # it may be a person's
    assert found.valid["distance"].dtype == "float32"
    assert int(data_quality.known_categories(found.valid, CONTRACT).sum()) == 975


# Evidently

KNOWN = [
    Drift("distance", "wasserstein", 0.1, 0.25),
    Drift("carrier", "jensenshannon", 0.1, 0.25),
]


def answer(**changes: Any) -> dict[str, Any]:
    """Return what Evidently says, with one metric changed."""
    metrics = [
        {
            "config": {
                "type": evidently_report.KIND,
                "column": d.column,
                "method": d.method,
            },
            "value": 0.1,
        }
        for d in KNOWN
    ]
    config: Any = metrics[1]["config"]
    metrics[1] |= {k: v for k, v in changes.items() if k == "value"}
    config.update({k: v for k, v in changes.items() if k != "value"})
    return {"metrics": metrics}


def test_evidently_json_is_read() -> None:
    drifts = evidently_report.parse(answer(value=0.3), KNOWN)
    assert drifts[0] == Drift("distance", "wasserstein", 0.1, 0.25)
    assert [drift.detected for drift in drifts] == [False, True]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metrics": []},
        {"metrics": [{"metric": "DatasetDriftMetric", "result": {"drift": True}}]},
        answer(type="evidently:metric_v3:ValueDrift"),
        answer(column="other"),
        answer(method="ks"),
        answer(value=None),
        answer(value={"value": 0.1}),
        answer(value=float("nan")),
        answer(value=-1.0),
        answer(value=True),
    ],
)
def test_an_answer_that_is_not_recognised_is_an_error(document: Any) -> None:
    with pytest.raises(EvidentlyError):
        evidently_report.parse(document, KNOWN)


def test_numbers_that_are_not_ours_are_an_error() -> None:
    with pytest.raises(EvidentlyError, match="0.3 for carrier.* 0.1"):
        evidently_report.agree(evidently_report.parse(answer(value=0.3), KNOWN), KNOWN)


@pytest.mark.slow
def test_evidently_itself_says_the_same_numbers_and_makes_the_page() -> None:
    moved = traffic.flights(2000, 60, 14, warmer=10, lost=0.1)
    found = drift.compare(moved, moved["late"], traffic.reference(), MONITOR)
    assert found.tables is not None and found.prediction is not None
    shown = [*found.columns, found.prediction]
    html = evidently_report.report(*found.tables, shown)  # raises when a number differs
    assert html.count("<body>") == 1 and "</head>" in html
    by_name = {d.column: d for d in shown}
    assert by_name["temp"].distance == pytest.approx(1.0, abs=0.1)
    assert by_name["temp"].detected and not by_name["carrier"].detected
    with pytest.raises(EvidentlyError, match="differs"):
        evidently_report.report(
            *found.tables, [shown[0]._replace(distance=0.5), *shown[1:]]
        )


# Deciding


def test_f18_windows_without_drift_stay_silent(tmp_path: Path) -> None:
    reference, said = traffic.reference(), []
    for seed in range(10):
        known = reference.holdout.sample(1000, replace=True, random_state=seed)
        known = known.assign(flight_id=[f"{seed}-{n}" for n in range(1000)])
        labels = traffic.label(tmp_path / f"{seed}.csv", known)
        log = traffic.answered(tmp_path / str(seed), known)
        found = inspect(reference, log, labels, PARAMS)
        assert found.evidence.fall is not None
        said.append(decide.decide(found.evidence, MONITOR).decision)
    assert said == ["none"] * 10


def test_f20_drift_without_labels_is_watched_not_retrained(tmp_path: Path) -> None:
    table = traffic.flights(2000, 80, 28, warmer=20)
    decision, found = judge(traffic.answered(tmp_path, table))
    assert decision.decision == "watch" and "labels are pending" in decision.sentence
    assert found.evidence.drifted[0].column == "temp"
    assert found.evidence.prediction is not None and found.evidence.prediction.detected
    few = traffic.label(tmp_path / "labels.csv", table.head(499))
    decision, found = judge(read_log(str(tmp_path), MONITOR), few)
    assert decision.decision == "watch" and found.evidence.labels == 499


def test_values_that_go_missing_are_drift(tmp_path: Path) -> None:
    table = traffic.flights(2000, 80, 28, lost=0.5)
    decision, found = judge(traffic.answered(tmp_path, table))
    assert (
        decision.decision == "watch" and "missing values of temp" in decision.sentence
    )
    (missing,) = [d for d in found.evidence.missing if d.column == "temp"]
    assert missing.distance == pytest.approx(0.45, abs=0.03)


def test_a_fall_that_newer_rows_would_cure_asks_for_retraining(tmp_path: Path) -> None:
    table = traffic.flights(4000, 80, 28, inverted=1)
    labels = traffic.label(tmp_path / "labels.csv", table)
    decision, found = judge(traffic.answered(tmp_path / "log", table), labels)
    fall, gain = found.evidence.fall, found.evidence.gain
    assert decision.decision == "retrain", decision
    assert fall is not None and fall.high < -0.02 and fall.window < fall.holdout
    assert gain is not None and gain.low > 0.005
    assert "performance fell" in decision.sentence


def test_drift_that_the_model_takes_well_is_only_watched(tmp_path: Path) -> None:
    table = traffic.flights(4000, 80, 28, warmer=8)
    labels = traffic.label(tmp_path / "labels.csv", table)
    decision, found = judge(traffic.answered(tmp_path / "log", table), labels)
    assert decision.decision == "watch", decision
    assert found.evidence.gain is not None and found.evidence.gain.low < 0.005


MOVED = [Drift("temp", "wasserstein", 1.0, 0.25)]
PASSED = [Drift("temp", "wasserstein", 0.1, 0.25)]
FELL = Fall(0.6, 0.7, -0.1, -0.15, -0.05, 0.99, 0.2, 0.3)
HELD = Fall(0.7, 0.7, 0.0, -0.05, 0.05, 0.99, 0.2, 0.2)
BETTER = Difference(0.6, 0.65, 0.05, 0.02, 0.08, 0.99)
UNSURE = Difference(0.6, 0.61, 0.01, -0.01, 0.03, 0.99)
WORSE = Difference(0.6, 0.55, -0.05, -0.08, -0.02, 0.99)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"rows": 0}, "not enough data"),
        ({"rows": 0, "broken": "x"}, "stop"),
        ({}, "none"),
        ({"fall": HELD}, "none"),
        ({"columns": MOVED, "used": ["temp"]}, "watch"),
        ({"columns": MOVED, "used": ["distance"]}, "none"),
        ({"columns": MOVED, "used": ["temp"], "fall": HELD}, "watch"),
        ({"columns": MOVED, "used": ["temp"], "fall": HELD, "gain": UNSURE}, "watch"),
        ({"columns": MOVED, "used": ["temp"], "fall": HELD, "gain": BETTER}, "retrain"),
        ({"prediction": MOVED[0], "fall": HELD, "gain": BETTER}, "retrain"),
        ({"data_set": MOVED[0], "fall": HELD, "gain": BETTER}, "retrain"),
        ({"data_set": PASSED[0], "target": PASSED[0], "fall": HELD}, "none"),
        ({"target": MOVED[0], "fall": HELD, "gain": UNSURE}, "watch"),
        ({"columns": MOVED, "used": ["temp"], "confirmed": False}, "watch"),
        ({"fall": FELL}, "retrain"),
        ({"fall": FELL, "gain": UNSURE}, "retrain"),
        ({"fall": FELL, "gain": WORSE}, "watch"),
        ({"broken": "x", "fall": FELL, "gain": BETTER}, "stop"),
    ],
)
def test_decisions(found: dict[str, Any], expected: str) -> None:
    evidence = Evidence(**{"rows": 2000, "metric": traffic.METRIC, **found})
    decision = decide.decide(evidence, MONITOR)
    assert decision.decision == expected
    assert decision.sentence.endswith(".") and "\n" not in decision.sentence


@pytest.mark.parametrize(
    ("served", "fall", "expected"),
    [(13.9, HELD, "watch"), (14.1, HELD, "retrain"), (1.0, FELL, "retrain")],
)
def test_drift_alone_waits_until_the_version_has_served_for_a_while(
    served: float, fall: Fall, expected: str
) -> None:
    """The cool-down; a sure fall does not wait for it."""
    evidence = Evidence(2000, traffic.METRIC, columns=MOVED, used=["temp"])
    evidence.fall, evidence.gain = fall, BETTER
    evidence.served_days = served
    decision = decide.decide(evidence, traffic.limits(cooldown_days=14))
    assert decision.decision == expected
    waits = f"served for {served} days" in decision.sentence
    assert waits == (expected == "watch")


def test_days_that_a_version_has_served_are_those_of_its_log(tmp_path: Path) -> None:
    log = traffic.answered(tmp_path, traffic.flights(2000, 80, 40))
    found = inspect(traffic.reference(), log, None, PARAMS)
    assert found.evidence.served_days == pytest.approx(40, abs=0.5)
    assert found.evidence.rows == pytest.approx(1400, abs=100), "28 of these days"


def test_late_labels_are_told_and_the_estimate_is_scored(tmp_path: Path) -> None:
    """Before they come, and after: what was promised stands beside what came."""
    table = traffic.flights(4000, 80, 28)
    log = traffic.answered(tmp_path / "log", table)
    found = inspect(traffic.reference(), log, None, PARAMS)
    promise = found.evidence.estimate
    assert promise is not None and promise.observed is None
    told = {c["name"]: c for c in record.checks(found.evidence, MONITOR)}
    assert told["performance"]["passed"] is None
    assert told["performance"]["value"] == "pending: 0 labels of 500"
    assert (
        told["estimated performance"]["note"]
        == "estimated from the probabilities, without labels"
    )

    border = table["scheduled_departure"].max() - pd.Timedelta(days=9)
    come = table[table["scheduled_departure"] <= border]
    labels = traffic.label(tmp_path / "labels.csv", come)
    for turned in (False, True):
        if turned:  # the inputs stay, their meaning does not: it promises too much
            Path(labels).unlink()
            traffic.label(Path(labels), come.assign(late=1 - come["late"]))
        found = inspect(traffic.reference(), log, labels, PARAMS)
        scored = found.evidence.estimate
        assert scored is not None and scored.labelled and scored.observed
        assert (abs(scored.labelled - scored.observed) > 0.1) == turned
        told = {c["name"]: c for c in record.checks(found.evidence, MONITOR)}
        assert (
            f"labels show {scored.observed:.3f}"
            in told["estimated performance"]["note"]
        )
        assert "label is 9 days older" in told["performance"]["note"]
        assert told["calibration"]["passed"] == (not turned)
        measured = record.measured(found.evidence)
        assert measured["observed_labelled"] == round(scored.observed, 6)
        assert measured["label_delay_days"] == pytest.approx(9, abs=0.1)


def test_calibration_for_the_estimate_names_the_limit_of_the_gate() -> None:
    """Two limits of one number: which of them is the model's is said beside it."""
    gated = GatedMetric(
        "calibration_error", "Calibration error", "lower", "", 0.18, 400, 0.1, 0.1, 0, 0
    )
    for gates, note in (([gated], "calibration_error allows 0.18"), ([], "")):
        evidence = Evidence(
            2000, traffic.METRIC, columns=MOVED, calibration=0.1, gated=gates
        )
        told = {c["name"]: c for c in record.checks(evidence, MONITOR)}
        check = told["calibration"]
        assert not check["passed"] and "estimate" in check["limit"]
        assert note in check["note"] and bool(check["note"]) == bool(note)


def test_groups_that_labels_bring_along_are_told_from_the_smallest_size_on(
    tmp_path: Path,
) -> None:
    """The log never holds them; a group below `min_group` is in no record."""
    known = replace(traffic.reference(), sensitive=("sex",))
    known = replace(known, manifest={**known.manifest, "threshold": 0.5})
    table = traffic.flights(2000, 80, 28)
    sexes = ["x"] * 29 + ["f"] * 30 + ["m"] * 1941
    rows_ = zip(table["flight_id"], table["late"], sexes, strict=True)
    lines = "".join(f"{key},{late},{sex}\n" for key, late, sex in rows_)
    (tmp_path / "labels.csv").write_text(f"id,late,sex\n{lines}")
    log = traffic.answered(tmp_path / "log", table)
    found = inspect(known, log, str(tmp_path / "labels.csv"), PARAMS)
    told = [c["name"] for c in record.checks(found.evidence, MONITOR)]
    assert [name for name in told if "group" in name] == ["group sex f", "group sex m"]


# Saying


def saying(sentence: str = "Watch: <b>temp</b> | @all.") -> record.Record:
    """Return a record with something to escape in it."""
    evidence = Evidence(2000, traffic.METRIC, columns=MOVED, used=["temp"])
    evidence.fall, evidence.gain = FELL, BETTER
    seen = Window(evidence, "2020-01-01T00:00:00", "2020-01-28T00:00:00")
    return record.build("v1.0.0", SHA, seen, Decision("retrain", sentence), MONITOR)


def test_page_and_summary_are_inert() -> None:
    text = page.markdown(saying())
    assert "<b>" not in text and "@all" not in text
    assert sum(line.count("|") == 6 for line in text.splitlines()) >= 6
    assert "1.0% of runs without drift" in text and "0.52 expected a year" in text
    html = page.page(saying(), "<html><head></head><body><p>evidently</body></html>")
    assert html.index("Monitoring: retrain</h1>") < html.index("<p>evidently")
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert page.page(saying(), "").startswith("<!DOCTYPE html>")


def test_a_terminal_shows_text_and_a_job_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No HTML entity where nothing renders it; inert where something does."""
    markdown = page.markdown(saying())
    assert "&#" in markdown
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    command.summarise(markdown)
    printed = capsys.readouterr().out
    assert "&#" not in printed and "difference -0.100 [-0.150, -0.050]" in printed
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    command.summarise(markdown)
    assert (tmp_path / "summary").read_text() == markdown + "\n"


def test_numbers_agree_with_their_nouns() -> None:
    counts = {"log": Counter(lines=1, corrupt=1), "labels": Counter({"no file": 1})}
    seen = Window(Evidence(1, traffic.METRIC), "2020-01-01", "2020-01-01", counts)
    decision = decide.decide(seen.evidence, MONITOR)
    text = page.markdown(record.build("v1", SHA, seen, decision, MONITOR))
    assert "1 row from" in text and "labels: no file yet" in text
    assert "log: 1 line, 1 corrupt" in text and "1 rows" not in text


@pytest.mark.parametrize(
    ("evidence", "nouns"),
    [
        ({"fall": Fall(0.6, 0.7, -0.1, -0.2, 0.1, 0.99, 0.2, 0.2)}, "day-to-day"),
        ({"fall": FELL, "gain": BETTER}, "gain +0.050 ROC AUC [+0.020, +0.080]"),
        ({"columns": MOVED, "used": ["temp"], "gain": UNSURE}, "gain only +0.010"),
        ({"columns": MOVED, "used": ["temp"], "gain": WORSE}, "lose 0.050"),
        (
            {"columns": MOVED, "used": ["temp"], "fall": FELL, "target": MOVED[0]},
            "0.600, temp drifted and the labels drifted",
        ),
    ],
)
def test_sentences_name_the_number_that_decided(
    evidence: dict[str, Any], nouns: str
) -> None:
    assert (
        nouns
        in decide.decide(Evidence(2000, traffic.METRIC, **evidence), MONITOR).sentence
    )


def test_record_is_the_same_but_for_when_it_was_made() -> None:
    first = saying()
    assert record.equal({**first, "seq": 1, "time": "a", "run_url": "b"}, first)
    assert not record.equal({**first, "decision": "none"}, first)
    assert not record.equal(None, first)
    assert first["expectation"]["difference"] == 0.05
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("monitor", "min_rows"), 0),
        (("monitor", "max_fall"), "much"),
        (("monitor", "confidence"), None),
        (("monitor", "number"), {"method": "ks", "threshold": 1}),
        (("monitor", "prediction"), 0),
        (("monitor", "false_alarm_rate"), 1),
        (("monitor", "columns"), {"temp": "far"}),
        (("monitor",), None),
        (("retrain", "keep_days"), True),
        (("retrain",), []),
    ],
)
def test_settings_that_make_no_sense_are_named(path: Any, value: Any) -> None:
    params = json.loads(json.dumps(PARAMS))
    section = params
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    with pytest.raises(ContractError, match=path[-1]):
        settings.monitor(params)
        settings.retrain(params)


def test_the_shipped_settings_make_sense() -> None:
    params = yaml.safe_load((rows.ROOT / "params.yaml").read_text())
    assert settings.monitor(params).window_days % 7 == 0
    days = params["prepare"]["train_days"] + params["prepare"]["holdout_days"]
    assert settings.retrain(params).keep_days >= days


# The command


def test_not_configured_is_green(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PREDICTION_LOG", raising=False)
    monkeypatch.setattr(sys, "argv", ["monitor"])
    command.main()
    assert "not configured: set PREDICTION_LOG" in capsys.readouterr().out
