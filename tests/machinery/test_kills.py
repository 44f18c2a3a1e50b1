"""Killed between any two effects, a promotion is never half; run again, it ends.

An effect is a call that leaves the process: git, GTO, GitHub, storage. What a process
only remembers dies with it, so that to die right before or after each effect is to die
anywhere. A seeded share here, a hundred points with PROOF=1.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from machinery.world import Target, World, world
from machinery.world import target as serve
from mlgitops import git, github, storage
from mlgitops.commands import deploy, register, rollback
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError, assets, registry, target

POINTS = 34 if os.environ.get("PROOF") else 2
EFFECTS = (
    (git, "_bytes"),
    (github, "api"),
    (registry, "_gto"),
    (storage, "pull"),
)


class KilledError(BaseException):
    """What kill -9 looks like from inside."""


class Killer:
    """Counts effects, and dies before or after one of them; nothing happens then."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int | None, after: bool) -> None:
        self.at, self.after, self.seen, self.dead = at, after, 0, False
        for module, name in EFFECTS:
            patch.setattr(module, name, self.wrapped(getattr(module, name)))

    def wrapped(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        """Return the effect, at which the process may die."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise KilledError
            mine = self.seen == self.at
            self.seen += 1
            self.dead = mine
            if mine and not self.after:
                raise KilledError
            answer = effect(*args, **kwargs)
            if mine:
                raise KilledError
            return answer

        return call


class Follower(Target):
    """A target that runs whatever the ledger says, as an agent does."""

    def __init__(self, here: World, wrong: str) -> None:
        super().__init__()
        self.here, self.wrong = here, wrong

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer as the version that production's record names; one answers wrongly."""
        place = "ledger:environments/production/release.json"
        text = self.here.origin("show", place)
        self.manifest = text.split('"manifest_sha256": "')[1][:64]
        self.shift = 0.1 if self.manifest == self.wrong else 0.0
        return super().answer(path, body)


def promote_main() -> None:
    """Run the workflow `deploy`: its three jobs."""
    version = register.register()
    if isinstance(version, str):
        return
    for environment in ("staging", "production"):
        deploy.deploy(environment, version.version)


def roll_back() -> None:
    """Run the workflow `rollback`."""
    rollback.rollback("production", "v1.0.0", "slow")


SCENES: dict[str, tuple[Callable[[], None], bool]] = {
    "a version is deployed": (promote_main, False),
    "a bad version is taken back": (promote_main, True),
    "an old version comes back": (roll_back, False),
}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    """Make the worlds before each scene: v1.0.0 runs, v1.1.0 is merged, or runs too."""
    made: dict[str, World] = {}
    import gto.api  # noqa: F401 (over a second, once)

    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("before")
        with world(home, patch) as first:
            first.through("staging", "production")
            first.judged("one")
            promote_main()
            first.bad = first.judged("two")  # type: ignore[attr-defined]
            made["merged"] = first.twin(tmp_path_factory.mktemp("merged"))
            promote_main()
            made["deployed"] = first
    yield made


def summary(here: World) -> dict[str, Any]:
    """Return what people and targets see in the end."""
    ledger = Ledger()
    keys = ("manifest_sha256", "action", "state", "previous")
    seen: dict[str, Any] = {
        place: [ledger.release(place)[key] for key in keys]  # type: ignore[index]
        for place in ("staging", "production")
    }
    seen["tags"] = sorted(here.tags())
    seen["deployments"] = [
        (d["environment"], here.hub.kept[f"statuses/{d['id']}"][-1]["state"])
        for d in here.hub.kept["deployments"]
    ]
    seen["releases"] = [
        sorted(asset["name"] for asset in release["assets"])
        for release in here.hub.kept["releases"]
    ]
    for kind in ("pulls", "comments/7"):
        seen[kind] = len(here.hub.kept.get(kind, []))
    return seen


def whole(folder: Path) -> None:
    """Make sure that whatever targets follow now can be fetched, and was allowed."""
    ledger = Ledger()
    registry.fetch("flights")
    for place in ("staging", "production"):
        record = ledger.release(place) or {}
        assert record == ledger.history(place)[-1]
        version = registry.get("flights", record["version"])
        assert version.manifest_sha256 == record["manifest_sha256"]
        assets.bring(version, folder)
        assert (ledger.read(record["verdict"]) or {})["passed"]


@pytest.mark.parametrize("scene", SCENES)
def test_killed_anywhere_it_is_never_half_and_a_rerun_ends(
    scene: str,
    worlds: dict[str, World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    act, bad = SCENES[scene]
    before = worlds["deployed" if act is roll_back else "merged"]
    monkeypatch.setattr(target, "POLL", 0.01)
    wrong = before.bad if bad else ""  # type: ignore[attr-defined]

    def play(name: str, at: int | None, after: bool) -> tuple[int, dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            with world(tmp_path / name, patch, before) as here, serve() as server:
                follower = Follower(here, wrong)
                patch.setattr(server, "answer", follower.answer)
                patch.setenv("PRODUCTION_URL", server.url)
                with pytest.MonkeyPatch.context() as deadly:
                    killer = Killer(deadly, at, after)
                    with suppress(ReleaseError, KilledError):
                        act()
                assert killer.dead == (at is not None)
                whole(tmp_path / "whole")
                if at is not None:
                    with suppress(ReleaseError):
                        act()
                return killer.seen, summary(here)

    effects, expected = play("undisturbed", None, False)
    assert effects > 20
    chance = random.Random(scene)
    points = [(n, after) for n in range(effects) for after in (False, True)]
    for number, (at, after) in enumerate(chance.sample(points, POINTS)):
        _, found = play(str(number), at, after)
        assert found == expected, f"killed {'after' if after else 'before'} effect {at}"
