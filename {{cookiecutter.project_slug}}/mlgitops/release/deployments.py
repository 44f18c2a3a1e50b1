"""GitHub's deployments: they show people which version went where, and the outcome."""

import json
import os

from mlgitops import github
from mlgitops.release import Record, actor, by_dispatch, dispatched, environments
from mlgitops.release.registry import Version

FINAL = ("success", "failure", "error", "inactive")


@github.repeated
def find_or_open(
    environment: str, version: Version, server_sha256: str, action: str
) -> int:
    """Return the deployment of this version and server: an open one, or a new one."""
    payload = {
        "version": version.version,
        "manifest_sha256": version.manifest_sha256,
        "server_sha256": server_sha256,
        "action": action,
    }
    query = {"environment": environment, "sha": version.commit}
    for deployment in github.pages("deployments", query):
        recorded = deployment.get("payload")
        if isinstance(recorded, str) and recorded:
            recorded = json.loads(recorded)
        if recorded != payload or deployment["environment"] != environment:
            continue
        if reported(deployment["id"])["state"] not in FINAL:
            return int(deployment["id"])
    fields = {
        "ref": version.commit,
        "environment": environment,
        "description": f"{action} {version.tag}",
        "required_contexts": [],  # the ledger decides, not the checks of a commit
        "auto_merge": False,
        "production_environment": environment == environments.CHAMPION,
        "payload": payload,
    }
    return int(github.api("deployments", "POST", fields)["id"])


def reported(deployment: int | None) -> dict[str, str]:
    """Return the newest status of a deployment: its state and description.

    A success stays one: GitHub adds `inactive` to it when a later deployment of the
    environment succeeds, also one that it made itself for a job.
    """
    empty = {"state": "", "description": ""}
    if deployment is None:
        return empty
    statuses = github.pages(f"deployments/{deployment}/statuses")
    successes = [status for status in statuses if status["state"] == "success"]
    newest = max(statuses, key=lambda status: int(status["id"]), default=empty)
    if newest["state"] == "inactive" and successes:
        newest = successes[0]
    return {key: str(newest.get(key) or "") for key in empty}


@github.repeated
def close(deployment: int | None, state: str, description: str, url: str = "") -> None:
    """Give a deployment its final status, unless it has one; ``url`` is its target."""
    if reported(deployment)["state"] in FINAL:
        return
    fields = {
        "state": state,
        "description": github.brief(description),
        "log_url": github.run_url(),
        "environment_url": url if url.startswith("http") else "",
    }
    github.api(f"deployments/{deployment}/statuses", "POST", fields)


def login(review: Record) -> str:
    """Return who wrote a review; GitHub calls an account that is gone a ghost."""
    return str((review.get("user") or {}).get("login") or "ghost")


def approvers(environment: str, pull_request: int | None) -> list[str]:
    """Return who approved the pull request or this run's environment, sorted.

    Without a pull request, as in a rollback, only the run is asked.
    """
    reviews: dict[str, str] = {}
    if pull_request is not None:
        for review in github.pages(f"pulls/{pull_request}/reviews"):
            if review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
                reviews[login(review)] = review["state"]
    people = {name for name, state in reviews.items() if state == "APPROVED"}
    if run_id := os.environ.get("GITHUB_RUN_ID"):
        for approval in github.api(f"actions/runs/{run_id}/approvals") or []:
            names = [each["name"] for each in approval.get("environments") or []]
            if approval["state"] == "approved" and environment in names:
                people.add(login(approval))
    if environment == environments.CHAMPION and by_dispatch() and dispatched():
        people.add(actor())  # whoever started it approved it
    return sorted(people)
