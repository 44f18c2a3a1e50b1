"""A challenger that answers a share of the rows, and the champion behind it."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery import tiny
from machinery.test_shadow import STEEP, Broken, ask, body
from mlgitops.serving import canary as canary_module
from mlgitops.serving.__main__ import canary_of, parse
from mlgitops.serving.app import App
from mlgitops.serving.canary import FAULTS, Canary
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.reasons import Reason
from mlgitops.serving.rows import RowError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("champion")
    tiny.version(folder)
    return Model(folder)


@pytest.fixture(scope="module")
def steep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenger")
    tiny.version(folder, STEEP)
    return folder


@pytest.fixture
def app(
    model: Model, steep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    monkeypatch.setattr(canary_module, "SECONDS", 20.0)  # no test is late by chance
    made = App(model, version="v1.0.0")
    made.log = PredictionLog(tmp_path / "log")
    made.canary = Canary(steep, 0.1, model, "v1.1.0")
    yield made
    made.log.close()


def answer(app: App, data: bytes) -> dict[str, Any]:
    """Return the body of a response that is 200."""
    start, content = ask(app, data)
    assert start["status"] == 200, content
    return dict(json.loads(content["body"]))


def test_ids_are_split_by_their_hash(app: App, model: Model, steep: Path) -> None:
    """Within five standard deviations of the share, again alike, and salted."""
    canary = app.canary
    assert canary is not None
    chosen = [n for n in range(20_000) if canary.chooses(f"r{n}")]
    assert abs(len(chosen) - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5
    again = Canary(steep, 0.1, model)
    assert [n for n in range(20_000) if again.chooses(f"r{n}")] == chosen
    wider = Canary(steep, 0.2, model)
    assert all(wider.chooses(f"r{n}") for n in chosen)  # a larger share takes none back
    other = Canary(Path(steep), 0.1, model)
    assert other.model is not None
    other.model.manifest_sha256 = "f" * 64  # of the next canary
    both = sum(other.chooses(f"r{n}") for n in chosen)
    assert both < len(chosen) * 0.15
    assert all(Canary(steep, 1.0, model).chooses(n) for n in range(100))


def test_golden_rows_are_the_champions(app: App, model: Model, steep: Path) -> None:
    """A deployment asks them, and would take the champion back for other answers."""
    canary = Canary(steep, 1.0, model)
    assert not any(canary.chooses(f"golden-{n}") for n in range(50))
    assert canary.chooses("golden-x") and canary.chooses("1")


def test_who_answered_is_in_the_answer_and_in_the_log(
    app: App, model: Model, steep: Path, tmp_path: Path
) -> None:
    """Champion's rows are as without a canary; the others are the challenger's."""
    canary, alone = app.canary, App(model)
    assert canary is not None and canary.model is not None
    challenger = canary.model.manifest_sha256
    both, plain = answer(app, body(200)), answer(alone, body(200))
    assert both["manifest_sha256"] == plain["manifest_sha256"]
    pairs = zip(both["predictions"], plain["predictions"], strict=True)
    for given, champion in pairs:
        if canary.chooses(given["id"]):
            assert given["manifest_sha256"] == challenger
            assert given["version"] == "v1.1.0"
            expected = tiny.expected(tiny.ROW, STEEP)
            assert given["probability"] == pytest.approx(expected, abs=1e-6)
        else:
            assert given == champion
    lines = tiny.logged(tmp_path / "log")
    assert [line["id"] for line in lines] == [f"r{n}" for n in range(200)]
    for line in lines:
        names = (line["manifest_sha256"], line["version"])
        chosen = canary.chooses(line["id"])
        champion = (model.manifest_sha256, "v1.0.0")
        assert names == ((challenger, "v1.1.0") if chosen else champion)
    state = app.info()["canary"]
    assert state["answers"] and 0 < state["rows"] < 60 and not state["faults"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("of its own"),
        RowError(Reason.MISSING_FIELD, "row 0 lacks the column 'x'."),
    ],
)
def test_the_champion_answers_where_the_canary_cannot(
    error: Exception, app: App, model: Model
) -> None:
    canary: Any = app.canary
    plain = answer(App(model, version="v1.0.0"), body(200))
    canary.model = Broken(canary.model, error)
    for _ in range(FAULTS - 1):
        assert answer(app, body(200)) == plain
        assert canary.state()["answers"]
    assert answer(app, body(200)) == plain
    state = canary.state()
    assert not state["answers"] and str(error) in state["reason"]
    assert state["rows"] == 0 and state["faults"] == FAULTS
    canary.model = canary.model.model  # well again: it has ended all the same
    assert answer(app, body(200)) == plain


def test_one_that_is_late_ends(
    app: App, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = list[object](), threading.Event()

    class Slow(Broken):
        def predictions(self, *_: object) -> Any:
            asked.append(self)
            go_on.wait(60)

    monkeypatch.setattr(canary_module, "SECONDS", 0.25)

    canary: Any = app.canary
    plain = answer(App(model, version="v1.0.0"), body(200))
    canary.model = Slow(canary.model, ValueError())
    assert answer(app, body(200)) == plain
    assert not canary.state()["answers"] and canary.hangs
    assert "0.25 s" in canary.state()["reason"]
    assert answer(app, body(200)) == plain
    assert len(asked) == 1  # nobody waits for it again
    go_on.set()


def test_what_cannot_be_loaded_answers_nothing(model: Model, tmp_path: Path) -> None:
    tiny.version(tmp_path / "altered", STEEP)
    (tmp_path / "altered/model.onnx").write_bytes(tiny.onnx_bytes(0.1))
    tiny.version(
        tmp_path / "wrong", STEEP, golden=[{"row": tiny.ROW, "probability": 1}]
    )
    app = App(model)
    plain = answer(app, body(50))
    for name, reason in (("altered", "reviewed"), ("wrong", "golden"), ("no", "read")):
        app.canary = Canary(tmp_path / name, 1.0, model)
        assert reason in app.canary.state()["reason"]
        assert answer(app, body(50)) == plain


def test_the_champion_is_no_canary(model: Model, tmp_path: Path) -> None:
    """It would cost a second run of the model, and nothing could be compared."""
    tiny.version(tmp_path)
    canary = Canary(tmp_path, 1.0, model)
    assert "the champion's own version" in canary.state()["reason"]
    assert not canary.state()["answers"] and not canary.chooses("a")


def test_why_a_canary_does_not_answer_is_said_at_the_start(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", "a", "--log", "l", "--canary", str(tmp_path / "none")]
    made = canary_of(parse(options), model)
    assert made is not None and made.reason in capsys.readouterr().err
    assert canary_of(parse(options[:4]), model) is None


def test_metrics_have_it(app: App) -> None:
    from mlgitops.serving import metrics

    answer(app, body(100))
    text = metrics.text(app.counts, app.info()).decode()
    assert app.canary is not None
    assert f"model_canary_rows_total {float(app.canary.rows)}" in text
    assert "model_canary_answers 1.0" in text


@pytest.mark.parametrize(
    "words", ["--canary-share 0.5", "--shadow-share 1", "--shadow-version v2"]
)
def test_a_challengers_option_without_a_challenger_is_refused(words: str) -> None:
    """It would do nothing, and nobody would know."""
    option, value = words.split()
    with pytest.raises(SystemExit, match=f"{option} needs {option[:8]}, the chall"):
        parse(["--model", "a", "--log", "l", option, value])


def test_a_log_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Each prediction would be dropped when the server stops."""
    (tmp_path / "log").touch()
    with pytest.raises(SystemExit, match=r"--log: a folder is expected, and .* a file"):
        parse(["--model", "a", "--log", str(tmp_path / "log")])
    assert parse(["--model", "a", "--log", str(tmp_path / "new")]).log


def test_a_canary_needs_a_log() -> None:
    with pytest.raises(SystemExit, match="--canary needs --log"):
        parse(["--model", "a", "--canary", "b"])
    assert parse(["--model", "a", "--log", "l", "--canary", "b"]).canary_share == 0.1
