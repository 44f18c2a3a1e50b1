"""Pull requests, reviews, merges; issues, comments, labels."""

from . import events, git, rules, shapes
from .routes import Reply, Request, route
from .state import ACTIONS_APP, Issue, Json, Pull, Refusal

PULLS = "pull-requests"


def _create(request: Request, title: str, body: str) -> Issue:
    """Return a new issue with the next number."""
    repo, number = request.repo, len(request.repo.issues) + 1
    issue = Issue(
        request.state.next_id(), number, title, body, request.token.person,
        request.state.now(),
    )  # fmt: skip
    repo.issues[number] = issue
    return issue


def _pull(request: Request) -> tuple[Issue, Pull]:
    """Return the pull request of the path."""
    issue = request.repo.pull(request.number())
    assert issue.pull
    return issue, issue.pull


@route("GET", "pulls", f"{PULLS}:read", query="state head base")
def list_pulls(request: Request) -> Reply:
    """List pull requests: filters state, head (owner:branch), base."""
    state, query = request.query.get("state", "open"), request.query
    pulls = []
    for issue, pull in request.repo.pulls():
        head = f"{pull.head_repo.split('/')[0]}:{pull.head_ref}"
        if (
            state in (issue.state, "all")
            and query.get("head", head) == head
            and query.get("base", pull.base_ref) == pull.base_ref
        ):
            pulls.append(shapes.pull(request.state, request.repo, issue))
    return pulls


@route("POST", "pulls", f"{PULLS}:write", "read", status=201)
def open_pull(request: Request) -> Reply:
    """Open a pull request from a branch here, or ``owner:branch`` of a fork."""
    state, repo, token = request.state, request.repo, request.token
    title, head, base = request.need("title", "head", "base")
    if token.app == ACTIONS_APP:
        if not repo.actions["can_approve_pull_request_reviews"]:
            sentence = (
                "GitHub Actions is not permitted to create or approve pull requests"
            )
            raise Refusal(403, f"{sentence}.")
    owner, _, branch = head.rpartition(":")
    names = [
        r.full_name for r in state.repositories.values()
        if r.owner.login == (owner or repo.owner.login)
        and repo.full_name in (r.full_name, r.parent)
    ]  # fmt: skip
    source = state.repositories.get(names[0]) if names else None
    if source is None or not git.sha(source.path, f"refs/heads/{branch}"):
        raise Refusal(422, f"Validation Failed: head {head} is invalid")
    if not git.sha(repo.path, f"refs/heads/{base}"):
        raise Refusal(422, f"Validation Failed: base {base} is invalid")
    key = (source.full_name, branch, base)
    for issue, pull in repo.pulls():
        if (
            issue.state == "open"
            and (pull.head_repo, pull.head_ref, pull.base_ref) == key
        ):
            raise Refusal(
                422, f"Validation Failed: A pull request already exists for {head}."
            )
    pull = Pull(base, source.full_name, branch, pushed_by=token.person.login)
    issue = _create(request, title, request.body.get("body") or "")
    issue.pull = pull
    events.refresh(state, repo, issue, pull)
    if not git.git(repo.path, "rev-list", "-n1", f"{pull.base_sha}..{pull.head_sha}"):
        del repo.issues[issue.number]
        raise Refusal(422, f"Validation Failed: No commits between {base} and {head}")
    events.pull_request(state, request.queue, repo, issue, "opened", token)
    return shapes.pull(state, repo, issue, full=True)


@route("GET", "pulls/{n}", f"{PULLS}:read")
def get_pull(request: Request) -> Reply:
    """Return a pull request."""
    issue, _ = _pull(request)
    return shapes.pull(request.state, request.repo, issue, full=True)


@route("PATCH", "pulls/{n}", f"{PULLS}:write", "read")
def change_pull(request: Request) -> Reply:
    """Change title or body; close, or open again."""
    issue, pull = _pull(request)
    _change(request, issue)
    if (new_state := request.body.get("state", issue.state)) != issue.state:
        if pull.merged_at:
            raise Refusal(422, "Validation Failed: state cannot be changed")
        issue.state = new_state
        issue.closed_at = request.state.now() if new_state == "closed" else None
        action = "closed" if new_state == "closed" else "reopened"
        if new_state == "open":
            events.refresh(request.state, request.repo, issue, pull)
        events.pull_request(
            request.state, request.queue, request.repo, issue, action, request.token
        )
    return shapes.pull(request.state, request.repo, issue, full=True)


@route("GET", "pulls/{n}/files", f"{PULLS}:read")
def list_files(request: Request) -> Reply:
    """List changed files."""
    _, pull = _pull(request)
    span = f"{pull.base_sha}...{pull.head_sha}"
    names = git.git(
        request.repo.path, "diff", "--name-status", "--no-renames", span
    ).splitlines()
    counts = git.git(
        request.repo.path, "diff", "--numstat", "--no-renames", span
    ).splitlines()
    status = {"A": "added", "M": "modified", "D": "removed", "T": "changed"}
    files = []
    for name, count in zip(names, counts, strict=True):
        letter, path = name.split("\t", 1)
        added, removed = (int(c) if c != "-" else 0 for c in count.split("\t")[:2])
        blob = f"{pull.base_sha if letter == 'D' else pull.head_sha}:{path}"
        files.append({
            "sha": git.git(request.repo.path, "rev-parse", blob),
            "filename": path, "status": status[letter],
            "additions": added, "deletions": removed, "changes": added + removed,
        })  # fmt: skip
    return files


