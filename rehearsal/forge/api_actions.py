"""Workflow runs, artifacts, approvals, dispatches."""

import hashlib
import secrets
from pathlib import Path

from . import events, shapes
from .routes import Reply, Request, Response, route
from .state import Json, Refusal, Repository, Run, State

READ, WRITE = "actions:read", "actions:write"
FILTERS = "event head_sha branch status actor"


def _run(request: Request) -> Run:
    """Return the run of the path."""
    run = request.state.run(request.number("id"))
    if run.repository != request.repo.full_name:
        raise Refusal(404, "Not Found")
    return run


@route("GET", "actions/runs", READ, query=FILTERS)
def list_runs(request: Request) -> Json:
    """List runs, newest first: filters event, head_sha, branch, status, actor."""
    query = request.query
    runs = []
    for run in reversed(request.state.runs):
        facts = {"event": run.event, "head_sha": run.head_sha, "actor": run.actor.login}
        facts["branch"] = run.head_branch
        states = (run.status, run.conclusion)
        if (
            run.repository == request.repo.full_name
            and all(query.get(key, value) == value for key, value in facts.items())
            and query.get("status", run.status) in states
        ):
            runs.append(shapes.run(request.state, run))
    return {"total_count": len(runs), "workflow_runs": runs}


@route("GET", "actions/workflows/{file}/runs", READ, query=FILTERS)
def list_workflow_runs(request: Request) -> Reply:
    """List the runs of one workflow."""
    all_runs = list_runs(request)["workflow_runs"]
    runs = [r for r in all_runs if r["path"].endswith(f"/{request.args['file']}")]
    return {"total_count": len(runs), "workflow_runs": runs}


@route("GET", "actions/runs/{id}", READ)
def get_run(request: Request) -> Reply:
    """Return a run."""
    return shapes.run(request.state, _run(request))


@route("POST", "actions/runs/{id}/approve", WRITE, status=201)
def approve_run(request: Request) -> Reply:
    """Let a held run start: a person's decision."""
    run = _run(request)
    if request.token.permissions is not None:
        raise Refusal(403, "Resource not accessible by integration")
    if run.conclusion != "action_required":
        raise Refusal(403, "This run is not waiting for approval")
    by = request.token.person.login
    request.state.record("run_approved", id=run.id, by=by)
    request.queue.release(run)
    return {}


@route("POST", "actions/runs/{id}/cancel", WRITE, status=202)
def cancel_run(request: Request) -> Reply:
    """Cancel a run."""
    request.queue.cancel(_run(request))
    return {}


@route("GET", "actions/runs/{id}/pending_deployments", READ)
def list_pending(request: Request) -> Reply:
    """List the environments that a run waits for."""
    repo, me = request.repo, request.token.person
    return [
        {
            "environment": short(request, repo.environments[name]),
            "wait_timer": 0,
            "wait_timer_started_at": None,
            "current_user_can_approve": _may_review(repo, me.id, name),
            "reviewers": reviewers_of(request, repo.environments[name]),
        }
        for name in _run(request).waiting
    ]


@route("POST", "actions/runs/{id}/pending_deployments", "deployments:write", "read")
def review_pending(request: Request) -> Reply:
    """Approve or reject environments, as one of their reviewers."""
    run, repo, me = _run(request), request.repo, request.token.person
    ids, verdict, comment = request.need("environment_ids", "state", "comment")
    names = [name for name in run.waiting if repo.environments[name]["id"] in ids]
    if not names:
        raise Refusal(422, "Could not find any pending deployments to review")
    for name in names:
        self_review = repo.environments[name]["prevent_self_review"]
        if not _may_review(repo, me.id, name) or (self_review and me is run.actor):
            raise Refusal(403, f"{me.login} may not review the environment {name}")
    run.approvals.append({
        "environments": [short(request, repo.environments[name]) for name in names],
        "state": verdict, "user": shapes.person(request.state, me), "comment": comment,
    })  # fmt: skip
    request.state.record("approval", id=run.id, environments=names, state=verdict,
                         by=me.login, comment=comment)  # fmt: skip
    request.queue.review(run, names, verdict == "approved")
    return []


