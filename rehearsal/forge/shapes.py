"""What the forge knows, in the shape of GitHub's answers (its OpenAPI description)."""

from typing import Any

from . import git
from .state import Issue, Json, Person, Pull, Refusal, Repository, Run, State


def person(state: State, who: Person) -> Json:
    """Return a simple user."""
    login = who.login
    return {
        "login": login,
        "id": who.id,
        "type": who.type,
        "site_admin": False,
        "url": f"{state.url}/users/{login}",
        "html_url": f"{state.url}/{login}",
    }


def api(state: State, repository: str, *path: object) -> str:
    """Return the API address of something in a repository."""
    return "/".join([f"{state.url}/repos/{repository}", *map(str, path)])


def page(state: State, repository: str, *path: object) -> str:
    """Return the address a person would open."""
    return "/".join([f"{state.url}/{repository}", *map(str, path)])


def repository(state: State, repo: Repository, *, full: bool = False) -> Json:
    """Return a repository; ``full`` adds what only its own address answers."""
    parent = state.repositories.get(repo.parent)
    shape: Json = {
        "id": repo.id,
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": person(state, repo.owner),
        "html_url": page(state, repo.full_name),
        "url": api(state, repo.full_name),
        "fork": bool(repo.parent),
        "default_branch": repo.default_branch,
        "clone_url": page(state, repo.full_name) + ".git",
        "visibility": "private" if repo.private else "public",
    }
    return shape | {"parent": repository(state, parent)} if full and parent else shape


def label(state: State, repo: Repository, name: str) -> Json:
    """Return a label, with GitHub's default colour when nobody chose one."""
    known = repo.labels.get(name, {"id": 0, "color": "ededed", "description": None})
    return {"name": name, "default": False, **known}


def issue(state: State, repo: Repository, it: Issue) -> Json:
    """Return an issue; a pull request has the key ``pull_request`` too."""
    kind = "pull" if it.pull else "issues"
    shape = {
        "id": it.id,
        "number": it.number,
        "title": it.title,
        "body": it.body,
        "state": it.state,
        "user": person(state, it.user),
        "labels": [label(state, repo, name) for name in it.labels],
        "comments": len(it.comments),
        "created_at": it.created_at,
        "closed_at": it.closed_at,
        "url": api(state, repo.full_name, "issues", it.number),
        "html_url": page(state, repo.full_name, kind, it.number),
    }
    if it.pull:
        shape["pull_request"] = {"url": api(state, repo.full_name, "pulls", it.number)}
    return shape


def side(state: State, name: str, ref: str, sha: str) -> Json:
    """Return the base or the head of a pull request."""
    repo = state.repositories.get(name)
    return {
        "label": f"{name.split('/')[0]}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": person(state, repo.owner) if repo else None,
        "repo": repository(state, repo) if repo else None,
    }


def pull(state: State, repo: Repository, it: Issue, *, full: bool = False) -> Json:
    """Return a pull request; ``full`` adds what lists leave out."""
    its: Pull | None = it.pull
    if its is None:
        raise Refusal(404, "Not Found")
    shape = issue(state, repo, it)
    del shape["pull_request"], shape["comments"]
    shape |= {
        "url": api(state, repo.full_name, "pulls", it.number),
        "issue_url": api(state, repo.full_name, "issues", it.number),
        "head": side(state, its.head_repo, its.head_ref, its.head_sha),
        "base": side(state, repo.full_name, its.base_ref, its.base_sha),
        "merged_at": its.merged_at,
        "merge_commit_sha": its.merge_sha or its.test_merge,
        "draft": False,
    }
    if full:
        shape |= {
            "merged": its.merged_at is not None,
            "mergeable": None if its.merged_at else its.test_merge is not None,
            "mergeable_state": "clean" if its.test_merge else "dirty",
            "merged_by": person(state, its.merged_by) if its.merged_by else None,
            "comments": len(it.comments),
        }
    return shape


def run(state: State, it: Run) -> Json:
    """Return a workflow run."""
    repo = state.repositories[it.repository]
    head = state.repositories.get(it.head_repository, repo)
    url = api(state, it.repository, "actions/runs", it.id)
    pulls: list[Json] = []
    if it.pull and not it.fork and (its := repo.pull(it.pull).pull):
        pulls = [
            {
                "id": repo.issues[it.pull].id,
                "number": it.pull,
                "url": api(state, it.repository, "pulls", it.pull),
                "head": _short(head, its.head_ref, it.head_sha, state),
                "base": _short(repo, its.base_ref, its.base_sha, state),
            }
        ]
    return {
        "id": it.id,
        "name": it.workflow,
        "path": it.path,
        "event": it.event,
        "display_title": it.title,
        "status": it.status,
        "conclusion": it.conclusion,
        "run_number": it.number,
        "run_attempt": it.attempt,
        "workflow_id": workflow(state, repo, it.path, it.workflow)["id"],
        "head_sha": it.head_sha,
        "head_branch": it.head_branch,
        "head_repository": _minimal(state, head),
        "repository": _minimal(state, repo),
        "pull_requests": pulls,
        "actor": person(state, it.actor),
        "triggering_actor": person(state, it.actor),
        "created_at": it.created_at,
        "run_started_at": it.created_at,
        "updated_at": it.updated_at or it.created_at,
        "url": url,
        "html_url": page(state, it.repository, "actions/runs", it.id),
        "jobs_url": f"{url}/jobs",
        "logs_url": f"{url}/logs",
        "artifacts_url": f"{url}/artifacts",
    }


def _minimal(state: State, repo: Repository) -> Json:
    """Return a repository as a run names it."""
    left_out = {"default_branch", "clone_url", "visibility"}
    shape = repository(state, repo)
    return {key: value for key, value in shape.items() if key not in left_out}


def _short(repo: Repository, ref: str, sha: str, state: State) -> Json:
    """Return a side of a pull request as a run names it."""
    short = {"id": repo.id, "name": repo.name, "url": api(state, repo.full_name)}
    return {"ref": ref, "sha": sha, "repo": short}


def workflow(state: State, repo: Repository, path: str, name: str) -> Json:
    """Return a workflow, numbered when it is first seen."""
    url = api(state, repo.full_name, "actions/workflows", path.split("/")[-1])
    known = repo.workflows.setdefault(path, {"id": state.next_id()})
    return known | {"name": name, "path": path, "state": "active", "url": url}


def commit(state: State, repo: Repository, ref: str) -> Json:
    """Return a commit."""
    it: dict[str, Any] = git.commit(repo.path, ref)
    author = {"name": it["an"], "email": it["ae"], "date": it["ad"]}
    committer = {"name": it["cn"], "email": it["ce"], "date": it["cd"]}
    known = state.people.get(str(it["an"]))
    base = api(state, repo.full_name)
    return {
        "sha": it["sha"],
        "url": f"{base}/commits/{it['sha']}",
        "html_url": page(state, repo.full_name, "commit", it["sha"]),
        "commit": {
            "message": it["message"].rstrip("\n"),
            "author": author,
            "committer": committer,
            "tree": {"sha": it["tree"], "url": f"{base}/git/trees/{it['tree']}"},
        },
        "author": person(state, known) if known else None,
        "committer": person(state, known) if known else None,
        "parents": [{"sha": p, "url": f"{base}/commits/{p}"} for p in it["parents"]],
    }
