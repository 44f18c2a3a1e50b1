"""The loop under act: what `make demo` plays, held against what it must show."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from machinery import lengths
from rehearsal import minutes
from rehearsal.__main__ import KINDS as STORAGES
from rehearsal.__main__ import copied_agent
from rehearsal.play import Play, PlayError, Step
from rehearsal.proposals import PROPOSALS, WEATHER
from rehearsal.world import World, repeats
from runners import warmed

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
Facts = dict[str, Any]


def command(folder: Path, *args: str) -> list[str]:
    """Return what `make demo` runs, in a folder of the test's own."""
    return [sys.executable, "-m", "rehearsal", "--folder", str(folder), *args]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("unsure", 1),
        ("weather", 8),
        ("settings", 7),
        ("canary", 1),
        ("linear", 1),
        ("forged", 1),
        ("swallowed", 3),
    ],
)
def test_a_proposal_still_applies(name: str, lines: int, tmp_path: Path) -> None:
    """A change of its file is noticed in a second, not in the middle of the play."""
    shutil.copytree(TEMPLATE / ".github", tmp_path / ".github")
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(TEMPLATE / file, tmp_path)
    PROPOSALS[name](tmp_path)
    added = 0
    for file in ("params.yaml", "dvc.yaml", ".github/workflows/train.yml"):
        before, after = ((root / file).read_text() for root in (TEMPLATE, tmp_path))
        assert before.count("#") == after.count("#"), "a comment is gone"
        added += len(set(after.splitlines()) - set(before.splitlines()))
    assert added == lines


def test_a_linear_model_is_proposed_without_what_only_trees_have(
    tmp_path: Path,
) -> None:
    """The worse model stands on the better one's settings."""
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(TEMPLATE / file, tmp_path)
    for name in ("unsure", "settings", "linear"):
        PROPOSALS[name](tmp_path)
    train = yaml.safe_load((tmp_path / "params.yaml").read_text())["train"]
    assert train["estimator"] == "logistic_regression"
    assert {"weights", "mitigation", "calibration", "intervals"} <= train.keys()
    assert not {"monotonic"} & train.keys()


def test_what_is_proposed_is_known_to_the_template() -> None:
    """The weather is in the contract, and the worse estimator has its arguments."""
    contract = yaml.safe_load((TEMPLATE / "contract.yaml").read_text())
    assert set(WEATHER) <= set(contract["columns"])
    params = yaml.safe_load((TEMPLATE / "params.yaml").read_text())
    assert not set(WEATHER) & set(params["train"]["columns"])
    assert "logistic_regression" in params["train"]


def test_the_host_agent_is_the_file_that_the_readme_names(tmp_path: Path) -> None:
    """A user copies it to a machine; so does the play."""
    agent = copied_agent(TEMPLATE, tmp_path / "hosts")
    assert agent.parent == tmp_path / "hosts"
    assert "--environment" in agent.read_text()
    (tmp_path / "README.md").write_text("no word of an agent")
    with pytest.raises(PlayError, match="README"):
        copied_agent(tmp_path, tmp_path / "hosts")


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    """A slip of the hand does not delete anybody's files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "choose another --folder" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_step_that_fails_says_what_and_where(tmp_path: Path) -> None:
    """Without make on PATH, set-up fails: the reason, the logs, exit 1, no page."""
    folder = tmp_path / "demo"
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("git", "python3"):
        (tools / name).symlink_to(str(shutil.which(name)))
    env = {**os.environ, "PATH": str(tools)}
    done = subprocess.run(
        command(folder), cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "FAILED" in done.stdout and "make" in done.stdout
    assert str(folder / "commands.log") in done.stdout
    assert "timeline.html" not in done.stdout
    assert json.loads((folder / "summary.json").read_text())["ok"] is False


@pytest.mark.parametrize(
    ("file", "pull", "branch", "number", "left_out"),
    [
        ("ci.yml", None, "main", 1, True),  # the first proposal has the same files
        ("ci.yml", None, "main", 2, True),
        ("ci.yml", 1, "first-model", 2, False),  # the merge waits for it
        ("ci.yml", 3, "weather", 4, True),  # other settings of the same files
        ("ci.yml", 6, "retrain/2013-07-01-v1.1.0", 9, False),  # other data
        ("ci.yml", 3, "forged", 4, True),  # never merged
        ("deploy.yml", None, "main", 2, False),
    ],
)
def test_a_brief_play_leaves_out_only_tests_of_what_was_tested(
    file: str, pull: int | None, branch: str, number: int, left_out: bool
) -> None:
    path = f".github/workflows/{file}"
    run: Any = SimpleNamespace(path=path, pull=pull, head_branch=branch, number=number)
    assert repeats(run) == left_out


def played(**facts: Facts) -> Facts:
    """Return a summary with steps of these names and facts."""
    steps = [{"name": name.replace("_", " "), **f} for name, f in facts.items()]
    noted = [{"name": s.pop("name"), "facts": s} for s in steps]
    return {"ok": True, "machine": {"cores": 2, "load": 7.5}, "steps": noted}


def test_a_play_notes_when_a_proposal_has_its_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the push, as its author waits for it; not for what a workflow opened."""
    nobody: list[Any] = [None] * 8
    world = World(*nobody)
    monkeypatch.setattr(World, "status", lambda *_: "success")
    world.pushed[3] = time.monotonic() - 90
    step, other = Step("better model", ""), Step("retrained", "")
    world.expect_status(step, 3, "success")
    world.expect_status(other, 4, "success")
    assert 89 < step.facts["seconds_from_push"] < 150
    assert other.facts == {"validate": "success"}


