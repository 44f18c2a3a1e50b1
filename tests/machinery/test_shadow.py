"""A challenger beside the champion: whatever it does, no response shows it."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from mlgitops.serving import shadow as module
from mlgitops.serving.__main__ import parse
from mlgitops.serving.app import App
from mlgitops.serving.challenger import Budget, Scorer
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.shadow import FOLDER, SIZE, Challenger, Counts, Shadow

STEEP = 0.002  # the challenger's slope


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("champion")
    tiny.version(folder)
    return folder


@pytest.fixture(scope="module")
def model(champion: Path) -> Model:
    return Model(champion)


@pytest.fixture(scope="module")
def steep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenger")
    tiny.version(folder, STEEP)
    return folder


def body(count: int = 1, start: int = 0, **changes: Any) -> bytes:
    """Return a request whose rows have ids."""
    rows = [tiny.ROW | {"id": f"r{start + n}"} | changes for n in range(count)]
    return json.dumps({"rows": rows}).encode()


def ask(app: App, data: bytes, then: Callable[[], None] = lambda: None) -> list[Any]:
    """Return what the application sends; `then` runs when the response is out."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            then()

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    asyncio.run(app(scope, receive, send))
    return sent


def until(done: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextmanager
def serving(model: Model, log: Path, folder: Path, **options: Any) -> Iterator[App]:
    """Return an application with a shadow, closed in the server's order."""
    app = App(model, version="v1.0.0")
    app.log = PredictionLog(log)
    app.shadow = Shadow(Challenger(folder, log, **options))
    try:
        yield app
    finally:
        app.log.close()
        app.shadow.close()


def balanced(state: dict[str, Any], offered: int) -> bool:
    """Return whether each offered row is counted once."""
    names = (*module.NAMES, "skipped", "queued")
    return sum(state[name] for name in names) == offered


class Recorder:
    """Stands for a shadow."""

    def __init__(self) -> None:
        self.offers: list[Any] = []

    def offer(self, ids: Any, data: bytes) -> None:
        self.offers.append((ids, data))

    def state(self) -> dict[str, Any]:
        return {}


def test_rows_are_handed_over_after_their_response(
    model: Model, tmp_path: Path
) -> None:
    app, recorder, before = App(model), Recorder(), list[int]()
    app.shadow = recorder  # type: ignore[assignment]
    ask(app, body())
    assert not recorder.offers  # without a log nothing is to be compared
    app.log = PredictionLog(tmp_path)
    ask(app, body(2), lambda: before.append(len(recorder.offers)))
    assert before == [0] and recorder.offers == [(("r0", "r1"), body(2))]
    ask(app, body(distance="far"))
    ask(app, b"{")
    assert len(recorder.offers) == 1  # what the champion refused
    app.log.close()


def test_the_challenger_answers_for_its_own_log(
    model: Model, steep: Path, tmp_path: Path
) -> None:
    """Responses are the same byte for byte; the lines pair by id; nothing is lost."""
    alone = App(model, version="v1.0.0")
    expected = [ask(alone, body(3, start)) for start in range(0, 30, 3)]
    unnamed = json.dumps({"rows": [tiny.ROW]}).encode()
    with serving(model, tmp_path, steep, version="v1.1.0") as app:
        assert app.shadow is not None
        assert [ask(app, body(3, start)) for start in range(0, 30, 3)] == expected
        ask(app, unnamed)
        ask(app, body(1, 90, seat="a"))
        until(lambda: app.shadow.state()["rows"] == 32)
        info = app.info()["shadow"]
        assert info["state"] == "ready" and info["version"] == "v1.1.0"
        assert info["cpu_seconds"] > 0 and balanced(info, 32)
    lines, own = tiny.logged(tmp_path / FOLDER), tiny.logged(tmp_path)
    assert [line["id"] for line in lines] == [line["id"] for line in own]
    assert {line["manifest_sha256"] for line in lines} == {Model(steep).manifest_sha256}
    assert {line["manifest_sha256"] for line in own} == {model.manifest_sha256}
    assert lines[0]["probability"] == pytest.approx(
        tiny.expected(tiny.ROW, STEEP), abs=1e-6
    )
    assert {*lines[0]} == {*own[0], "cpu_ms"}
    assert not any(line["row"] for line in lines)
    assert all(0 <= line["cpu_ms"] < 1000 for line in lines)


def alter(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(tiny.onnx_bytes(0.003))


def lie(folder: Path) -> None:
    tiny.version(folder, golden=[{"row": tiny.ROW, "probability": 0.9}])


def leave(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [(alter, "model.onnx"), (lie, "golden"), (leave, "manifest.json")],
)
def test_a_challenger_that_cannot_be_loaded_is_stated(
    break_it: Callable[[Path], None], reason: str, model: Model, tmp_path: Path
) -> None:
    tiny.version(tmp_path / "bad")
    break_it(tmp_path / "bad")
    with serving(model, tmp_path / "log", tmp_path / "bad") as app:
        assert app.shadow is not None
        until(lambda: app.shadow.state()["state"] == "failed")
        assert ask(app, body())[0]["status"] == 200
        state = app.shadow.state()
        assert reason in state["reason"] and state["skipped"] == 1
    assert len(tiny.logged(tmp_path / "log")) == 1


PROGRAM = """
import os, sys, time
from mlgitops.serving.shadow import Counts
counts = Counts(int(sys.argv[-1]))
counts.tell(manifest_sha256="a", state="ready", reason="")
{}
"""
READ = "sys.stdin.buffer.read(20)\n"


@pytest.mark.parametrize(
    ("program", "ended"),
    [
        (READ + "os.abort()", True),
        (READ + "os.kill(os.getpid(), 9)", True),
        ("import signal; signal.signal(15, signal.SIG_IGN); time.sleep(600)", False),
    ],
    ids=["crashes", "is killed", "hangs"],
)
def test_a_challenger_that_fails_touches_no_response(
    program: str,
    ended: bool,
    model: Model,
    steep: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        Challenger, "command", [sys.executable, "-c", PROGRAM.format(program)]
    )
    expected = ask(App(model, version="v1.0.0"), body(10))
    options = {"max_queue": 100_000, "drain": 0.3}
    with serving(model, tmp_path, steep, **options) as app:
        shadow = app.shadow
        assert shadow is not None
        until(lambda: shadow.state()["state"] == "ready")
        assert all(ask(app, body(10)) == expected for _ in range(300))
        if ended:
            until(lambda: shadow.state()["state"] == "ended")
        state = shadow.state()
        assert state["skipped"] > 0 and balanced(state, 3000)
        began = time.monotonic()
    # It would sleep for 600: the stop is bounded as well.
    assert time.monotonic() - began < 60
    assert shadow.state()["skipped"] == 3000 and shadow.state()["queued"] == 0
    assert len(tiny.logged(tmp_path)) == 3000


def test_at_the_stop_what_waits_is_predicted(
    model: Model, steep: Path, tmp_path: Path
) -> None:
    """Its pauses end, so that a small share of a core does not cost lines."""
    with serving(model, tmp_path, steep, share=0.001, drain=120) as app:
        shadow = app.shadow
        assert shadow is not None
        until(lambda: shadow.state()["state"] == "ready")
        for start in range(0, 3000, 300):
            ask(app, body(300, start))
        assert shadow.state()["queued"]
    assert shadow.state()["rows"] == len(tiny.logged(tmp_path / FOLDER)) == 3000


def test_a_server_runs_it(champion: Path, steep: Path, tmp_path: Path) -> None:
    """From the command line to the last line, stopped by SIGTERM."""
    options = ("--log", str(tmp_path), "--shadow", str(steep), "--shadow-share", "1")
    with tiny.server(champion, *options) as (port, process):

        def state() -> str:
            return str(tiny.call(port, "/info")[1]["shadow"]["state"])

        until(lambda: state() == "ready")
        assert tiny.call(port, "/predict", body(20))[0] == 200
        # It runs at the lowest priority, and the stop waits for it two seconds only.
        until(lambda: tiny.call(port, "/info")[1]["shadow"]["rows"] == 20)
        process.terminate()
        process.wait(120)
    ids = [line["id"] for line in tiny.logged(tmp_path)]
    assert ids == [line["id"] for line in tiny.logged(tmp_path / FOLDER)]
    assert len(ids) == 20


class Clock:
    """A time that passes by sleeping, and CPU that is used by working."""

    def __init__(self) -> None:
        self.now = self.used = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.used += seconds


def test_the_share_of_a_core_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(time, "process_time", lambda: clock.used)
    monkeypatch.setattr(time, "sleep", clock.sleep)
    budget = Budget(0.25)
    for _ in range(100):
        clock.work(0.1)
        budget.pause()
    assert clock.used / clock.now == pytest.approx(0.25, abs=0.005)
    clock.now += 3600  # an idle hour is not saved up
    used, now = clock.used, clock.now
    for _ in range(100):
        clock.work(0.1)
        budget.pause()
    share = (clock.used - used) / (clock.now - now)
    assert 0.25 <= share < 0.28
    budget.end()
    now = clock.now
    clock.work(1)
    budget.pause()
    assert clock.now == now + 1


@pytest.fixture
def counts() -> Iterator[Counts]:
    file = os.memfd_create("counts")
    os.ftruncate(file, SIZE)
    yield Counts(file)
    os.close(file)


class Broken:
    """A version that predicts, and then does not."""

    def __init__(self, model: Model, error: Exception) -> None:
        self.model, self.error = model, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def predictions(self, *_: object) -> Any:
        raise self.error


def test_each_fault_is_counted_as_what_it_is(
    model: Model, tmp_path: Path, counts: Counts
) -> None:
    scorer = Scorer(model, "v2", tmp_path / "log", counts)
    scorer.score(["a"], body())
    scorer.score(["a", "b"], body(2, distance=None))  # another contract, say
    assert counts.numbers[:4] == (1, 2, 0, 0)
    assert "lacks the column" in counts.status()["reason"]
    broken: Any = Broken(model, RuntimeError("of its own"))
    scorer.model = broken
    scorer.score(["a"], body())
    assert counts.numbers[:4] == (1, 2, 1, 0) and "its own" in counts.status()["reason"]
    (tmp_path / "file").touch()
    scorer.model, scorer.log = model, tmp_path / "file" / "log"
    scorer.score(["a"], body())
    assert counts.numbers[:4] == (1, 2, 1, 1)
    assert "not written" in counts.status()["reason"]


def test_a_version_that_returns_no_number_is_counted(
    model: Model, tmp_path: Path, counts: Counts
) -> None:
    """NaN from the model is no line, whatever the manifest promises."""
    golden = [{"row": tiny.ROW, "probability": 0.5}]
    tiny.version(tmp_path / "nan", float("nan"), golden=golden)
    scorer = Scorer(Model(tmp_path / "nan"), "v2", tmp_path / "log", counts)
    scorer.score(["a"], body())
    assert counts.numbers[:4] == (0, 1, 0, 0)
    assert "has no probability" in counts.status()["reason"]


def test_metrics_name_what_became_of_the_rows(model: Model) -> None:
    from mlgitops.serving import metrics

    app = App(model)
    assert b"model_shadow" not in metrics.text(app.counts, app.info())
    zeros = dict.fromkeys(metrics.OUTCOMES, 0)
    about = zeros | {"manifest_sha256": "f" * 64, "skipped": 7, "cpu_seconds": 1.5}
    text = metrics.text(app.counts, app.info() | {"shadow": about}).decode()
    labels = f'manifest_sha256="{"f" * 64}",outcome="skipped"'
    assert f"model_shadow_rows{{{labels}}} 7.0" in text
    assert "model_shadow_cpu_total 1.5" in text


@pytest.mark.parametrize("share", ["0", "1.5", "nan", "much"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    arguments = ["--model", "a", "--log", "l", "--shadow", "b", "--shadow-share", share]
    with pytest.raises(SystemExit, match="the share must be above 0"):
        parse(arguments)


def test_a_shadow_needs_a_log() -> None:
    with pytest.raises(SystemExit, match="--shadow needs --log"):
        parse(["--model", "a", "--shadow", "b"])
    assert parse(["--model", "a", "--log", "l", "--shadow", "b"]).shadow_share == 0.25
