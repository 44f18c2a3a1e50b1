"""Production's newest requests are asked again; a log that is away blocks nothing."""

import json
from pathlib import Path

import pytest

from machinery.judged import CONTRACT
from machinery.test_validate import Bench, linear
from mlgitops import prediction_log, report
from mlgitops.judge import behaviour, judge, online, replay, requests
from mlgitops.judgement import Affected
from mlgitops.pipeline.contract import Contract
from mlgitops.report.sections import decisions

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
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench with a champion, and a log beside it."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setattr(behaviour, "FILE", tmp_path / "none")
    monkeypatch.setenv("PREDICTION_LOG", str(tmp_path / "log"))
    found = Bench(tmp_path)
    found.put("champion", linear({"price": 1.0}))
    return found


@pytest.fixture
def bench(whole: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Give a bench on which nothing else is judged: a second instead of ten."""
    monkeypatch.setattr(judge, "PARTS", (replay,))
    monkeypatch.setattr(online, "ask", lambda evaluation: None)
    return whole


def test_decisions_that_would_flip_are_counted_by_way_and_group(whole: Bench) -> None:
    log(whole.folder / "log", "2025-02-01", [-3.0] * 40)
    log(whole.folder / "log", "2025-02-02", [0.5] * 60)
    assert requests.bring(whole.folder, TERMS) == ""
    whole.put("challenger", linear({"price": 1.0}, bias=0.0))
    found = whole.judged()[0].replay
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
    found = bench.judged()[0].replay
    assert (found.requests, found.unreadable) == (13, 2), "a torn line of each day"


def test_lines_that_cannot_be_read_are_told(bench: Bench) -> None:
    """What the replay did not see it says; of a log without them it says nothing."""
    log(bench.folder / "log", "2025-02-01", [1.0] * 40)
    assert requests.bring(bench.folder, TERMS) == ""
    facts = report.Facts(state="ready", verdict="", judgement=bench.judged()[0])
    assert "1 more line of the log cannot be used." in decisions.replay(facts)
    file = bench.folder / "log" / "predictions-2025-02-01.jsonl"
    file.write_text(file.read_text().removesuffix("torn {\n"))
    assert requests.bring(bench.folder, TERMS) == ""
    facts = report.Facts(state="ready", verdict="", judgement=bench.judged()[0])
    assert "cannot be used" not in decisions.replay(facts)
    file.write_text("torn {\n" * 7)
    assert "none of 7 newest lines" in requests.bring(bench.folder, TERMS)


def golden(count: int) -> str:
    """Return the lines of a deployment's own golden rows: they have no time."""
    entry = {"time": None, "manifest_sha256": "a" * 64, "probability": 0.5}
    row = {"shop": "a", "price": 9.0, "age": None}
    ids = (prediction_log.GOLDEN.format(n) for n in range(count))
    return "".join(json.dumps({"id": i, **entry, "row": row}) + "\n" for i in ids)


def test_golden_rows_of_a_deployment_are_nobodys_requests(bench: Bench) -> None:
    """They are the newest lines of the log, as they go by the day of the deployment."""
    log(bench.folder / "log", "2025-02-01", [1.0] * 10)
    today = bench.folder / "log" / "predictions-2026-05-05.jsonl"
    today.write_text(golden(20))
    assert requests.bring(bench.folder, TERMS) == ""
    found = bench.judged()[0].replay
    assert found.requests == 10 and found.until.startswith("2025-02-01")
    (bench.folder / "log" / "predictions-2025-02-01.jsonl").unlink()
    assert "no requests yet" in requests.bring(bench.folder, TERMS)


def test_golden_rows_that_came_last_push_no_request_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest requests are of today, behind the golden rows of a deployment."""
    log(bench.folder / "log", "2025-02-01", [1.0] * 10)
    log(bench.folder / "log", "2025-02-02", [1.0] * 30)
    today = bench.folder / "log" / "predictions-2025-02-02.jsonl"
    today.write_text(today.read_text().removesuffix("torn {\n") + golden(20))
    monkeypatch.setattr(requests, "LIMIT", 15)
    assert requests.bring(bench.folder, TERMS) == ""
    found = bench.judged()[0].replay
    assert (found.requests, found.unreadable) == (15, 0)
    assert found.since.startswith("2025-02-02")


@pytest.mark.parametrize(
    "change",
    [{"id": "golden-1", "time": "2025-02-01T00:00:00+00:00"}, {"id": "golden-ticket"}],
)
def test_a_clients_request_is_replayed_whatever_it_calls_itself(
    bench: Bench, change: dict[str, str]
) -> None:
    """A row with a time is a request, and so is one without a time or that id."""
    (bench.folder / "log").mkdir()
    line = json.loads(golden(1)) | change
    file = bench.folder / "log" / "predictions-2025-02-01.jsonl"
    file.write_text(json.dumps(line) + "\n")
    assert requests.bring(bench.folder, TERMS) == ""
    assert bench.judged()[0].replay.requests == 1


def test_whoever_checks_a_server_asks_golden_rows_by_that_id() -> None:
    """The agent is a file of its own, so it spells the id itself."""
    agent = Path("mlgitops/host/agent.py")
    if agent.exists():
        assert f'f"{prediction_log.GOLDEN.format("{n}")}"' in agent.read_text()


def test_a_log_that_is_away_is_said_and_blocks_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not exist" in requests.bring(bench.folder, TERMS)
    log(bench.folder / "log", "2025-02-01", [])
    assert "none of 1 newest line" in requests.bring(bench.folder, TERMS)
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


def test_one_text_of_50_kb_does_not_end_every_replay(bench: Bench) -> None:
    """It made an array of a gigabyte, and each judgement failed: "File too large"."""
    log(bench.folder / "log", "2025-02-01", [1.0] * 4_000)
    log(bench.folder / "log", "2025-01-01", [1.0], shop="x" * 50_000)
    assert requests.bring(bench.folder, TERMS) == ""
    judgement, failed = bench.judged()
    assert failed == [] and judgement.replay.requests == 4_000


def test_without_a_champion_nothing_is_asked(bench: Bench) -> None:
    (bench.folder / "champion" / "manifest.json").unlink()
    log(bench.folder / "log", "2025-02-01", [1.0] * 5)
    requests.bring(bench.folder, TERMS)
    assert bench.judged()[0].replay is None
