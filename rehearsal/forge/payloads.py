"""Parts of the payloads that events carry."""

from typing import Any

from . import git, shapes
from .state import Json, Person, Refusal, Repository, State
from .workflows import Workflow


def inputs(repo: Repository, declared: Json, body: Json) -> Json:
    """Check the inputs of a dispatch against the workflow's and fill in defaults."""
    values: Json = body.get("inputs") or {}
    if unknown := set(values) - set(declared):
        raise Refusal(422, f"Unexpected inputs provided: {sorted(unknown)}")
    inputs = {}
    for name, declaration in declared.items():
        rule = declaration or {}
        value = values.get(name, rule.get("default", ""))
        if rule.get("required") and value in ("", None):
            raise Refusal(422, f"Required input '{name}' not provided")
        choices = {
            "choice": rule.get("options") or [],
            "environment": list(repo.environments),
        }
        if value not in choices.get(str(rule.get("type")), [value]):
            raise Refusal(422, f"Provided value '{value}' for input '{name}' not in the list of allowed values")  # fmt: skip # noqa: E501
        inputs[name] = value
    return inputs


def cron(flow: Workflow) -> str:
    """Return the first line of a schedule."""
    lines: Any = flow.on["schedule"]
    return str(lines[0]["cron"])


def changed(repo: Repository, before: str, after: str) -> list[str]:
    """Return the paths that changed."""
    span = (before + after,) if before.endswith("...") else (before, after)
    if before == git.ZERO:
        return git.git(repo.path, "ls-tree", "-r", "--name-only", after).splitlines()
    return git.git(repo.path, "diff", "--name-only", *span, check=False).splitlines()


def push(
    state: State, repo: Repository, pusher: Person, moved: tuple[str, ...]
) -> Json:
    """Return the payload of a push."""
    ref, before, after = moved
    commit = shapes.commit(state, repo, after)
    forced = before != git.ZERO and not git.contains(repo.path, after, before)
    head = {
        "id": commit["sha"],
        "tree_id": commit["commit"]["tree"]["sha"],
        "message": commit["commit"]["message"],
        "timestamp": commit["commit"]["committer"]["date"],
        "url": commit["html_url"],
        "author": _signed(commit["commit"]["author"]),
        "committer": _signed(commit["commit"]["committer"]),
    }
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "created": before == git.ZERO,
        "deleted": False,
        "forced": forced,
        "base_ref": None,
        "head_commit": head,
        "commits": [head],
        "compare": shapes.page(state, repo.full_name, f"compare/{before}...{after}"),
        "repository": shapes.repository(state, repo),
        "pusher": {"name": pusher.login},
        "sender": shapes.person(state, pusher),
    }


def _signed(person: Json) -> Json:
    """Return who wrote a commit as payloads say it: without the time."""
    return {"name": person["name"], "email": person["email"]}
