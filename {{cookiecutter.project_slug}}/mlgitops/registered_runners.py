"""The runners of a team's own that are registered with GitHub."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlgitops import github


@dataclass(frozen=True)
class Runner:
    """A runner that is registered with the repository or its organisation."""

    name: str
    labels: frozenset[str]  # in lower case, as GitHub compares them
    online: bool
    ephemeral: bool  # it takes one job, and is registered no longer


def listed() -> tuple[list[Runner], github.GitHubError | None]:
    """Return the runners of repository and organisation, and why some are unknown.

    Only an administrator may look. One of the repository who is not one of the
    organisation sees the repository's runners alone.
    """
    owner = github.repo().split("/")[0]
    runners, refusal = list[Runner](), None
    for path in ("actions/runners", f"/orgs/{owner}/actions/runners"):
        try:
            runners += map(_runner, github.entries(path, "runners"))
        except github.GitHubError as error:
            if path.startswith("/") and error.status in (403, 404):
                continue  # or the repository is a person's
            refusal = error
    return runners, refusal


def _runner(entry: Mapping[str, Any]) -> Runner:
    """Return a runner as GitHub tells it."""
    return Runner(
        str(entry["name"]),
        frozenset(str(label["name"]).lower() for label in entry["labels"]),
        entry["status"] == "online",
        bool(entry.get("ephemeral")),
    )
