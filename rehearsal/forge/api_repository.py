"""Repositories, people, commits, statuses, contents, rulesets."""

import base64

from . import events, git, owners, rules, shapes
from .routes import Reply, Request, route
from .state import Json, Person, Refusal, Repository, Update

WORST = ("error", "failure", "pending")


@route("GET", "/repos/{owner}/{repo}")
def get_repository(request: Request) -> Reply:
    """Return a repository."""
    return shapes.repository(request.state, request.repo, full=True)


@route("GET", "/meta")
def get_meta(request: Request) -> Reply:
    """Return what the service says of itself; a server of one's own adds a version."""
    return {"verifiable_password_authentication": False}


@route("GET", "/user")
def get_me(request: Request) -> Reply:
    """Return whose token this is."""
    return shapes.person(request.state, request.token.person)


@route("POST", "/app/installations/{id}/access_tokens", "app", status=201)
def app_token(request: Request) -> Reply:
    """Exchange an app's private key (GitHub: a JWT signed with it) for a token."""
    app = request.state.apps[request.token.value]
    asked = request.body.get("permissions") or {}  # as the API spells them
    granted = {k.replace("_", "-"): v for k, v in asked.items()} or app["permissions"]
    if any(app["permissions"].get(k) not in (v, "write") for k, v in granted.items()):
        raise Refusal(422, "The permissions requested are not granted to this app.")
    token = request.state.mint(
        request.token.person,
        "ghs",
        permissions={"metadata": "read", **granted},
        repository=app["repository"],
        app=request.token.app,
    )
    told = {k.replace("-", "_"): v for k, v in granted.items()}
    return {"token": token.value, "permissions": told}


@route("GET", "/users/{login}")
def get_user(request: Request) -> Reply:
    """Return an account."""
    return shapes.person(request.state, _person(request))


@route("POST", "forks", "administration:write", "read", status=202)
def fork(request: Request) -> Reply:
    """Copy a repository under the caller's name; its workflows stay off."""
    state, repo, me = request.state, request.repo, request.token.person
    name = request.body.get("name") or repo.name
    full = f"{me.login}/{name}"
    if full not in state.repositories:
        path = state.home / "git" / f"{full}.git"
        copy = Repository(
            state.next_id(), me, name, path, repo.private, repo.default_branch,
            repo.full_name,
        )  # fmt: skip
        git.create(path, repo.path)
        state.repositories[full] = copy
        state.record("fork", repository=repo.full_name, fork=full, by=me.login)
    return shapes.repository(state, state.repositories[full], full=True)


@route("GET", "collaborators/{login}/permission")
def get_role(request: Request) -> Reply:
    """Return what somebody may do in a repository."""
    person = _person(request)
    role = request.repo.role(person)
    user = shapes.person(request.state, person)
    return {"permission": role, "role_name": role, "user": user}


@route("GET", "collaborators", "", "write")
def list_collaborators(request: Request) -> Reply:
    """List everybody with a role in this repository."""
    state, repo, collaborators = request.state, request.repo, []
    for person in state.people.values():
        own = person.admin or person is repo.owner or person.login in repo.roles
        role = repo.role(person)
        if own and person.type == "User" and role != "none":
            rights = {
                "pull": True,
                "push": role in ("write", "admin"),
                "admin": role == "admin",
            }
            user = shapes.person(state, person)
            collaborators.append(user | {"permissions": rights, "role_name": role})
    return collaborators


@route("GET", "codeowners/errors", "contents:read", query="ref")
def list_codeowners_errors(request: Request) -> Reply:
    """Return what is wrong with the CODEOWNERS file."""
    ref = request.query.get("ref", request.repo.default_branch)
    return {"errors": owners.errors(request.repo, request.state.people, ref)}


@route("GET", "commits/{ref}", "contents:read")
def get_commit(request: Request) -> Reply:
    """Return a commit by branch, tag or hash."""
    return shapes.commit(request.state, request.repo, _sha(request))


@route("POST", "statuses/{ref}", "statuses:write", status=201)
def set_status(request: Request) -> Reply:
    """Set a commit status: error, failure, pending or success."""
    sha, (outcome,), body = _sha(request), request.need("state"), request.body
    if outcome not in (*WORST, "success"):
        raise Refusal(422, f"Validation Failed: {outcome} is not a state")
    if len(body.get("description") or "") > 140:
        raise Refusal(
            422, "Validation Failed: description is too long (maximum is 140)"
        )
    state, repo = request.state, request.repo
    status: Json = {
        "id": state.next_id(),
        "state": outcome,
        "context": body.get("context") or "default",
        "description": body.get("description"),
        "target_url": body.get("target_url"),
        "url": shapes.api(state, repo.full_name, "statuses", sha),
        "created_at": state.now(),
        "updated_at": state.now(),
        "creator": shapes.person(state, request.token.person),
    }
    repo.statuses.append(status | {"sha": sha, "app": request.token.app})
    state.record("status", repository=repo.full_name, sha=sha,
                 context=status["context"], state=outcome,
                 description=status["description"],
                 by=request.token.person.login)  # fmt: skip
    return status


