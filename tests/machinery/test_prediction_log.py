"""The prediction log: written by the server, read by everybody in one way."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from machinery.test_house import modules, own
from mlgitops import prediction_log

TIME = datetime(2026, 1, 2, tzinfo=UTC)
FACTS = ("a" * 64, "v1.0.0", "2026-01-03T00:00:00+00:00", {"temp": 1.5})


@pytest.mark.parametrize(
    ("prediction", "expected", "decision"),
    [
        ({"probability": 0.4, "decision": False}, 0.4, False),
        ({"probabilities": {"x": 0.1, "y": 0.9}, "class": "y"}, [0.1, 0.9], "y"),
        ({"value": -3.5}, -3.5, None),
    ],
)
def test_what_is_written_is_what_is_read(
    prediction: dict[str, Any], expected: Any, decision: Any
) -> None:
    fields = prediction_log.line({"id": 7, **prediction}, TIME, *FACTS)
    entry = prediction_log.parse(json.dumps(fields))
    assert entry == prediction_log.Entry(
        "7", TIME, FACTS[0], FACTS[1], expected, decision, FACTS[2], FACTS[3]
    )
    assert entry.event_time == TIME


@pytest.mark.parametrize(
    "change",
    [
        {"id": None, "time": "yesterday"},
        {"probability": 1.5},
        {"probability": None},
        {"row": None},
        {"probabilities": [0.5, "much"]},
        {"value": float("inf")},
    ],
)
def test_a_line_that_is_not_one_is_nothing(change: dict[str, Any]) -> None:
    prediction = {"id": "a", "probability": 0.5, "decision": True}
    fields = prediction_log.line(prediction, TIME, *FACTS)
    assert prediction_log.parse(json.dumps(fields)) is not None
    assert prediction_log.parse(json.dumps(fields | change)) is None
    assert prediction_log.parse(json.dumps(fields)[:-9]) is None


def test_an_entry_without_a_time_belongs_to_no_moment() -> None:
    prediction = {"id": "golden", "value": 1.0}
    fields = prediction_log.line(prediction, None, *FACTS)
    entry = prediction_log.parse(json.dumps(fields))
    assert entry is not None and entry.time is None
    with pytest.raises(ValueError, match="golden"):
        assert entry.event_time


def test_nobody_else_names_the_files_of_the_log() -> None:
    """One definition: who writes or reads the log, imports it."""
    named = [
        path for path in modules("mlgitops") if '"predictions-' in path.read_text()
    ]
    assert named == [Path("mlgitops/prediction_log.py")]


def test_collecting_evidence_does_not_import_deciding_on_it() -> None:
    """From request to verdict in one direction: log, window, evidence, decision."""

    def reached(name: str) -> set[str]:
        waiting, seen = {name}, set[str]()
        while waiting:
            seen.add(module := waiting.pop())
            path = Path(f"{module.replace('.', '/')}.py")
            parts = own(path) if path.is_file() else set()
            waiting |= {n for n in parts if n.startswith(monitor)} - seen
        return seen

    monitor = "mlgitops.monitor."
    assert f"{monitor}decide" not in reached(f"{monitor}inspect")
    parts = {"decide", "evidence", "primary_metric", "reference", "sample", "wording"}
    assert reached(f"{monitor}decide") == {monitor + part for part in parts}