def test_a_play_notes_how_busy_the_machine_was(tmp_path: Path) -> None:
    machine = json.loads(Play(tmp_path).write_summary().read_text())["machine"]
    assert machine["cores"] >= 1 and machine["load"] >= 0


def test_the_page_of_minutes_has_those_of_the_play() -> None:
    """Before, a proposal whose lock was not CI's waited for two rounds."""
    summary = played(
        first_model={"seconds_from_push": 120.0},
        first_deploy={"seconds_to_merge": 6.0, "seconds_from_merge": 30.0},
        better_model={"seconds_from_push": 90.0},
        worse_model={"validate": "failure"},
    )
    page = minutes.page(summary)
    assert "| first model | 4.0 | 2.0 | 0.1 | 0.5 |" in page
    assert "| better model | 3.0 | 1.5 | | |" in page
    assert "worse" not in page and "On 2 cores at a load of 7.5." in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ok": False}, "the last play stopped"),
        (played(first_model={}), "the first model was not timed"),
        (played(first_model={"seconds_from_push": 9.0}), "the better model was not"),
    ],
)
def test_there_is_no_page_of_half_a_play(change: Facts, words: str) -> None:
    """It would have fewer rows than the one before, and nobody would see why."""
    timed = {"seconds_from_push": 9.0}
    whole = played(first_model=timed, better_model=timed)
    with pytest.raises(SystemExit, match=f"{words}.*: type make demo"):
        minutes.page({**whole, **change})


def alive(marker: Path) -> list[str]:
    """Return the processes that still name a folder, on their line or in their env."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            text = line + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(marker).encode() in text and line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def heeds_ctrl_c() -> None:
    """Undo what a shell does to its background jobs: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="module")