@route("GET", "commits/{ref}/statuses", "statuses:read")
def list_statuses(request: Request) -> list[Json]:
    """List the statuses of a commit, newest first."""
    sha = _sha(request)
    return [_public(s) for s in reversed(request.repo.statuses) if s["sha"] == sha]


@route("GET", "commits/{ref}/status", "statuses:read")
def combined_status(request: Request) -> Reply:
    """Return the newest status of each context, and the worst of them."""
    latest = {s["context"]: s for s in reversed(list_statuses(request))}
    states = {s["state"] for s in latest.values()}
    worst = "success" if states == {"success"} else "pending"
    if states & {"error", "failure"}:
        worst = "failure"
    statuses = [{k: v for k, v in s.items() if k != "creator"} for s in latest.values()]
    return {
        "state": worst,
        "sha": _sha(request),
        "total_count": len(statuses),
        "statuses": statuses,
        "url": shapes.api(request.state, request.repo.full_name, "status"),
    }


@route("GET", "contents/{path}", "contents:read", query="ref")
def get_content(request: Request) -> Reply:
    """Return a file at a ref, in base64, with the hash of its blob."""
    ref = request.query.get("ref", request.repo.default_branch)
    path, name = request.repo.path, request.args["path"]
    sha = git.sha(path, ref)
    content = git.show(path, sha, name) if sha else None
    if content is None:
        raise Refusal(404, "Not Found")
    return _file(request, sha, name, content) | {
        "encoding": "base64",
        "content": base64.encodebytes(content).decode(),
    }


@route("PUT", "contents/{path}", "contents:write")
def put_content(request: Request) -> Reply:
    """Commit one file to a branch; ``sha`` must be the blob that it replaces."""
    message, encoded = request.need("message", "content")
    repo, name, token = request.repo, request.args["path"], request.token
    branch = request.body.get("branch", repo.default_branch)
    ref = f"refs/heads/{branch}"
    if not (parent := git.sha(repo.path, ref)):
        raise Refusal(404, f"Branch {branch} not found")
    replaced = git.git(
        repo.path, "rev-parse", "-q", "--verify", f"{parent}:{name}", check=False
    )
    if replaced and not request.body.get("sha"):
        raise Refusal(422, 'Invalid request. "sha" wasn\'t supplied.')
    if request.body.get("sha", "") != replaced:
        raise Refusal(409, f"{name} does not match {request.body.get('sha')}")
    written = git.write_file(
        repo.path, parent, name, base64.b64decode(encoded), token.person, message
    )
    _guard(request, Update(parent, written, ref), name)
    git.git(repo.path, "update-ref", ref, written, parent)
    events.push(request.state, request.queue, repo, token, (ref, parent, written))
    content = _file(request, written, name, base64.b64decode(encoded))
    commit = shapes.commit(request.state, repo, written)
    inner = commit["commit"] | {"sha": written, "html_url": commit["html_url"]}
    return {"content": content, "commit": inner}


def _guard(request: Request, update: Update, name: str) -> None:
    """Hold a commit made through the API to the rules of a push."""
    if name.startswith(".github/workflows/"):
        if not rules.may_change_workflows(request.token):
            raise Refusal(403, "Resource not accessible by integration")
    if sentence := rules.refuse_push(request.repo, request.token, update):
        raise Refusal(409, sentence)


def _file(request: Request, commit: str, name: str, content: bytes) -> Json:
    """Return what describes a file."""
    full = request.repo.full_name
    return {
        "type": "file",
        "name": name.split("/")[-1],
        "path": name,
        "size": len(content),
        "sha": git.git(request.repo.path, "rev-parse", f"{commit}:{name}"),
        "url": shapes.api(request.state, full, "contents", name),
        "html_url": shapes.page(request.state, full, "blob", commit, name),
    }


def _person(request: Request) -> Person:
    """Return the account of the path."""
    if request.args["login"] not in request.state.people:
        raise Refusal(404, "Not Found")
    return request.state.people[request.args["login"]]


def _sha(request: Request) -> str:
    """Return the commit that the path names."""
    sha = git.sha(request.repo.path, request.args["ref"])
    if not sha:
        raise Refusal(422, f"No commit found for SHA: {request.args['ref']}")
    return sha


def _public(status: Json) -> Json:
    """Return a status without the forge's own notes."""
    return {k: v for k, v in status.items() if k not in ("sha", "app")}
