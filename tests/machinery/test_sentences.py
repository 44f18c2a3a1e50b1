"""What is typed wrongly, or cannot be done here, is one sentence: no usage, no words
of Python's, and the exit code of a failure."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from machinery import warm
from mlgitops import github
from mlgitops.commands import reproduce, rollback, simulate
from mlgitops.commands.expected import expected_errors
from mlgitops.git import GitError
from mlgitops.monitor.window import Log, inventory
from mlgitops.pipeline.contract import Contract, ContractError, mapping
from mlgitops.release import ReleaseError

ROOT = Path.cwd()
NOWHERE = "http://127.0.0.1:9/simple"  # where no registry answers


def said(*command: str, cwd: Path, **env: str) -> str:
    """Return the one sentence with which a command failed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **env}
    env = {name: value for name, value in env.items() if value}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert done.returncode != 0 and len(lines) == 1, done.stderr
    return lines[0]


def make(folder: Path, *words: str, **env: str) -> str:
    """Return the sentence of a command of the Makefile, in an empty folder."""
    outer = dict.fromkeys(("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"), "")
    command = ("make", "--file", str(ROOT / "Makefile"))
    return said(*command, *words, cwd=folder, **outer, **env)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rollback", "VERSION=one"], '"one" is not a version: type VERS'),
        (["rollback", "VERSION=v1.0.0", "ENVIRONMENT=moon"], 'environment "moon"'),
        (["reproduce", "VERSION=1.0"], '"1.0" is not a version'),
        (["audit", "DATE=2026-13-45"], "is not a date: type DATE=2026-11-22"),
        (["audit", "VERSION=one"], '"one" is not a version'),
        (["simulate"], "it must be a day: type FROM=2013-04-01"),
        (["serve"], "There is no model in build/ yet: type 'make repro' first."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_says_what_to_type(
    words: list[str], expected: str, tmp_path: Path
) -> None:
    """Before anybody is asked: here is no repository, no network and no `gh`."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "example").mkdir()
    assert expected in make(tmp_path, *words)


def test_simulate_needs_no_day_where_the_example_is_gone(tmp_path: Path) -> None:
    assert "must be an address: type URL=" in make(tmp_path, "simulate")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--labels", "", "type LABELS="),
        ("--url", "http://x:port", "not an address: type URL="),
        ("--batch", "-3", "not a number of rows"),
    ],
)
def test_simulate_refuses_each_option_by_name(
    option: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"from": "2013-04-01", "until": "2013-04-02", "labels": "l.csv"}
    given |= {"url": "http://127.0.0.1:9", option.strip("-"): value}
    argv = ["simulate", *(f"--{name}={text}" for name, text in given.items())]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match=expected):
        simulate.main()


def test_a_well_spelt_request_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(github, "api", lambda path, *_, **__: asked.append(path))
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    with pytest.raises(ReleaseError, match="not a version"):
        rollback.request("newest")
    assert not asked
    rollback.request("v1.0.0")
    assert asked == ["actions/workflows/rollback.yml/dispatches"]


def test_an_expected_error_is_one_line_and_another_stays_a_traceback() -> None:
    with pytest.raises(SystemExit, match=r"^audit: git said no$"):
        with expected_errors("audit: "):
            raise GitError("git\n  said no")
    with pytest.raises(ZeroDivisionError), expected_errors():
        _ = 1 / 0


def test_the_description_of_a_status_is_cut_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GitHub takes 140 letters."""
    sent: list[dict[str, str]] = []
    monkeypatch.setattr(github, "api", lambda *args, **_: sent.append(args[2]))
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    long = "the lower bound is below the limit " * 6
    for description in (long, "it passed"):
        github.status("a" * 40, "validate", "failure", description)
    cut, whole = (fields["description"] for fields in sent)
    assert 100 < len(cut) <= 140 and whole == "it passed"
    assert long.startswith(cut.removesuffix("…") + " ")


@pytest.mark.parametrize("job", [True, False])
def test_an_outcome_is_said_once(
    job: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a job its summary has it, too."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    if job:
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setattr(reproduce, "reproduce", lambda wanted: "Nothing to reproduce.")
    reproduce.main()
    assert capsys.readouterr().out == "Nothing to reproduce.\n"
    assert [p.read_text() for p in tmp_path.iterdir()] == [
        "Nothing to reproduce.\n"
    ] * job


@pytest.mark.parametrize("text", ["- a\n- b\n", "word\n", "", "a: [", "a: \0"])
@pytest.mark.parametrize("name", ["contract.yaml", "params.yaml"])
def test_a_file_that_is_no_mapping_is_said(name: str, text: str) -> None:
    with pytest.raises(ContractError, match=rf"^{name} (holds no|is not valid)"):
        mapping(text, name)
    assert mapping("a: 1", name) == {"a": 1}


SOUND = {
    "name": "flights",
    "task": "binary",
    "id": "a",
    "time": "b",
    "target": "c",
    "columns": {"d": {"type": "number", "missing": False}},
}


@pytest.mark.parametrize(
    "broken",
    [
        {"columns": ["d"]},
        {"columns": None},
        {"columns": {"d": None}},
        {"columns": {"d": {"missing": False}}},
        {"columns": {"d": {"type": "category", "missing": False, "categories": 3}}},
        {"sensitive": 3},
        {"classes": "a"},
    ],
    ids=str,
)
def test_a_contract_of_another_shape_is_said_in_our_words(broken: object) -> None:
    Contract.parse(SOUND)
    with pytest.raises(ContractError, match=r"^contract\.yaml") as refused:
        Contract.parse({**SOUND, **broken})  # type: ignore[dict-item]
    words = ("object", "NoneType", "argument", "attribute", "indices", "iterable")
    assert not [word for word in words if word in str(refused.value)]


def test_ctrl_c_ends_a_stage_without_a_traceback(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "contract.yaml")  # so that it waits while we press
    command = (warm.COLD, "-m", "mlgitops", "prepare", "rows", "train", "holdout")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    stage = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # a job in the background would ignore Ctrl-C
    pipe = None
    while pipe is None:
        assert stage.poll() is None, "it ended without reading the contract"
        time.sleep(0.01)
        with contextlib.suppress(OSError):  # nobody reads it yet
            pipe = os.open(tmp_path / "contract.yaml", os.O_WRONLY | os.O_NONBLOCK)
    error = None
    while error is None:  # between two instructions Python would hear it only later
        stage.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            error = stage.communicate(timeout=1)[1]
    assert error == b""
    os.close(pipe)
    assert stage.returncode == -signal.SIGINT


def test_setup_without_a_registry_is_one_sentence(tmp_path: Path) -> None:
    """The tool's last words stand in it; the others are kept in a file."""
    (tmp_path / "requirements").mkdir()
    pin = f"colorama==0.4.6 --hash=sha256:{'0' * 64}\n"
    (tmp_path / "requirements" / "a.txt").write_text(pin)
    venv.create(tmp_path / ".venv")
    uv = Path(sys.executable).parent / "uv"
    (tmp_path / ".venv" / "bin" / "uv").symlink_to(uv)
    found = make(
        tmp_path, "setup", UV_INDEX_URL=NOWHERE, UV_FIND_LINKS="", UV_NO_CACHE="1"
    )
    assert found.startswith("The packages could not be installed (")
    assert "type 'make setup' again" in found and ".venv/setup.log" in found
    assert (tmp_path / ".venv" / "setup.log").read_text()


def test_setup_asks_for_a_python_that_is_new_enough(tmp_path: Path) -> None:
    found = make(tmp_path, "setup", "PYTHON=false")
    assert found.startswith("false is not Python 3.11 or newer: install one")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, "no lines in files named predictions-*.jsonl"),
        (
            {"lines": 3, "corrupt": 1, "without a time": 2},
            "1 corrupt, 2 without a time",
        ),
        ({"lines": 3}, "of 3 lines, 3 of other versions"),
    ],
)
def test_a_log_without_a_row_says_what_it_holds(
    counts: dict[str, int], words: str
) -> None:
    log = Log()
    log.counts.update(counts)
    assert words in inventory(log)