def tool_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what the runners keep from one play to the next."""
    return tmp_path_factory.mktemp("tools")


KINDS = [kind for kind in STORAGES if kind != "branch"]  # which the whole play has
BRIEF = () if lengths.PROOF else ("--brief",)  # what was tested is not tested again
PROGRAMS = {"azure": "npm", "ssh": "/usr/sbin/sshd"}  # of a server, beside packages


@pytest.mark.slow
@pytest.mark.parametrize("kind", lengths.turn(KINDS, days=len(KINDS)))
def test_storage_works_through_the_loop(
    kind: str, tmp_path: Path, tool_cache: Path
) -> None:
    """Proposed, judged, merged, deployed, one number; another kind each day.

    Then two proposals that play tricks on `train.yml`: the judge is not taken in.
    """
    if kind in PROGRAMS and not shutil.which(PROGRAMS[kind]):
        pytest.skip(f"there is no {PROGRAMS[kind]}, which serves {kind}")
    args = ("--storage", kind, "--until", "tricks", *BRIEF)
    play = command(tmp_path / "demo", *args, "--tool-cache", str(tool_cache))
    with warmed(tool_cache):
        done = subprocess.run(play, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    *_, deploy, tricks = (step["facts"] for step in summary["steps"])
    assert len(set(deploy["manifest_sha256"].values())) == 1
    assert tricks["swallowed"] == tricks["forged"] == "failure"
    assert "has no artifact challenger" in tricks["swallowed_reason"]
    assert "wrote judgement" in tricks["forged_reason"]


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory, tool_cache: Path
) -> tuple[Path, Facts]:
    """Play everything once; return the folder and the facts of each step."""
    folder = tmp_path_factory.mktemp("play") / "demo"
    play = command(folder, *BRIEF, "--tool-cache", str(tool_cache))
    with warmed(tool_cache):
        done = subprocess.run(play, cwd=ROOT, capture_output=True, text=True)
        left = alive(folder)  # while a fork still has who asked for it
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert left == []
    assert "set-up" in done.stdout and "play" in done.stdout
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["ok"] and all(step["ok"] for step in summary["steps"])
    return folder, {step["name"]: step["facts"] for step in summary["steps"]}


@pytest.mark.slow
def test_one_number_everywhere(story: tuple[Path, Facts]) -> None:
    """Promise 1: comment, ledger, tag and /info name the same manifest, each time."""
    folder, facts = story
    seen = set()
    for step in ("first deploy", "better deploy", "retrained deploy"):
        read = facts[step]["manifest_sha256"]
        sources = {"comment", "verdict", "tag", "release", "ledger", "info"}
        assert set(read) == sources
        assert len(set(read.values())) == 1, (step, read)
        seen |= set(read.values())
    assert len(seen) == 3, "three models were deployed"
    summary = json.loads((folder / "summary.json").read_text())
    assert "| better model |" in minutes.page(summary)
    assert facts["first deploy"]["seconds_to_merge"] > 0


@pytest.mark.slow
def test_a_canary_is_taken_back_by_the_monitor(story: tuple[Path, Facts]) -> None:
    """It answered its share; the ledger has the reason; a person promotes it later."""
    _, facts = story
    canary, champion = facts["canary"], facts["first deploy"]["manifest_sha256"]
    rows = int(canary["sent"].split()[0].replace(",", ""))
    assert rows > 1000 and 0.4 < canary["answered"] / rows < 0.6
    assert canary["ledger"] == "taken back" and "limit" in canary["reason"]
    assert canary["production"] == champion["info"]


@pytest.mark.slow
def test_settings_of_training_are_served_and_watched(
    story: tuple[Path, Facts],
) -> None:
    """The deployed version answers with sets, abstains, and the monitor says so."""
    _, facts = story
    assert facts["better deploy"]["asked"].endswith("of 24 flights of a day decided")
    sets = facts["traffic"]["sets"]
    assert "Coverage of sets" in sets and "of rows not decided" in sets


@pytest.mark.slow
def test_the_worse_model_is_refused_twice(story: tuple[Path, Facts]) -> None:
    """Promise 3: no merge through the API, and no deployment when pushed past it."""
    _, facts = story
    assert facts["worse model"]["validate"] == "failure"
    assert facts["worse model"]["merge"].startswith("405")
    assert "validate" in facts["worse model"]["merge"]
    assert facts["forced"]["deploy"] == "failure"
    assert "was refused" in facts["forced"]["reason"]
    champion = facts["better deploy"]["manifest_sha256"]["info"]
    assert facts["forced"]["production"] == champion
    assert facts["forced"]["deploy_after_revert"] == "success"


@pytest.mark.slow
def test_a_fork_gets_no_secret(story: tuple[Path, Facts]) -> None:
    """Promise 4: a stranger's run reads, and holds nothing."""
    _, facts = story
    assert facts["fork"]["secrets"] == []
    assert "write" not in facts["fork"]["token"].values()
    assert facts["fork"]["train"] == "success"


@pytest.mark.slow
def test_the_arrow_back_is_a_pull_request(story: tuple[Path, Facts]) -> None:
    """Promise 5: the monitor proposes, and what was rolled back stays so."""
    _, facts = story
    assert facts["traffic"]["decision"] != "retrain"
    assert facts["drift"]["decision"] == "retrain"
    assert facts["drift"]["opened_by"].endswith("[bot]")
    assert "confirmed" in facts["retrained"]["expectation"]
    assert facts["rollback"]["action"] == "rollback"
    assert facts["rollback"]["info"] == facts["rollback"]["ledger"]
    assert facts["revert"]["deploy"] == "success"


@pytest.mark.slow
def test_the_page_is_there(story: tuple[Path, Facts]) -> None:
    """What a person looks at names every pull request and loads nothing from afar."""
    folder, facts = story
    page = (folder / "timeline.html").read_text()
    for number in range(1, facts["revert"]["pull_request"] + 1):
        assert f"#{number}" in page
    assert 'src="http' not in page
    assert alive(folder) == []


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(tmp_path: Path, tool_cache: Path) -> None:
    """Stopped in the middle of a workflow, everything that was started ends.

    The last one: what it stops half-way is used by no other play.
    """
    folder = tmp_path / "demo"
    with subprocess.Popen(
        command(folder, *BRIEF, "--tool-cache", str(tool_cache)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heeds_ctrl_c,
    ) as play:
        assert play.stdout
        for line in play.stdout:
            if line.startswith(b"   3 "):
                break
        end = time.monotonic() + 120
        while not any(line.startswith("act ") for line in alive(folder)):
            assert time.monotonic() < end, "nothing was running, so nothing is shown"
            time.sleep(0.2)
        time.sleep(2)  # into the steps of its job
        os.kill(play.pid, signal.SIGINT)
        rest = play.stdout.read().decode()
        assert play.wait(60) == 1
    assert "nothing is left running" in rest
    assert alive(folder) == []