@route("GET", "actions/runs/{id}/approvals", READ)
def list_approvals(request: Request) -> Reply:
    """List who decided what about a run."""
    return _run(request).approvals


@route("POST", "actions/workflows/{file}/dispatches", WRITE, status=204)
def dispatch(request: Request) -> Reply:
    """Start a workflow by hand; a run's own token may (GitHub's exception)."""
    request.need("ref")
    file = request.args["file"]
    events.dispatch(
        request.state, request.queue, request.repo, file, request.body, request.token
    )
    return Response(204)


def artifacts(request: Request, run: Run) -> list[Json]:
    """Return the artifacts of a run, numbered when they are first seen."""
    state, listing = request.state, []
    head = state.repositories.get(run.head_repository)
    folder = state.home / "artifacts" / str(run.id)
    for path in sorted(folder.glob("*.zip")):
        known = state.blobs.items()
        secret_of = {p: key for key, p in known if key.startswith("artifact-")}
        number = secret_of.get(path) or f"artifact-{state.next_id()}"
        state.blobs[number] = path
        id = int(number.split("-")[1])
        url = shapes.api(state, run.repository, "actions/artifacts", id)
        listing.append({
            "id": id, "name": path.stem, "size_in_bytes": path.stat().st_size,
            "url": url, "archive_download_url": f"{url}/zip", "expired": False,
            "digest": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
            "created_at": run.created_at, "updated_at": run.created_at,
            "expires_at": None,
            "workflow_run": {
                "id": run.id, "head_sha": run.head_sha, "head_branch": run.head_branch,
                "repository_id": request.repo.id,
                "head_repository_id": head.id if head else 0,
            },
        })  # fmt: skip
    return listing


@route("GET", "actions/runs/{id}/artifacts", READ, query="name")
def list_artifacts(request: Request) -> Reply:
    """List the artifacts of a run: filter name."""
    listing = artifacts(request, _run(request))
    name = request.query.get("name")
    chosen = [a for a in listing if name in (None, a["name"])]
    return {"total_count": len(chosen), "artifacts": chosen}


@route("GET", "actions/artifacts/{id}/zip", READ)
def download(request: Request) -> Reply:
    """Redirect to an address that holds the bytes for a short time."""
    state, id = request.state, request.number("id")
    path = state.blobs.get(f"artifact-{id}")
    owners = {str(r.id) for r in state.runs if r.repository == request.repo.full_name}
    if path is None or path.parent.name not in owners:
        raise Refusal(404, "Not Found")
    return elsewhere(state, path)


def elsewhere(state: State, path: Path) -> Response:
    """Redirect to the storage that holds a file, by an address for one download."""
    secret = secrets.token_hex(20)
    state.blobs[secret] = path
    return Response(302, location=f"{state.url}/_blobs/{secret}")


def blob(blobs: dict[str, Path], secret: str, headers: dict[str, str]) -> Response:
    """Hand out the bytes of one short-lived address, once.

    The storage is another service: it refuses a token that is sent on to it.
    """
    if "authorization" in headers:
        return Response(400, {"message": "InvalidAuthenticationInfo"})
    path = None if secret.startswith("artifact-") else blobs.pop(secret, None)
    if path is None:
        return Response(404, {"message": "Not Found"})
    kind = "zip" if path.suffix == ".zip" else "octet-stream"
    return Response(200, path.read_bytes(), f"application/{kind}")


def _may_review(repo: Repository, person: int, name: str) -> bool:
    """Return whether a person is a reviewer of an environment."""
    return any(r["id"] == person for r in repo.environments[name]["reviewers"])


def reviewers_of(request: Request, environment: Json) -> list[Json]:
    """Return the reviewers of an environment."""
    people = {p.id: p for p in request.state.people.values()}
    return [
        {"type": "User", "reviewer": shapes.person(request.state, people[r["id"]])}
        for r in environment["reviewers"]
        if r["id"] in people  # who left reviews nothing
    ]


def short(request: Request, environment: Json) -> Json:
    """Return an environment as runs name it."""
    name, full = environment["name"], request.repo.full_name
    return {
        "id": environment["id"],
        "name": name,
        "url": shapes.api(request.state, full, "environments", name),
        "html_url": shapes.page(request.state, full, "deployments", name),
    }
