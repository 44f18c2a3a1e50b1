"""Four runs at once: one wins, the others see it, nothing is torn.

Each run is a process with its own clone; git's origin is real, GitHub is one for all.
A few races here, twenty of each kind with PROOF=1.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest

from machinery.world import GitHub, World, git, world
from mlgitops import github
from mlgitops.commands import deploy, register
from mlgitops.ledger import Ledger
from mlgitops.release import (
    ReleaseError,
    assets,
    eligibility,
    promote,
    registry,
    server,
)
from mlgitops.release.promote import Promotion
from mlgitops.release.registry import Version

RACES = 20 if os.environ.get("PROOF") else 1  # of four runs each
RUNS = 4
KEY = b"loopback"
Run = Callable[[int], str]


@contextmanager
def shared(hub: GitHub) -> Iterator[str]:
    """Answer for GitHub, one call at a time, to processes of this machine."""
    listener = Listener(family="AF_UNIX", backlog=64, authkey=KEY)
    place = str(listener.address)
    ended = threading.Event()

    def answer() -> None:
        while not ended.is_set():
            with listener.accept() as call:
                args, kwargs = call.recv()
                if args is None:
                    return
                try:
                    call.send((True, hub.api(*args, **kwargs)))
                except github.GitHubError as error:
                    call.send((False, (error.status, str(error))))

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield place
    finally:
        ended.set()
        with Client(place, "AF_UNIX", authkey=KEY) as call:
            call.send((None, None))
        thread.join(30)
        listener.close()


def start(number: int, clone: Path, place: str, run: Run, go: Any, said: Any) -> None:
    """Be one of the four: wait for all, then run, and tell how it went."""

    def api(*args: Any, **kwargs: Any) -> Any:
        with Client(place, "AF_UNIX", authkey=KEY) as call:
            call.send((args, kwargs))
            good, answer = call.recv()
        if not good:
            raise github.GitHubError(*answer)
        return answer

    github.api = api  # type: ignore[assignment] (this process only)
    os.chdir(clone)
    go.wait(60)
    try:
        said.put((number, run(number)))
    except (ReleaseError, github.GitHubError) as error:
        said.put((number, f"refused: {error}"))
    except BaseException as error:
        said.put((number, f"broken: {error!r}"))
        raise


def race(here: World, run: Run) -> list[str]:
    """Let four processes run at once; return what each said, in their order."""
    fork = multiprocessing.get_context("fork")
    go, said = fork.Barrier(RUNS), fork.Queue()
    runs = []
    with shared(here.hub) as place:
        for number in range(RUNS):
            git("clone", "-q", "origin", f"run{number}", cwd=here.home)
            args = (number, here.home / f"run{number}", place, run, go, said)
            runs.append(fork.Process(target=start, args=args))
        for process in runs:
            process.start()
        found = dict(said.get(timeout=120) for _ in runs)
        for process in runs:
            process.join(60)
    assert not [words for words in found.values() if words.startswith("broken")], found
    return [found[number] for number in range(RUNS)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a repository with a champion, and a judged model on main."""
    import gto.api  # noqa: F401 (over a second, before the processes start)

    home = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        made.judged("champion")
        version = register.register()
        assert isinstance(version, Version)
        deploy.deploy("production", version.version)
        made.judged("next")
    yield made


def whole(here: World) -> dict[str, Any]:
    """Return production's record after making sure that nothing is torn."""
    ledger = Ledger(here.clone)
    record = ledger.release("production") or {}
    history = ledger.history("production")
    assert record == history[-1]
    assert [r["seq"] for r in history] == sorted({r["seq"] for r in history})
    registry.fetch("flights")
    version = registry.get("flights", record["version"])
    assets.bring(version, here.home / "brought")
    for deployment in here.hub.kept["deployments"]:
        states = here.hub.kept[f"statuses/{deployment['id']}"]
        mine = deployment["id"] == record["deployment_id"]
        earlier = deployment["id"] == history[0]["deployment_id"]
        wanted = "success" if mine or earlier else "inactive"
        # GitHub cannot be asked to add a status only once: two may say the same.
        assert {state["state"] for state in states} == {wanted}
    for release in here.hub.kept["releases"]:
        names = [asset["name"] for asset in release["assets"]]
        assert len(names) == len(set(names))
    return record


def promoted(number: int) -> str:
    """Run what the workflow `deploy` runs."""
    version = register.register()
    if isinstance(version, str):
        return version
    return str(deploy.deploy("production", version.version)["version"])


@pytest.mark.parametrize("number", range(RACES))
def test_four_runs_of_one_merge(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One version, one record; every run knows it."""
    with world(tmp_path / "twin", monkeypatch, first) as here:
        said = race(here, promoted)
        assert all("v1.1.0" in words for words in said), said
        assert whole(here)["version"] == "v1.1.0"
        deployed = Ledger(here.clone).history("production")
        assert [r["version"] for r in deployed] == ["v1.0.0", "v1.1.0"]
        assert here.tags() == ["flights@v1.0.0", "flights@v1.1.0"]


@pytest.mark.parametrize("number", range(RACES))
def test_f7_four_merges_that_each_beat_the_old_champion(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One wins; the others are refused, because the champion changed."""
    with world(tmp_path / "twin", monkeypatch, first) as here:
        versions, heads = [], []
        for name in ("a", "b", "c", "d"):
            manifest = here.judged(name)
            found = register.register()
            assert isinstance(found, Version) and found.manifest_sha256 == manifest
            versions.append(found)
            heads.append(git("rev-parse", "HEAD"))

        def run(number: int) -> str:
            version, head = versions[number], heads[number]
            wish = Promotion("flights", "production", version, server.at("HEAD"))
            sha256 = version.manifest_sha256
            allowed = lambda now: eligibility.check(now, sha256, head, "")  # noqa: E731
            return str(promote.run(Ledger(), wish, allowed)["version"])

        said = race(here, run)
        lost = [words for words in said if words.startswith("refused")]
        assert len(lost) == RUNS - 1, said
        assert all("the champion changed since the verdict" in words for words in lost)
        (winner,) = set(said) - set(lost)
        assert whole(here)["version"] == winner


@pytest.mark.parametrize("number", range(RACES))
def test_four_models_get_four_versions(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whoever loses a number takes the next; nobody's tag is overwritten."""
    with world(tmp_path / "twin", monkeypatch, first) as here:
        commits = [here.commit(f"commit {n}") for n in range(RUNS)]

        def run(number: int) -> str:
            manifest = f"{number}" * 64
            return registry.register("flights", manifest, commits[number]).version

        said = race(here, run)
        assert sorted(said) == ["v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0"]
        registry.fetch("flights")
        known = {v.version: v for v in registry.versions("flights")}
        for number_, version in enumerate(said):
            assert known[version].manifest_sha256 == f"{number_}" * 64
            assert known[version].commit == commits[number_]
