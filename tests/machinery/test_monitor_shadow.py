"""What the monitor says of a challenger that predicted the champion's requests."""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from machinery import traffic
from machinery.traffic import MONITOR, PARAMS, SHA
from mlgitops.metrics import PAIRED
from mlgitops.monitor import decide, inspect, page, record, shadow
from mlgitops.monitor.window import read_log
from mlgitops.prediction_log import PATTERN, file_name

OTHER = "b" * 64  # the challenger's manifest
TABLE = traffic.flights(3000, 80, 28)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    traffic.write(folder, TABLE)
    return folder


def predicted(by: Any = lambda table: table["probability"]) -> pd.DataFrame:
    """Return the same rows with other predictions."""
    return TABLE.assign(probability=by(TABLE))


def judge(source: Path | str, labels: str | None = None) -> record.Record:
    """Look at a log and return its record, as the ledger would have it."""
    read = read_log(str(source), MONITOR, days=120)
    found = inspect.inspect(traffic.reference(), read, labels, PARAMS)
    decision = decide.decide(found.evidence, MONITOR)
    made = record.build("v1", SHA, found, decision, MONITOR)
    return dict(json.loads(json.dumps(made)))


def test_without_a_shadow_nothing_is_said(log: Path) -> None:
    made = judge(log)
    assert "shadow" not in made and "Shadow" not in page.page(made, "")


def test_the_same_model_changes_nothing(log: Path) -> None:
    """The negative control, and the champion's own record is what it was."""
    before = judge(log)
    traffic.write(log / shadow.FOLDER, predicted(), OTHER)
    made = judge(log)
    (found,) = made.pop("shadow")
    assert made == before
    assert (found["rows"], found["pairs"], found["changed"]) == (3000, 3000, 0)
    assert found["moved"] == found["distance"] == 0 and found["slices"] == []
    assert found["unmeasured"] == "0 labels of 500"
    assert ("ROC AUC", "not known", "0 labels of 500") in shadow.rows(found)


def test_a_worse_challenger_is_seen_where_it_is_worse(
    log: Path, tmp_path: Path
) -> None:
    """Inverted for one carrier: decisions, slices and the paired interval show it."""

    def inverted(table: pd.DataFrame) -> pd.Series:
        p = table["probability"]
        return p.where(table["carrier"] != "UA", 1 - p)

    traffic.write(log / shadow.FOLDER, predicted(inverted)[:2000], OTHER)
    labels = traffic.label(tmp_path / "labels.csv", TABLE)
    made = judge(log, labels)
    (found,) = made["shadow"]
    assert (found["rows"], found["pairs"], found["labels"]) == (3000, 2000, 2000)
    rows = TABLE[:2000]
    p, q = rows["probability"], inverted(rows)
    assert found["changed"] == int(((p >= 0.5) != (q >= 0.5)).sum())
    (worst,) = found["slices"]
    assert (worst["column"], worst["value"]) == ("carrier", "UA")
    assert worst["changed"] == found["changed"]
    pair = PAIRED["binary"](rows["late"], p, q, MONITOR.confidence)
    assert found["difference"]["difference"] == pytest.approx(pair.difference, abs=1e-5)
    assert found["difference"]["high"] < 0
    text, document = page.markdown(made), page.page(made, "")
    for word in ("Shadow: v1.0.0 (bbbbbbbbbbbb)", "2,000 of 3,000 rows (66.7%)"):
        assert word in html.unescape(text) and word in document
    assert "changed where carrier is UA" in document


def test_the_server_and_the_monitor_mean_the_same_folder() -> None:
    from mlgitops.serving.shadow import FOLDER

    assert FOLDER == shadow.FOLDER


def test_what_it_predicts_later_is_among_the_rows(log: Path) -> None:
    """The champion's line is older than the challenger's of the same row."""
    lines = traffic.lines(predicted()[:100], OTHER)
    file = log / shadow.FOLDER / file_name("2031-01-01")
    file.parent.mkdir()
    later = [
        line.replace("2031-01-01T00:00:00", "2031-01-01T00:00:01") for line in lines
    ]
    assert later != lines
    file.write_text("".join(f"{line}\n" for line in later))
    (found,) = judge(log)["shadow"]
    assert (found["pairs"], found["rows"]) == (100, 100)


def test_few_rows_say_nothing(log: Path) -> None:
    traffic.write(log / shadow.FOLDER, predicted()[:20], OTHER)
    (found,) = judge(log)["shadow"]
    assert found["pairs"] == 20 and found["changed"] is None
    assert found["few"] == "20 rows of both, at least 30 needed"
    assert "compared" in page.page({**judge(log)}, "")


def test_what_is_no_line_is_no_pair_and_touches_nothing(log: Path) -> None:
    before = judge(log)
    folder = log / shadow.FOLDER
    folder.mkdir()
    path = folder / file_name("2020-01-01")
    path.write_bytes(b'{"id": \n\xff\xfe\n[1]\nnull\n{"id": "0-80-1"}\n')
    assert judge(log) == before
    traffic.write(folder, predicted().assign(flight_id="of nobody"), OTHER)
    assert judge(log) == before


def test_a_log_that_cannot_be_read_is_said(log: Path) -> None:
    folder = log / shadow.FOLDER
    folder.mkdir()
    (folder / f"{file_name('2020-01-01')}.gz").write_bytes(b"\x1f\x8b no gzip")
    made = judge(log)
    assert made["decision"] == "none" and "shadow" not in made
    assert any("how a shadow predicts" in caveat for caveat in made["caveats"])


def test_probabilities_are_put_in_the_contracts_order(tmp_path: Path) -> None:
    """A challenger may list its classes otherwise; other classes are no pair."""
    folder = tmp_path / shadow.FOLDER
    folder.mkdir()
    line = {
        "id": "a",
        "time": None,
        "manifest_sha256": OTHER,
        "logged_at": "2031",
        "class": "y",
        "row": {},
    }
    lines = [
        line | {"probabilities": {"y": 0.7, "x": 0.3}},
        line | {"id": "b", "probabilities": {"y": 0.7, "z": 0.3}},
    ]
    text = "".join(f"{json.dumps(entry)}\n" for entry in lines)
    (folder / PATTERN.replace("*", "2031-01-01")).write_text(text)
    (found,) = shadow.read_answers(str(tmp_path), {"a", "b"}, ("x", "y"))
    assert {key: e.prediction for key, e in found.by_id.items()} == {"a": [0.3, 0.7]}
    assert not shadow.read_answers(str(tmp_path), {"a", "b"})


def test_numbers_have_distances_and_no_decisions() -> None:
    comparison = shadow.Comparison(OTHER, None, 100, 100, metric="R2")
    p = np.arange(100.0)
    shadow._add_distance(comparison, p, p + 5)
    assert comparison.moved == 5
    assert comparison.distance == pytest.approx(5 / p.std())
    names = [name for name, _, _ in shadow.rows(comparison.record())]
    assert "changed decisions" not in names and names[-1] == "R2"
