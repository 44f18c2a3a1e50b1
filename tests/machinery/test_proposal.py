"""Which pull request a run is about, and whose comment a workflow may change."""

from pathlib import Path
from typing import Any

import pytest

from machinery.world import GitHub, Record, git, world
from mlgitops import github, report
from mlgitops.judge import proposal, publish
from mlgitops.judge.proposal import NothingToJudge
from mlgitops.judgement import Refused

SHA = "a" * 40
BASE = {"full_name": "o/r", "default_branch": "main"}
RUN = {
    "id": 5,
    "path": ".github/workflows/train.yml",
    "status": "completed",
    "conclusion": "success",
    "head_sha": SHA,
    "head_branch": "change",
    "head_repository": {"owner": {"login": "o"}},
}


def pull(number: int, base: str = "main", **changes: Any) -> Record:
    """Return a pull request of the branch `change`."""
    return {
        "number": number,
        "state": "open",
        "user": {"login": "ann"},
        "head": {"sha": SHA, "ref": "change", "repo": {"full_name": "o/r"}},
        "base": {"ref": base, "repo": BASE},
        **changes,
    }


def plug(patch: pytest.MonkeyPatch, *pulls: Record) -> list[Record]:
    """Let GitHub have these pull requests; return the queries that it will get."""
    queries: list[Record] = []

    def pages(path: str, query: Record) -> list[Record]:
        queries.append(query)
        return list(pulls)

    def api(path: str, **_: Any) -> Any:
        if path.startswith("pulls/"):
            return next(p for p in pulls if str(p["number"]) == path[6:])
        return {"workflow_runs": [RUN]}

    patch.setattr(github, "pages", pages)
    patch.setattr(github, "api", api)
    return queries


def dispatched(number: int) -> Record:
    """Return the event of somebody who has a pull request judged."""
    return {"inputs": {"pull_request": str(number)}}


def test_the_same_branch_to_another_base_is_not_judged_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queries = plug(monkeypatch, pull(8, "release"), pull(7))
    assert proposal.find({"workflow_run": RUN}).number == 7
    assert queries[0]["head"] == "o:change"
    assert proposal.find(dispatched(7)).number == 7
    with pytest.raises(NothingToJudge, match="8 is to release"):
        proposal.find(dispatched(8))
    plug(monkeypatch, pull(8, "release"))
    with pytest.raises(NothingToJudge, match="no open pull request to the default"):
        proposal.find({"workflow_run": RUN})


def test_a_deleted_fork_and_a_deleted_account_are_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GitHub then answers null."""
    head = {"sha": SHA, "ref": "change", "repo": None}
    queries = plug(monkeypatch, pull(7, user=None, head=head))
    found = proposal.find({"workflow_run": {**RUN, "head_repository": None}})
    assert (found.number, found.author, found.same_repository) == (7, "ghost", False)
    assert "head" not in queries[0]


def test_the_report_of_an_older_head_does_not_replace_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each head has a run of its own, and the older one's may end last."""
    told: list[str] = []
    monkeypatch.setattr(
        github, "sticky_comment", lambda number, marker, body: told.append(body) or "u"
    )
    now = pull(7)
    plug(monkeypatch, now)
    found = proposal.find({"workflow_run": RUN})
    newest = publish.is_newest(found)
    assert publish.comment(found, "of this head", newest) == "u"  # the control
    now["head"] = {**now["head"], "sha": "b" * 40}
    newest = publish.is_newest(found)
    assert publish.comment(found, "of an older head", newest) == ""
    assert told == ["of this head"]


def test_a_conflict_with_main_says_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, monkeypatch) as here:
        base = here.commit("base")
        Path("dvc.lock").write_text("stages: {}\ntheirs: 1\n")
        theirs = here.commit("theirs")
        git("switch", "-q", "-c", "change", base)
        Path("dvc.lock").write_text("stages: {}\nours: 1\n")
        git("add", "--all")
        git("commit", "-qm", "ours")
        ours = git("rev-parse", "HEAD")
        git("push", "-q", "origin", f"{ours}:refs/pull/7/head")
        git("switch", "-q", "main")
        assert proposal.merge(7, ours, base) == git("rev-parse", f"{ours}^{{tree}}")
        with pytest.raises(Refused, match="`git rm dvc.lock`"):
            proposal.merge(7, ours, theirs)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    """Put a GitHub in memory in place of the real one."""
    made = GitHub()
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setattr(github, "api", made.api)
    return made


@pytest.mark.parametrize("author", [{"login": "mallory"}, None, {"login": "x[bot]"}])
def test_a_comment_with_the_marker_of_somebody_else_is_left_alone(
    hub: GitHub, author: Record | None
) -> None:
    """Its author could edit the verdict, or have it go where nobody looks."""
    theirs = {"body": f"{report.MARKER}\nReady to merge", "user": author}
    hub.add("comments/7", theirs)
    github.sticky_comment(7, report.MARKER, "blocked")
    github.sticky_comment(7, report.MARKER, "blocked still")
    first, own = hub.kept["comments/7"]
    assert first["body"].endswith("Ready to merge")
    assert own["user"]["login"] == github.BOT
    assert hub.made("PATCH", "issues/comments/2") == 1
    assert hub.made("PATCH", "issues/comments/1") == 0
