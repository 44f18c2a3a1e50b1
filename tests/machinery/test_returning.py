"""The judge says of a version that was taken back whether a proposal brings it back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery.world import Record, World, git, roll_out, world
from mlgitops import lock, server_code
from mlgitops.commands import rollback
from mlgitops.judge import override, returning
from mlgitops.judge.verdict import Case
from mlgitops.ledger import Ledger

PARAMS = {"override": {"checks": ["slices"], "role": "maintain"}}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make a repository where v1.1.0 was rolled back to v1.0.0."""
    home = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch, world(home, patch) as made:
        for text in ("one", "two"):
            made.judged(text)
            roll_out()
        rollback.rollback("production", "v1.0.0", "late | answers")
    yield made


@pytest.fixture
def here(
    first: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """Stand in a copy of it, where main still names v1.1.0."""
    roles = {"olga": "maintain", "will": "write"}
    monkeypatch.setattr(override, "_role", lambda person: roles.get(person, ""))
    with world(tmp_path / "twin", monkeypatch, first) as made:
        yield made


def case(head: str = "HEAD") -> Case:
    """Return the case of a proposal that names what a commit names."""
    git("fetch", "-q", "--tags", "origin")
    built = lock.at("flights@v1.1.0")
    assert built is not None
    left = Ledger().history("production")[-1]["previous"]
    made = Case(Path(), built, lambda _: None, {}, Ledger())
    made.manifest_sha256 = left
    return made


def said(judged: Case, event: Record | None = None, tree: str = "HEAD") -> str:
    """Return what a reviewer is told."""
    told = returning.apply(judged, event or {}, PARAMS, "HEAD", tree)
    return " ".join(told)


def reverted(here: World) -> str:
    """Merge the revert pull request; return the commit before."""
    before = git("rev-parse", "HEAD")
    git("fetch", "-q", "origin")
    git("merge", "-q", "--no-edit", f"origin/{here.hub.kept['pulls'][0]['head']}")
    git("push", "-q", "origin", "main")
    return before


def test_an_unrelated_pull_request_brings_nothing_back(here: World) -> None:
    (here.clone / "README.md").write_text("words\n")
    here.commit("words")
    judged = case()
    told = said(judged)
    assert judged.returns is None
    assert "It does not bring back the version that was left" in told
    assert "flights&#64;&#8203;v1.1.0 was taken out of production" in told
    assert "late &#124; answers" in told, "what a person wrote is inert"


def test_a_proposal_that_brings_it_back_names_it_and_says_so(here: World) -> None:
    before = reverted(here)
    judged = case(before)
    told = said(judged, tree=before)
    end = Ledger().history("production")[-1]
    assert judged.returns == {"seq": end["seq"], "by": None, "reason": None}
    assert "It brings back a version that was left" in told


def test_what_was_built_before_the_revert_is_not_on_purpose(here: World) -> None:
    """Its base had the version; main has reverted it since."""
    base = reverted(here)
    judged = case(base)
    assert returning.apply(judged, {}, PARAMS, base, base)
    assert judged.returns is None


@pytest.mark.parametrize(
    ("person", "named", "why"),
    [
        ("olga", True, ""),
        ("olga", False, "the one judged is"),
        ("will", True, "it takes maintain"),
    ],
)
def test_a_person_may_name_it(here: World, person: str, named: bool, why: str) -> None:
    judged = case()
    manifest = str(judged.manifest_sha256)[:12] if named else "0" * 12
    inputs = {"manifest": manifest, "reason": "the feed is mended"}
    told = said(judged, {"inputs": inputs, "sender": {"login": person}})
    if why:
        assert judged.returns is None and why in told
    else:
        assert judged.returns is not None and judged.returns["by"] == "olga"
        assert "olga asked for it: the feed is mended" in told


def test_of_what_was_never_taken_back_nothing_is_said(here: World) -> None:
    judged = case()
    for other in (None, "f" * 64, Ledger().champion("production")["manifest_sha256"]):  # type: ignore[index]
        judged.manifest_sha256 = other
        assert said(judged) == "" and judged.returns is None


def test_a_server_that_was_taken_back_returns_with_its_own_change(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is main's before and after: the server alone was taken back."""
    reverted(here)
    file, codes = here.clone / "mlgitops/serving/app.py", list[str]()
    file.parent.mkdir(parents=True)
    for text in ("one", "two"):
        file.write_text(text)
        here.commit(text)
        codes.append(server_code.sha256("HEAD"))
    champion = Ledger().history("production")[-1]
    manifest = champion["manifest_sha256"]
    end: dict[str, Any] = {**champion, "action": "revert", "previous": manifest}
    end |= {"previous_server": codes[1], "seq": Ledger().seq}
    path = f"environments/production/history/{Ledger().seq:08d}.json"
    Ledger().append({path: end}, "revert")
    judged = case()
    judged.manifest_sha256 = manifest
    assert "It does not bring back" in said(judged)
    bad = git("rev-parse", "HEAD")
    file.write_text("one")
    here.commit("reverted")
    assert said(judged) == "", "with another server it is another release"
    assert "It brings back" in said(judged, tree=bad)
    assert judged.returns is not None
