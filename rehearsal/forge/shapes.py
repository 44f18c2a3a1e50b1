"""The forge's state in the shape of GitHub's responses (its OpenAPI description)."""

from typing import Any

from . import git
from .state import Issue, Json, Person, Pull, Refusal, Repository, Run, State


def person(state: State, account: Person) -> Json:
    """Return a simple user."""
    login = account.login
    return {
        "login": login,
        "id": account.id,
        "type": account.type,
        "site_admin": False,
        "url": f"{state.url}/users/{login}",
        "html_url": f"{state.url}/{login}",
    }


def author(state: State, account: Person | None) -> Json | None:
    """Return who did something, or nothing where that account is gone."""
    return person(state, account) if account and not account.gone else None


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
    details = repo.labels.get(name, {"id": 0, "color": "ededed", "description": None})
    return {"name": name, "default": False, **details}


def issue(state: State, repo: Repository, entry: Issue) -> Json:
    """Return an issue; a pull request has the key ``pull_request`` too."""
    kind = "pull" if entry.pull else "issues"
    shape = {
        "id": entry.id,
        "number": entry.number,
        "title": entry.title,
        "body": entry.body,
        "state": entry.state,
        "user": author(state, entry.user),
        "labels": [label(state, repo, name) for name in entry.labels],
        "comments": len(entry.comments),
        "created_at": entry.created_at,
        "closed_at": entry.closed_at,
        "url": api(state, repo.full_name, "issues", entry.number),
        "html_url": page(state, repo.full_name, kind, entry.number),
    }
    if entry.pull:
        shape["pull_request"] = {
            "url": api(state, repo.full_name, "pulls", entry.number)
        }
    return shape


def _branch(state: State, name: str, ref: str, sha: str) -> Json:
    """Return the base or the head of a pull request."""
    repo = state.repositories.get(name)
    return {
        "label": f"{name.split('/')[0]}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": person(state, repo.owner) if repo else None,
        "repo": repository(state, repo) if repo else None,
    }


def pull(state: State, repo: Repository, entry: Issue, *, full: bool = False) -> Json:
    """Return a pull request; ``full`` adds what lists leave out."""
    details: Pull | None = entry.pull
    if details is None:
        raise Refusal(404, "Not Found")
    shape = issue(state, repo, entry)
    del shape["pull_request"], shape["comments"]
    shape |= {
        "url": api(state, repo.full_name, "pulls", entry.number),
        "issue_url": api(state, repo.full_name, "issues", entry.number),
        "head": _branch(state, details.head_repo, details.head_ref, details.head_sha),
        "base": _branch(state, repo.full_name, details.base_ref, details.base_sha),
        "merged_at": details.merged_at,
        "merge_commit_sha": details.merge_sha or details.test_merge,
        "draft": False,
    }
    if full:
        shape |= {
            "merged": details.merged_at is not None,
            "mergeable": None if details.merged_at else details.test_merge is not None,
            "mergeable_state": "clean" if details.test_merge else "dirty",
            "merged_by": author(state, details.merged_by),
            "comments": len(entry.comments),
        }
    return shape


def run(state: State, entry: Run) -> Json:
    """Return a workflow run."""
    repo = state.repositories[entry.repository]
    head = state.repositories.get(entry.head_repository)  # None: it was deleted
    url = api(state, entry.repository, "actions/runs", entry.id)
    pulls: list[Json] = []
    if (
        head
        and entry.pull
        and not entry.fork
        and (pull_details := repo.pull(entry.pull).pull)
    ):
        pulls = [
            {
                "id": repo.issues[entry.pull].id,
                "number": entry.pull,
                "url": api(state, entry.repository, "pulls", entry.pull),
                "head": _short(head, pull_details.head_ref, entry.head_sha, state),
                "base": _short(
                    repo, pull_details.base_ref, pull_details.base_sha, state
                ),
            }
        ]
    return {
        "id": entry.id,
        "name": entry.workflow,
        "path": entry.path,
        "event": entry.event,
        "display_title": entry.title,
        "status": entry.status,
        "conclusion": entry.conclusion,
        "run_number": entry.number,
        "run_attempt": entry.attempt,
        "workflow_id": workflow(state, repo, entry.path, entry.workflow)["id"],
        "head_sha": entry.head_sha,
        "head_branch": entry.head_branch,
        "head_repository": _minimal(state, head) if head else None,
        "repository": _minimal(state, repo),
        "pull_requests": pulls,
        "actor": person(state, entry.actor),
        "triggering_actor": person(state, entry.actor),
        "created_at": entry.created_at,
        "run_started_at": entry.created_at,
        "updated_at": entry.updated_at or entry.created_at,
        "url": url,
        "html_url": page(state, entry.repository, "actions/runs", entry.id),
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
    number = repo.workflows.setdefault(path, {"id": state.next_id()})
    return number | {"name": name, "path": path, "state": "active", "url": url}


def commit(state: State, repo: Repository, ref: str) -> Json:
    """Return a commit."""
    fields: dict[str, Any] = git.commit(repo.path, ref)
    git_author = {"name": fields["an"], "email": fields["ae"], "date": fields["ad"]}
    committer = {"name": fields["cn"], "email": fields["ce"], "date": fields["cd"]}
    account = state.people.get(str(fields["an"]))
    base = api(state, repo.full_name)
    return {
        "sha": fields["sha"],
        "url": f"{base}/commits/{fields['sha']}",
        "html_url": page(state, repo.full_name, "commit", fields["sha"]),
        "commit": {
            "message": fields["message"].rstrip("\n"),
            "author": git_author,
            "committer": committer,
            "tree": {
                "sha": fields["tree"],
                "url": f"{base}/git/trees/{fields['tree']}",
            },
        },
        "author": author(state, account),
        "committer": author(state, account),
        "parents": [
            {"sha": p, "url": f"{base}/commits/{p}"} for p in fields["parents"]
        ],
    }
