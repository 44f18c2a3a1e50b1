"""Deployments and releases with their files."""

import hashlib

from . import api_actions, deployments, git, rules, shapes
from .routes import Reply, Request, Response, route
from .state import Json, Refusal

DEPLOY = "deployments"
STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


@route("GET", "deployments", f"{DEPLOY}:read", query="environment sha ref")
def list_deployments(request: Request) -> Reply:
    """List deployments, newest first: filters environment, sha, ref."""
    query = request.query
    return [
        deployments.public(d)
        for d in reversed(request.repo.deployments)
        if all(
            query.get(key, d[key]) == d[key] for key in ("environment", "sha", "ref")
        )
    ]


@route("POST", "deployments", f"{DEPLOY}:write", status=201)
def deploy(request: Request) -> Reply:
    """Make a deployment; checks of its commit that are not green refuse it.

    ``required_contexts``: [] asks for no check at all, as on GitHub.
    """
    (ref,), body = request.need("ref"), request.body
    repo, state = request.repo, request.state
    if not (sha := git.sha(repo.path, ref)):
        raise Refusal(422, f"No ref found for: {ref}")
    names = body.get("required_contexts")
    if names is None:
        names = {s["context"] for s in repo.statuses if s["sha"] == sha}
        names |= {c["name"] for c in repo.checks if c["head_sha"] == sha}
    bad = [n for n in names if rules.check(repo, sha, {"context": n}) != "success"]
    if bad:
        raise Refusal(409, f"Conflict: Commit status checks failed for {ref}: {bad}")
    by = request.token.person
    deployment = deployments.public(deployments.make(state, repo, by, sha, body))
    number = deployment["id"]
    state.environment(repo, deployment["environment"])
    state.record(
        "deployment", repository=repo.full_name, id=number, sha=sha, ref=ref,
        environment=deployment["environment"], description=deployment["description"],
    )  # fmt: skip
    return deployment


@route("GET", "deployments/{id}", f"{DEPLOY}:read")
def get_deployment(request: Request) -> Reply:
    """Return a deployment."""
    return deployments.public(request.find(request.repo.deployments))


@route("GET", "deployments/{id}/statuses", f"{DEPLOY}:read")
def list_statuses(request: Request) -> Reply:
    """List the statuses of a deployment, newest first."""
    return list(reversed(request.find(request.repo.deployments)["statuses"]))


@route("POST", "deployments/{id}/statuses", f"{DEPLOY}:write", status=201)
def set_status(request: Request) -> Reply:
    """Say how a deployment goes."""
    deployment, state = request.find(request.repo.deployments), request.state
    (outcome,) = request.need("state")
    if outcome not in STATES:
        raise Refusal(422, f"Validation Failed: {outcome} is not a state")
    by, body = request.token.person, request.body
    status = deployments.set_status(state, request.repo, by, deployment, body)
    state.record("deployment_status", id=deployment["id"],
                 environment=deployment["environment"],
                 state=outcome, description=status["description"],
                 by=request.token.person.login)  # fmt: skip
    return status


@route("POST", "releases", "contents:write", status=201)
def make_release(request: Request) -> Reply:
    """Make a release of a tag, which is made too when it is not there yet.

    A draft has no tag of its own yet, and there may be several for one tag.
    """
    (tag,), body = request.need("tag_name"), request.body
    repo, state = request.repo, request.state
    target = body.get("target_commitish") or repo.default_branch
    draft = bool(body.get("draft"))
    if not draft:
        _claim(request, tag, target)
    number = state.next_id()
    url = shapes.api(state, repo.full_name, "releases", number)
    release: Json = {
        "id": number,
        "tag_name": tag,
        "target_commitish": target,
        "name": body.get("name"),
        "body": body.get("body"),
        "draft": draft,
        "prerelease": bool(body.get("prerelease")),
        "created_at": state.now(),
        "published_at": None if draft else state.now(),
        "immutable": repo.immutable_releases and not draft,
        "author": shapes.person(state, request.token.person),
        "assets": [],
        "url": url,
        "assets_url": f"{url}/assets",
        "upload_url": f"https://uploads.github.com/repos/{repo.full_name}/releases/"
        f"{number}/assets{{?name,label}}",
        "html_url": shapes.page(state, repo.full_name, "releases/tag", tag),
    }
    repo.releases.append(release)
    _record(request, release)
    return release


