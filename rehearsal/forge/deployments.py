"""Deployments: those made by the API, and GitHub's own.

GitHub makes one for each job that names an environment. It stands among the others of
that environment, and a success of either kind makes the ones before inactive.
"""

from . import shapes
from .state import Json, Person, Repository, Run, State


def make(state: State, repo: Repository, by: Person, sha: str, fields: Json) -> Json:
    """Keep a new deployment of a commit and return it."""
    number, environment = state.next_id(), fields.get("environment", "production")
    url = shapes.api(state, repo.full_name, "deployments", number)
    production = fields.get("production_environment", environment == "production")
    deployment: Json = {
        "id": number,
        "sha": sha,
        "ref": fields["ref"],
        "task": fields.get("task", "deploy"),
        "payload": fields.get("payload") or {},
        "environment": environment,
        "description": fields.get("description"),
        "transient_environment": bool(fields.get("transient_environment")),
        "production_environment": bool(production),
        "creator": shapes.person(state, by),
        "created_at": state.now(),
        "updated_at": state.now(),
        "url": url,
        "statuses_url": f"{url}/statuses",
        "repository_url": shapes.api(state, repo.full_name),
    }
    repo.deployments.append(deployment | {"statuses": []})
    return repo.deployments[-1]


def public(deployment: Json) -> Json:
    """Return a deployment without its statuses, which have a route of their own."""
    return {k: v for k, v in deployment.items() if k != "statuses"}


def set_status(
    state: State, repo: Repository, by: Person, deployment: Json, fields: Json
) -> Json:
    """Add a status; a success makes earlier ones of the environment inactive.

    GitHub documents that as for those that are neither transient nor of production,
    and does not say what counts as earlier: here, all others.
    """
    status = _add(state, by, deployment, fields)
    if status["state"] == "success" and fields.get("auto_inactive", True):
        for other in repo.deployments:
            if (
                other is not deployment
                and other["environment"] == deployment["environment"]
                and not other["transient_environment"]
                and not other["production_environment"]
                and other["statuses"]
                and other["statuses"][-1]["state"] == "success"
            ):
                _add(state, by, other, {"state": "inactive"})
    return status


def _add(state: State, by: Person, deployment: Json, fields: Json) -> Json:
    """Keep a status of a deployment and return it."""
    status: Json = {
        "id": state.next_id(),
        "state": fields["state"],
        "description": fields.get("description") or "",
        "environment": deployment["environment"],
        "environment_url": fields.get("environment_url") or "",
        "log_url": fields.get("log_url") or "",
        "target_url": fields.get("log_url") or "",
        "creator": shapes.person(state, by),
        "created_at": state.now(),
        "updated_at": state.now(),
        "deployment_url": deployment["url"],
        "repository_url": deployment["repository_url"],
        "url": f"{deployment['statuses_url']}/{state.next_id()}",
    }
    deployment["statuses"].append(status)
    return status


def of_job(state: State, run: Run, job: str, environment: str, outcome: str) -> None:
    """Say how GitHub's own deployment of a job goes; the first time, make it.

    A job that turns out to be skipped has none, and nor has one without an environment.
    """
    repo = state.repositories[run.repository]
    bot = state.person("github-actions[bot]", "Bot")
    if not environment or repo.lacks("pro"):  # a plan without environments
        return
    if outcome == "skipped":
        if skipped := run.deployments.pop(job, None):
            repo.deployments = [d for d in repo.deployments if d is not skipped]
        return
    state.environment(repo, environment)
    if job not in run.deployments:
        fields = {"ref": run.ref.split("/", 2)[2], "environment": environment}
        run.deployments[job] = make(state, repo, bot, run.sha, fields)
    log = shapes.page(state, run.repository, "actions/runs", run.id)
    words = {"cancelled": "inactive"}
    status = {"state": words.get(outcome, outcome), "log_url": log}
    set_status(state, repo, bot, run.deployments[job], status)
    state.record("job_deployment", run=run.id, job=job, environment=environment,
                 state=status["state"])  # fmt: skip
