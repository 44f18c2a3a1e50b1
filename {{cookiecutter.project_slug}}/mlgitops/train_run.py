"""The runs of the workflow `train` on GitHub, and the artifact of one."""

from typing import Any

from mlgitops import github

WORKFLOW = ".github/workflows/train.yml"
ARTIFACT = "challenger"


def newest(commit: str) -> dict[str, Any] | None:
    """Return the newest run for the head of a pull request, or None."""
    fields = {"event": "pull_request", "head_sha": commit}
    runs = github.entries("actions/runs", "workflow_runs", fields)
    runs = [run for run in runs if str(run["path"]).split("@")[0] == WORKFLOW]
    return max(runs, key=lambda run: int(run["id"]), default=None)


def artifact(run_id: int) -> dict[str, Any] | None:
    """Return the newest artifact of a run that has not expired, or None."""
    artifacts = github.entries(f"actions/runs/{run_id}/artifacts", "artifacts")
    named = [a for a in artifacts if a["name"] == ARTIFACT and not a["expired"]]
    return max(named, key=lambda artifact: int(artifact["id"]), default=None)


def download(artifact_id: int) -> bytes:
    """Return the zip of an artifact."""
    return bytes(github.api(f"actions/artifacts/{artifact_id}/zip", raw=True))
