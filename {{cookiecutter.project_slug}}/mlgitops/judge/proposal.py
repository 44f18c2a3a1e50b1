"""Finds what is to be judged on GitHub: the pull request, its run, its artifact."""

from dataclasses import dataclass
from typing import Any

from mlgitops import git, github, train_run
from mlgitops.judge.artifact import check_size
from mlgitops.judge.verdict import ValidationError
from mlgitops.judgement import Refused

Json = dict[str, Any]  # what GitHub's API or an event says


class NothingToJudge(Exception):
    """There is nothing to judge, and why; nobody made a mistake."""


@dataclass(frozen=True)
class Proposal:
    """An open pull request and the newest run of `train` for its head."""

    number: int
    author: str
    head_sha: str
    branch: str
    same_repository: bool
    run: Json


def find(event: Json) -> Proposal:
    """Return the proposal that an event is about.

    A run names its pull request only by head owner, branch and commit: the event's
    own list is empty for forks.

    Raises:
        NothingToJudge: it was closed or pushed to since, or its run has not ended.
        ValidationError: the event names no pull request.
    """
    if run := event.get("workflow_run"):
        query = {"state": "open"}
        owner = (run.get("head_repository") or {}).get("owner") or {}
        if login := owner.get("login"):  # nobody's, if the fork was deleted
            query["head"] = f"{login}:{run['head_branch']}"
        for pull in github.pages("pulls", query):
            if pull["head"]["sha"] == run["head_sha"] and github.to_default(pull):
                return _proposal(pull, run)
        raise NothingToJudge(
            "no open pull request to the default branch has its head at "
            f"{run['head_sha']}"
        )
    number = str((event.get("inputs") or {}).get("pull_request") or "")
    if not number.isdecimal():
        raise ValidationError("the input pull_request must be a number, such as 7")
    pull = github.api(f"pulls/{number}")
    if pull["state"] != "open":
        raise NothingToJudge(f"pull request {number} is not open")
    if not github.to_default(pull):
        raise NothingToJudge(
            f"pull request {number} is to {pull['base']['ref']}, and only what is "
            "merged to the default branch is deployed"
        )
    run = train_run.newest(pull["head"]["sha"])
    if run is None:
        raise NothingToJudge(f"`train` has not run for {pull['head']['sha']} yet")
    return _proposal(pull, run)


def _proposal(pull: Json, run: Json) -> Proposal:
    """Keep what is needed of a pull request and a run that has ended."""
    if run["status"] != "completed":
        raise NothingToJudge("`train` has not ended yet: validate starts when it has")
    if run["conclusion"] == "action_required":
        raise NothingToJudge("`train` waits for a maintainer to approve the run")
    source = (pull["head"].get("repo") or {}).get("full_name")
    return Proposal(
        number=int(pull["number"]),
        author=str((pull.get("user") or {}).get("login") or "ghost"),
        head_sha=str(pull["head"]["sha"]),
        branch=str(pull["head"]["ref"]),
        same_repository=source == pull["base"]["repo"]["full_name"],
        run=run,
    )


def has_newer_head(proposed: Proposal) -> bool:
    """Tell whether somebody pushed to a pull request since its run of `train`."""
    pull = github.api(f"pulls/{proposed.number}")
    return bool(pull["head"]["sha"] != proposed.head_sha)


def download(run_id: int, limit: int) -> bytes:
    """Return the zip that the run uploaded, at most ``limit`` bytes.

    Raises:
        Refused: there is none, or it is too big.
    """
    newest = train_run.artifact(run_id)
    if newest is None:
        reason = (
            f"the run of `train` has no artifact {train_run.ARTIFACT}: run it again"
        )
        raise Refused("artifact", reason)
    check_size("the zip file", int(newest["size_in_bytes"]), limit)
    return train_run.download(newest["id"])


def fetch_head(number: int) -> None:
    """Fetch the head of a pull request into FETCH_HEAD."""
    spec = f"refs/pull/{number}/head"
    git.remote_run("fetch", "-q", "--no-tags", "origin", spec)


def merge(number: int, head: str, base: str) -> str:
    """Return the tree that merging the head into the base gives, made by git here.

    Raises:
        Refused: the base is not main's, or the two conflict.
        NothingToJudge: the pull request has another head now.
    """
    fetch_head(number)
    if git.run("rev-parse", "FETCH_HEAD") != head:
        raise NothingToJudge(f"pull request {number} was pushed to since {head}")
    try:
        git.run("merge-base", "--is-ancestor", base, "HEAD")
    except git.GitError as error:
        reason = (
            "it was built on a commit that main does not contain: update the branch"
        )
        raise Refused("merge", reason) from error
    try:
        return git.run("merge-tree", "--write-tree", base, head).splitlines()[0]
    except git.GitError as error:
        reason = (
            "it conflicts with main: type `git merge origin/main` and resolve the "
            "conflicts; one in dvc.lock ends with `git rm dvc.lock`, which nothing "
            "needs in git"
        )
        raise Refused("merge", reason) from error
