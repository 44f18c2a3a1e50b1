"""Events of the forge, in GitHub's order, and the runs that they start."""

from . import files, git, payloads, shapes, workflows
from .runs import Queue
from .state import (
    ACTIONS_APP,
    Issue,
    Json,
    Pull,
    Refusal,
    Repository,
    Run,
    State,
    Token,
)
from .workflows import Workflow


def push(
    state: State, queue: Queue, repo: Repository, token: Token, moved: tuple[str, ...]
) -> None:
    """A ref moved: ``moved`` is (ref, old commit, new commit), zeros for none.

    A run's own token starts nothing by it (GitHub's guard against endless loops).
    """
    ref, before, after = moved
    state.record(
        "push", repository=repo.full_name, ref=ref, before=before, after=after,
        by=token.person.login,
    )  # fmt: skip
    kind, name = (
        ("tag", ref[10:]) if ref.startswith("refs/tags/") else ("branch", ref[11:])
    )
    if after != git.ZERO and token.app != ACTIONS_APP and not repo.parent:
        commit = git.sha(repo.path, after)
        payload = payloads.push(state, repo, token.person, moved)
        title = git.git(repo.path, "show", "-s", "--format=%s", commit)
        paths = payloads.changed(repo, before, commit)
        facts: Json = {kind: name} | ({"paths": paths} if kind == "branch" else {})
        _start(state, queue, repo, "push", commit, facts, payload, token,
               title=title, ref=ref, head_branch=name)  # fmt: skip
    if kind == "branch":
        for base in list(state.repositories.values()):
            _follow(state, queue, base, (repo, name, after), token)


def _follow(
    state: State, queue: Queue, base: Repository, moved: tuple[Repository, str, str],
    token: Token,
) -> None:  # fmt: skip
    """Bring the open pull requests up to date with a branch that moved."""
    repo, name, after = moved
    for issue, pull in base.pulls():
        if issue.state != "open":
            continue
        if (pull.head_repo, pull.head_ref) == (repo.full_name, name):
            if after != git.ZERO and pull.head_sha != after:
                pull.pushed_by = token.person.login
                refresh(state, base, issue, pull)
                pull_request(state, queue, base, issue, "synchronize", token)
        elif (base, pull.base_ref) == (repo, name):
            if git.contains(base.path, after, pull.head_sha):
                _pushed_past(state, issue, pull, token)
            else:
                refresh(state, base, issue, pull)


def _pushed_past(state: State, issue: Issue, pull: Pull, token: Token) -> None:
    """A push brought a proposal's commits to its base: GitHub calls that merged."""
    issue.state, issue.closed_at = "closed", state.now()
    pull.merged_at, pull.merged_by = issue.closed_at, token.person
    pull.merge_sha = pull.head_sha
    state.record("merged", number=issue.number, sha=pull.merge_sha, title=issue.title,
                 by=token.person.login)  # fmt: skip


def refresh(state: State, repo: Repository, issue: Issue, pull: Pull) -> None:
    """Make refs/pull/N/head and refs/pull/N/merge anew.

    What a fork proposed that was deleted stays as it was.
    """
    ref = f"refs/pull/{issue.number}"
    if head := state.repositories.get(pull.head_repo):
        source = f"+refs/heads/{pull.head_ref}:{ref}/head"
        git.git(repo.path, "fetch", "-q", str(head.path), source)
    pull.head_sha = git.sha(repo.path, f"{ref}/head")
    pull.base_sha = git.sha(repo.path, f"refs/heads/{pull.base_ref}")
    message = f"Merge {pull.head_sha} into {pull.base_sha}"
    pull.test_merge = git.merge(
        repo.path, pull.base_sha, pull.head_sha, issue.user, message
    )
    if pull.test_merge:
        git.git(repo.path, "update-ref", f"{ref}/merge", pull.test_merge)
    else:
        git.git(repo.path, "update-ref", "-d", f"{ref}/merge")


def pull_request(
    state: State, queue: Queue, repo: Repository, issue: Issue, action: str,
    token: Token,
) -> None:  # fmt: skip
    """Something happened to a pull request; with conflicts no workflow runs."""
    pull = issue.pull
    assert pull
    state.record(
        "pull_request", repository=repo.full_name, number=issue.number, action=action,
        title=issue.title, head=pull.head_sha, by=token.person.login, body=issue.body,
    )  # fmt: skip
    commit = pull.merge_sha or pull.test_merge
    if commit is None:
        return
    payload = {
        "action": action,
        "number": issue.number,
        "pull_request": shapes.pull(state, repo, issue, full=True),
        "repository": shapes.repository(state, repo),
        "sender": shapes.person(state, token.person),
    }
    changed = payloads.changed(repo, f"{pull.base_sha}...", pull.head_sha)
    facts = {"action": action, "branch": pull.base_ref, "paths": changed}
    _start(
        state, queue, repo, "pull_request", commit, facts, payload, token,
        title=issue.title, ref=f"refs/pull/{issue.number}/merge",
        head_branch=pull.head_ref, head_sha=pull.head_sha, issue=issue,
    )  # fmt: skip