@route("GET", "pulls/{n}/reviews", f"{PULLS}:read")
def list_reviews(request: Request) -> Reply:
    """List reviews."""
    notes = ("role", "login")  # the forge's own
    reviews = _pull(request)[1].reviews
    return [{k: v for k, v in r.items() if k not in notes} for r in reviews]


@route("POST", "pulls/{n}/reviews", f"{PULLS}:write", "read")
def review(request: Request) -> Reply:
    """Approve, request changes or comment; nobody approves their own work."""
    (issue, pull), token, state = _pull(request), request.token, request.state
    event = request.body.get("event", "COMMENT")
    if event == "APPROVE" and token.person is issue.user:
        raise Refusal(422, "Can not approve your own pull request")
    names = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED"}
    app = token.permissions is not None
    submitted = {
        "id": state.next_id(),
        "user": shapes.person(state, token.person),
        "body": request.body.get("body") or "",
        "state": names.get(event, "COMMENTED"),
        "commit_id": request.body.get("commit_id") or pull.head_sha,
        "submitted_at": state.now(),
        "html_url": shapes.page(state, request.repo.full_name, "pull", issue.number),
    }
    role = "read" if app else request.repo.role(token.person)
    pull.reviews.append(submitted | {"role": role, "login": token.person.login})
    state.record(
        "review", repository=request.repo.full_name, number=issue.number,
        state=submitted["state"], by=token.person.login, body=submitted["body"],
    )  # fmt: skip
    return submitted


@route("PUT", "pulls/{n}/merge", "contents:write")
def merge(request: Request) -> Reply:
    """Merge, squash or rebase, when the rules allow it."""
    (issue, pull), repo, state = _pull(request), request.repo, request.state
    base_ref, merger = f"refs/heads/{pull.base_ref}", request.token.person
    method = request.body.get("merge_method", "merge")
    if issue.state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if request.body.get("sha", pull.head_sha) != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    events.refresh(state, repo, issue, pull)
    sentence = rules.refuse_merge(repo, state.people, issue, pull)
    if pull.test_merge is None:
        sentence = "Pull Request has merge conflicts"
    if sentence:
        state.record("merge_refused", repository=repo.full_name, number=issue.number,
                     message=sentence, by=merger.login)  # fmt: skip
        raise Refusal(405, sentence)
    commit = _merge_commit(request, issue, pull, method)
    if not commit:
        raise Refusal(405, "This branch can't be rebased")
    before, pull.merge_sha, pull.merged_by = pull.base_sha, commit, merger
    issue.state, pull.merged_at = "closed", state.now()
    issue.closed_at = pull.merged_at
    git.git(repo.path, "update-ref", base_ref, commit, before)
    state.record("merged", repository=repo.full_name, number=issue.number, sha=commit,
                 by=merger.login, title=issue.title)  # fmt: skip
    events.push(state, request.queue, repo, request.token, (base_ref, before, commit))
    events.pull_request(state, request.queue, repo, issue, "closed", request.token)
    return {
        "sha": commit,
        "merged": True,
        "message": "Pull Request successfully merged",
    }


def _merge_commit(
    request: Request, issue: Issue, pull: Pull, method: str
) -> str | None:
    """Return the commit that the base branch moves to."""
    path, merger = request.repo.path, request.token.person
    owner, title = pull.head_repo.split("/")[0], issue.title
    first = f"Merge pull request #{issue.number} from {owner}/{pull.head_ref}"
    if method == "rebase":
        return git.rebase(path, pull.base_sha, pull.head_sha, merger)
    tree = str(git.commit(path, str(pull.test_merge))["tree"])
    if method == "squash":
        title = request.body.get("commit_title") or f"{issue.title} (#{issue.number})"
        message = f"{title}\n\n{request.body.get('commit_message', '')}".strip()
        return git.commit_tree(path, tree, [pull.base_sha], issue.user, message + "\n")
    head = request.body.get("commit_title") or first
    message = f"{head}\n\n{request.body.get('commit_message', title)}\n"
    return git.commit_tree(path, tree, [pull.base_sha, pull.head_sha], merger, message)


@route("GET", "commits/{ref}/pulls", f"{PULLS}:read")
def pulls_of_commit(request: Request) -> Reply:
    """List the pull requests that brought a commit, or would."""
    path, sha = request.repo.path, git.sha(request.repo.path, request.args["ref"])
    pulls = []
    for issue, pull in request.repo.pulls():
        own = git.git(
            path, "rev-list", pull.head_sha, f"^{pull.base_sha}", check=False
        ).split()
        if sha and (sha == pull.merge_sha or sha in own):
            pulls.append(shapes.pull(request.state, request.repo, issue))
    return pulls


def _change(request: Request, issue: Issue) -> None:
    """Take over what a PATCH may change on issues and pull requests alike."""
    body: Json = request.body
    issue.title = body.get("title", issue.title)
    issue.body = body.get("body", issue.body)
    request.state.record(
        "changed", repository=request.repo.full_name, number=issue.number,
        title=issue.title, body=issue.body, state=body.get("state", issue.state),
    )  # fmt: skip
