"""Issues, comments and labels (a pull request is an issue too)."""

from typing import Any

from . import shapes
from .routes import Reply, Request, Response, route
from .state import Issue, Json, Refusal

READ = "issues:read|pull-requests:read"
WRITE = "issues:write|pull-requests:write"


def _issue(request: Request) -> Issue:
    """Return the issue or pull request of the path; check the scope that it needs."""
    issue = request.repo.issues.get(request.number())
    if issue is None:
        raise Refusal(404, "Not Found")
    scopes = request.token.permissions
    if scopes is not None and not issue.pull and "issues" not in scopes:
        raise Refusal(403, "Resource not accessible by integration")
    return issue


@route("GET", "issues", "issues:read", query="state labels creator")
def list_issues(request: Request) -> Reply:
    """List issues and pull requests: filters state, labels, creator."""
    state = request.query.get("state", "open")
    labels = set(filter(None, request.query.get("labels", "").split(",")))
    creator = request.query.get("creator")
    return [
        shapes.issue(request.state, request.repo, issue)
        for issue in reversed(request.repo.issues.values())
        if state in (issue.state, "all")
        and labels <= set(issue.labels)
        and creator in (None, issue.user.login)
    ]


@route("POST", "issues", "issues:write", "read", status=201)
def open_issue(request: Request) -> Reply:
    """Open an issue."""
    (title,), repo, state = request.need("title"), request.repo, request.state
    number = len(repo.issues) + 1
    issue = Issue(
        state.next_id(), number, title, request.body.get("body") or "",
        request.token.person, state.now(),
    )  # fmt: skip
    repo.issues[number] = issue
    issue.labels = _existing_labels(request, request.body.get("labels", []))
    _record(request, "issue", issue)
    return shapes.issue(state, repo, issue)


@route("GET", "issues/{n}", READ)
def get_issue(request: Request) -> Reply:
    """Return an issue."""
    return shapes.issue(request.state, request.repo, _issue(request))


@route("PATCH", "issues/{n}", WRITE, "read")
def change_issue(request: Request) -> Reply:
    """Change title, body, state or labels."""
    issue, body = _issue(request), request.body
    issue.title = body.get("title", issue.title)
    issue.body = body.get("body", issue.body)
    if "labels" in body:
        issue.labels = _existing_labels(request, body["labels"])
    if issue.pull is None and "state" in body:
        issue.state = body["state"]
        issue.closed_at = request.state.now() if issue.state == "closed" else None
    _record(request, "issue", issue)
    return shapes.issue(request.state, request.repo, issue)


@route("POST", "issues/{n}/labels", WRITE)
def add_labels(request: Request) -> Reply:
    """Add labels."""
    issue = _issue(request)
    added = _existing_labels(request, request.body.get("labels", []))
    issue.labels += [name for name in added if name not in issue.labels]
    _record(request, "labels", issue)
    return [shapes.label(request.state, request.repo, name) for name in issue.labels]


@route("POST", "labels", WRITE, status=201)
def make_label(request: Request) -> Reply:
    """Make a label; one that exists is refused."""
    (name,), body = request.need("name"), request.body
    if name in request.repo.labels:
        raise Refusal(422, "Validation Failed: already_exists")
    request.repo.labels[name] = {
        "id": request.state.next_id(),
        "color": body.get("color", "ededed"),
        "description": body.get("description"),
    }
    return shapes.label(request.state, request.repo, name)


@route("GET", "labels", READ)
def list_labels(request: Request) -> Reply:
    """List labels."""
    names = request.repo.labels
    return [shapes.label(request.state, request.repo, name) for name in names]


@route("GET", "issues/{n}/comments", READ)
def list_comments(request: Request) -> Reply:
    """List comments."""
    return _issue(request).comments


@route("POST", "issues/{n}/comments", WRITE, "read", status=201)
def comment(request: Request) -> Reply:
    """Write a comment of at most 65,536 characters."""
    issue, state, repo = _issue(request), request.state, request.repo
    kind = "pull" if issue.pull else "issues"
    number = state.next_id()
    url = shapes.page(state, repo.full_name, kind, issue.number)
    posted: Json = {
        "id": number,
        "body": _body(request),
        "user": shapes.person(state, request.token.person),
        "created_at": state.now(),
        "updated_at": state.now(),
        "url": shapes.api(state, repo.full_name, "issues/comments", number),
        "html_url": f"{url}#issuecomment-{number}",
        "issue_url": shapes.api(state, repo.full_name, "issues", issue.number),
    }
    issue.comments.append(posted)
    _record_comment(request, issue, posted)
    return posted


@route("PATCH", "issues/comments/{id}", WRITE, "read")
def change_comment(request: Request) -> Reply:
    """Change a comment: one's own, or anyone's with write rights."""
    token = request.token
    for issue in request.repo.issues.values():
        for comment in issue.comments:
            if comment["id"] == request.number("id"):
                own = (comment["user"] or {}).get("login") == token.person.login
                role = request.repo.role(token.person)
                if not own and token.permissions is None and role == "read":
                    raise Refusal(403, "Must have write rights to Repository.")
                comment |= {"body": _body(request), "updated_at": request.state.now()}
                _record_comment(request, issue, comment)
                return comment
    raise Refusal(404, "Not Found")


@route("DELETE", "issues/comments/{id}", WRITE, status=204)
def delete_comment(request: Request) -> Reply:
    """Delete a comment."""
    for issue in request.repo.issues.values():
        kept = [c for c in issue.comments if c["id"] != request.number("id")]
        if len(kept) < len(issue.comments):
            issue.comments = kept
            return Response(204)
    raise Refusal(404, "Not Found")


def _body(request: Request) -> str:
    """Return the text of a comment."""
    (body,) = request.need("body")
    if len(body) > 65536:
        raise Refusal(422, "Validation Failed: body is too long (maximum is 65536)")
    return str(body)


def _existing_labels(request: Request, names: list[Any]) -> list[str]:
    """Return label names; a label that nobody made yet is made."""
    plain = [n["name"] if isinstance(n, dict) else str(n) for n in names]
    for name in plain:
        label = {"id": request.state.next_id(), "color": "ededed", "description": None}
        request.repo.labels.setdefault(name, label)
    return plain


def _record(request: Request, kind: str, issue: Issue) -> None:
    """Write an issue to the journal."""
    request.state.record(
        kind, repository=request.repo.full_name, number=issue.number, state=issue.state,
        title=issue.title, body=issue.body, labels=issue.labels,
        by=request.token.person.login,
    )  # fmt: skip


def _record_comment(request: Request, issue: Issue, comment: Json) -> None:
    """Write a comment to the journal."""
    request.state.record(
        "comment", repository=request.repo.full_name, number=issue.number,
        id=comment["id"], body=comment["body"], by=request.token.person.login,
    )  # fmt: skip