def workflow_run(state: State, queue: Queue, run: Run) -> None:
    """A run ended: the default branch's workflows that wait for it start."""
    repo = state.repository(run.repository)
    facts = {"action": "completed", "workflow": run.workflow, "branch": run.head_branch}
    payload = {
        "action": "completed",
        "workflow_run": shapes.run(state, run),
        "workflow": shapes.workflow(state, repo, run.path, run.workflow),
        "repository": shapes.repository(state, repo),
        "sender": shapes.person(state, run.actor),
    }
    _default(state, queue, repo, "workflow_run", facts, payload, Token("", run.actor))


def schedule(state: State, queue: Queue, repo: Repository, file: str) -> None:
    """Start a scheduled workflow.

    Raises:
        Refusal: the default branch has no such workflow with a schedule.
    """
    payload = {
        "schedule": "",
        "workflow": f"{workflows.FOLDER}/{file}",
        "repository": shapes.repository(state, repo),
    }
    actor = Token("", repo.owner)
    if not _default(state, queue, repo, "schedule", {}, payload, actor, file):
        raise Refusal(404, f"{file} has no schedule on {repo.default_branch}")


def dispatch(
    state: State, queue: Queue, repo: Repository, file: str, body: Json, token: Token
) -> None:
    """Somebody starts a workflow by hand, with inputs."""
    ref = str(body.get("ref") or "").removeprefix("refs/heads/")
    if not (commit := git.sha(repo.path, f"refs/heads/{ref}")):
        raise Refusal(422, f"No ref found for: {ref}")
    flows, _ = files.at(repo, commit)
    flow = next((w for w in flows if w.path.endswith(f"/{file}")), None)
    default = f"refs/heads/{repo.default_branch}"
    if flow is None or git.show(repo.path, default, flow.path) is None:
        raise Refusal(404, "Not Found")  # on this branch, or on the default one
    if "workflow_dispatch" not in flow.on:
        raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
    declared = flow.on["workflow_dispatch"].get("inputs") or {}
    inputs = payloads.inputs(repo, declared, body)
    payload = {
        "inputs": inputs,
        "ref": f"refs/heads/{ref}",
        "workflow": flow.path,
        "repository": shapes.repository(state, repo),
        "sender": shapes.person(state, token.person),
    }
    _start(
        state, queue, repo, "workflow_dispatch", commit, {}, payload, token,
        title=flow.name, ref=f"refs/heads/{ref}", head_branch=ref, file=file,
    )  # fmt: skip


def _default(
    state: State, queue: Queue, repo: Repository, event: str, facts: Json,
    payload: Json, token: Token, file: str = "",
) -> int:  # fmt: skip
    """Start workflows of the default branch."""
    ref = f"refs/heads/{repo.default_branch}"
    commit = git.sha(repo.path, ref)
    title = str(payload.get("workflow_run", {}).get("display_title", ""))
    return _start(state, queue, repo, event, commit, facts, payload, token, title=title,
                  ref=ref, head_branch=repo.default_branch, file=file)  # fmt: skip


def _start(
    state: State, queue: Queue, repo: Repository, event: str, commit: str, facts: Json,
    payload: Json, token: Token, *, title: str, ref: str, head_branch: str,
    head_sha: str = "", issue: Issue | None = None, file: str = "",
) -> int:  # fmt: skip
    """Queue a run for each workflow that an event starts; return how many."""
    flows, broken = files.at(repo, commit)
    for sentence in broken:
        state.record("workflow_error", repository=repo.full_name, message=sentence)
    started = [flow for flow in flows if workflows.starts(flow, event, facts)]
    if file:
        started = [flow for flow in started if flow.path.endswith(f"/{file}")]
    pull = issue.pull if issue else None
    head = pull.head_repo if pull else repo.full_name
    for flow in started:
        run_id = state.next_id()
        run = Run(
            id=run_id, number=1 + sum(r.path == flow.path for r in state.runs),
            workflow=flow.name, path=flow.path, event=event, title=title or flow.name,
            repository=repo.full_name, head_sha=head_sha or commit,
            head_branch=head_branch, head_repository=head, sha=commit, ref=ref,
            actor=token.person, payload=dict(payload), created_at=state.now(),
            log_path=state.home / "runs" / f"{run_id}.log",
            pull=issue.number if issue else None, fork=head != repo.full_name,
        )  # fmt: skip
        if event == "schedule":
            run.payload["schedule"] = payloads.cron(flow)
        queue.submit(run, flow, _held(repo, flow, run, token))
    return len(started)


def _held(repo: Repository, flow: Workflow, run: Run, token: Token) -> str:
    """Return the conclusion of a run that does not start, or nothing.

    GitHub holds what a run's own token proposes, and a fork's first proposals, until a
    person lets them start. What uses an action that is not allowed here never does.
    """
    if not repo.allows(flow.actions()):
        return "startup_failure"
    merged = any(
        pull.merged_at and issue.user is run.actor for issue, pull in repo.pulls()
    )
    stranger = run.fork and repo.role(run.actor) == "read" and not merged
    held = run.event == "pull_request" and (token.app == ACTIONS_APP or stranger)
    return "action_required" if held else ""
