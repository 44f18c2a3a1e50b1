"""Production's newest requests are asked again; a log that is away blocks nothing."""

import json
from pathlib import Path

import pytest

from machinery.judged import CONTRACT
from machinery.test_validate import Bench, linear
from mlgitops.judge import behaviour, requests
from mlgitops.judgement import Affected
from mlgitops.pipeline.contract import Contract

TERMS = Contract.parse(CONTRACT)


def log(folder: Path, day: str, prices: list[float], **more: object) -> None:
    """Write a day of the prediction log."""
    folder.mkdir(exist_ok=True)
    lines = [
        {
            "id": f"{day}-{n}",
            "time": f"{day}T00:00:00+00:00",
            "manifest_sha256": "a" * 64,
            "probability": 0.5,
            "row": row,
        }
        for n, price in enumerate(prices)
        if (row := {"shop": "a", "price": price, "age": None, **more})
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"predictions-{day}.jsonl").write_text(text + "torn {\n")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench with a champion, and a log beside it."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path / "log"))
    found = Bench(tmp_path)
    found.put("champion", linear({"price": 1.0}))
    return found


def test_decisions_that_would_flip_are_counted_by_way_and_group(bench: Bench) -> None:
    log(bench.folder / "log", "2025-02-01", [-3.0] * 40)
    log(bench.folder / "log", "2025-02-02", [0.5] * 60)
    assert requests.bring(bench.folder, TERMS) == ""
    bench.put("challenger", linear({"price": 1.0}, bias=0.0))
    found = bench.judged()[0].replay
    assert (found.requests, found.moves.to_yes, found.moves.to_no) == (100, 60, 0)
    assert found.moves.yes == (0.0, 0.6)
    assert found.until.startswith("2025-02-02")
    assert found.groups == [Affected("shop", "a", 100, 60)]


def test_the_same_model_flips_nothing(bench: Bench) -> None:
    log(bench.folder / "log", "2025-02-01", [0.5, 1.5] * 20)
    requests.bring(bench.folder, TERMS)
    found = bench.judged()[0].replay
    assert (found.moves.to_yes, found.moves.to_no, found.groups) == (0, 0, [])


def test_only_the_newest_requests_are_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(bench.folder / "log", "2025-02-01", [1.0] * 10)
    log(bench.folder / "log", "2025-02-02", [2.0] * 10)
    monkeypatch.setattr(requests, "LIMIT", 15)
    requests.bring(bench.folder, TERMS)
    assert bench.judged()[0].replay.requests == 14, "a torn line too"


def test_a_log_that_is_away_is_said_and_blocks_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not exist" in requests.bring(bench.folder, TERMS)
    log(bench.folder / "log", "2025-02-01", [])
    assert "no requests yet" in requests.bring(bench.folder, TERMS)
    monkeypatch.delenv("PREDICTION_LOG")
    assert "PREDICTION_LOG" in requests.bring(bench.folder, TERMS)
    found, failed = bench.judged()
    assert failed == [] and found.replay is None


def test_what_strangers_sent_is_typed_and_a_column_too_few_is_said(
    bench: Bench,
) -> None:
    log(bench.folder / "log", "2025-02-01", [1.0] * 5, price="dear", shop=7)
    requests.bring(bench.folder, TERMS)
    assert bench.judged()[0].replay.requests == 5
    text = (bench.folder / "log" / "predictions-2025-02-01.jsonl").read_text()
    text = text.replace('"price"', '"cost"')
    (bench.folder / "log" / "predictions-2025-02-01.jsonl").write_text(text)
    requests.bring(bench.folder, TERMS)
    assert "does not hold price" in bench.judged()[0].replay.why


def test_without_a_champion_nothing_is_asked(bench: Bench) -> None:
    (bench.folder / "champion" / "manifest.json").unlink()
    log(bench.folder / "log", "2025-02-01", [1.0] * 5)
    requests.bring(bench.folder, TERMS)
    assert bench.judged()[0].replay is None
