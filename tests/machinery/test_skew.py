"""What was green when it was judged is not always what may be deployed now."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from machinery.world import World, git, world
from mlgitops.commands import deploy, register
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError
from mlgitops.release.registry import Version


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a repository whose production has a champion."""
    home = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        made.through("staging", "production")
        made.judged("champion")
        promoted()
    yield made


@pytest.fixture
def here(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it."""
    with world(tmp_path / "twin", monkeypatch, first) as made:
        yield made


def promoted() -> Version:
    """Run what the workflow `deploy` runs after a merge."""
    version = register.register()
    assert isinstance(version, Version), version
    for environment in ("staging", "production"):
        deploy.deploy(environment, version.version)
    return version


def test_of_two_that_beat_the_old_champion_the_second_is_asked_again(
    here: World,
) -> None:
    """F7: both were green; the second never met the first."""
    old = (Ledger().champion() or {})["manifest_sha256"]
    here.judged("one")
    promoted()
    other = here.model("two")
    here.verdict(other, champion=old)
    before = Ledger().commit, here.tags()
    with pytest.raises(ReleaseError, match="the champion changed since the verdict"):
        register.register()
    assert (Ledger().commit, here.tags()) == before
    here.verdict(other)  # `validate` again, against the champion of now
    assert promoted().manifest_sha256 == other


def test_one_that_was_judged_between_the_two_is_deployed(here: World) -> None:
    """The negative control: a verdict on today's champion stands."""
    here.judged("one")
    promoted()
    other = here.judged("two")
    assert promoted().manifest_sha256 == other


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
def test_f26_how_it_is_merged_does_not_matter(here: World, how: str) -> None:
    """A verdict is bound to the recipe and what was built, not to main's commit."""
    base = git("rev-parse", "HEAD")
    manifest = here.judged("two")
    (here.clone / "notes.md").write_text("two commits are proposed\n")
    head = here.commit("words")
    git("checkout", "-q", "-B", "main", base)
    (here.clone / "README.md").write_text("main moved on meanwhile\n")
    git("add", "-A")
    git("commit", "-q", "-m", "an unrelated merge")
    match how:
        case "merge":
            git("merge", "-q", "--no-ff", "--no-edit", head)
        case "squash":
            git("merge", "-q", "--squash", head)
            git("commit", "-q", "-m", "squashed")
        case "rebase":
            git("cherry-pick", f"{base}..{head}")
    git("push", "-q", "-f", "origin", "main")
    version = promoted()
    assert version.manifest_sha256 == manifest
    assert git("rev-parse", f"{version.commit}^") == git("rev-parse", "HEAD") != head


def test_f8_every_job_may_run_again(here: World) -> None:
    """Register, staging, production: the second time nothing is written."""
    here.judged("two")
    version = promoted()

    def state() -> object:
        writes = [call for call in here.hub.calls if call[0] != "GET"]
        return Ledger().commit, here.tags(), len(writes)

    before = state()
    assert "Nothing to do: production has" in str(register.register())
    for environment in ("staging", "production"):
        record = deploy.deploy(environment, version.version)
        assert record["version"] == version.version
    assert state() == before