def _claim(request: Request, tag: str, target: str) -> None:
    """Take a tag for a release that is published, and make it where it is missing.

    Raises:
        Refusal: the tag has a release, its target is unknown, or the token may not make
            a tag there.
    """
    repo = request.repo
    if any(r["tag_name"] == tag and not r["draft"] for r in repo.releases):
        raise Refusal(422, "Validation Failed: already_exists tag_name")
    if git.sha(repo.path, f"refs/tags/{tag}"):
        return
    if not (sha := git.sha(repo.path, target)):
        raise Refusal(422, "Validation Failed: target_commitish is invalid")
    other = git.other_workflows(repo.path, sha, repo.default_branch)
    if other and not rules.may_change_workflows(request.token):
        raise Refusal(403, "Resource not accessible by integration")
    git.git(repo.path, "update-ref", f"refs/tags/{tag}", sha)


def _record(request: Request, release: Json) -> None:
    """Write a release that people see to the journal."""
    if not release["draft"]:
        request.state.record(
            "release", repository=request.repo.full_name, tag=release["tag_name"],
            name=release["name"], body=release["body"],
        )  # fmt: skip


@route("PATCH", "releases/{id}", "contents:write")
def change_release(request: Request) -> Reply:
    """Change a release; ``draft: false`` publishes it, and there is no way back."""
    release, repo, body = (
        request.find(request.repo.releases),
        request.repo,
        request.body,
    )
    release |= {key: body[key] for key in ("name", "body") if key in body}
    if release["draft"] and body.get("draft") is False:
        _claim(request, release["tag_name"], release["target_commitish"])
        release |= {"draft": False, "published_at": request.state.now()}
        release["immutable"] = repo.immutable_releases
        _record(request, release)
    return release


@route("DELETE", "releases/{id}", "contents:write", status=204)
def delete_release(request: Request) -> Reply:
    """Delete a release, not its tag."""
    release = request.find(request.repo.releases)
    request.repo.releases = [r for r in request.repo.releases if r is not release]
    return Response(204)


@route("GET", "releases", "contents:read")
def list_releases(request: Request) -> Reply:
    """List releases, newest first; drafts for those who may write."""
    scopes, person = request.token.permissions, request.token.person
    level = "contents:write" in [f"{k}:{v}" for k, v in (scopes or {}).items()]
    if scopes is None:
        level = request.repo.role(person) in ("write", "admin")
    return [r for r in reversed(request.repo.releases) if level or not r["draft"]]


@route("GET", "releases/tags/{path}", "contents:read")
def get_release(request: Request) -> Reply:
    """Return the published release of a tag."""
    for release in request.repo.releases:
        if release["tag_name"] == request.args["path"] and not release["draft"]:
            return release
    raise Refusal(404, "Not Found")


@route("GET", "releases/{id}/assets", "contents:read")
def list_assets(request: Request) -> Reply:
    """List the files of a release."""
    assets: list[Json] = request.find(request.repo.releases)["assets"]
    return assets


@route("POST", "releases/{id}/assets", "contents:write", status=201, query="name label")
def upload(request: Request) -> Reply:
    """Add a file to a release (uploads.github.com); a name is used once."""
    state, repo, name = request.state, request.repo, request.query.get("name", "")
    release = request.find(repo.releases)
    _changeable(release)
    if not name or any(a["name"] == name for a in release["assets"]):
        raise Refusal(422, f"Validation Failed: already_exists name {name}")
    number = state.next_id()
    path = state.home / "assets" / str(number)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(request.data)
    tag = release["tag_name"]
    asset: Json = {
        "id": number,
        "name": name,
        "label": request.query.get("label"),
        "state": "uploaded",
        "content_type": request.headers.get("content-type", ""),
        "size": len(request.data),
        "digest": f"sha256:{hashlib.sha256(request.data).hexdigest()}",
        "download_count": 0,
        "created_at": state.now(),
        "updated_at": state.now(),
        "uploader": shapes.person(state, request.token.person),
        "url": shapes.api(state, repo.full_name, "releases/assets", number),
        "browser_download_url": shapes.page(
            state, repo.full_name, "releases/download", tag, name
        ),
    }
    release["assets"].append(asset)
    return asset


def _changeable(release: Json) -> None:
    """Refuse to change the files of a release that is immutable."""
    if release["immutable"]:
        raise Refusal(422, "Cannot upload assets to an immutable release.")


@route("GET", "releases/assets/{id}", "contents:read")
def get_asset(request: Request) -> Reply:
    """Return a file of a release: its description, or where its bytes are."""
    asset = request.find(a for r in request.repo.releases for a in r["assets"])
    if "application/octet-stream" not in request.headers.get("accept", ""):
        return asset
    path = request.state.home / "assets" / str(asset["id"])
    return api_actions.elsewhere(request.state, path)


@route("DELETE", "releases/assets/{id}", "contents:write", status=204)
def delete_asset(request: Request) -> Reply:
    """Delete a file of a release."""
    asset = request.find(a for r in request.repo.releases for a in r["assets"])
    for release in request.repo.releases:
        if asset in release["assets"]:
            _changeable(release)
        release["assets"] = [a for a in release["assets"] if a is not asset]
    return Response(204)
