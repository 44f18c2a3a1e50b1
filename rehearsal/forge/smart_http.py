"""Git over HTTP: the real ``git http-backend``, behind tokens and rules."""

import os
import subprocess
from collections.abc import Iterator

from . import git, rules
from .state import Refusal, Repository, State, Token, Update


def may_access(repository: Repository, token: Token | None, write: bool) -> bool:
    """Return whether a token may fetch from or push to a repository."""
    if token is None:
        return not write and not repository.private
    if token.permissions is None:
        role = repository.role(token.person)
        return role in ("write", "admin") if write else role != "none"
    granted = token.permissions.get("contents", "none")
    own = token.repository == repository.full_name
    return own and (granted == "write" if write else granted in ("read", "write"))


def updates(body: bytes) -> Iterator[Update]:
    """Read the commands at the head of a push (pkt-line)."""
    offset = 0
    while (size := int(body[offset : offset + 4] or b"0", 16)) >= 4:
        line = body[offset + 4 : offset + size].split(b"\0")[0].decode().strip()
        offset += size
        if len(fields := line.split(" ", 2)) == 3:
            yield Update(*fields)


def backend(
    state: State,
    repository: Repository,
    token: Token | None,
    method: str,
    tail: str,
    query: str,
    headers: dict[str, str],
    body: bytes,
) -> tuple[int, list[tuple[str, str]], bytes, list[Update]]:
    """Answer one request of a Git client; also return the refs that it moved.

    Raises:
        Refusal: 401 or 403 when the token does not reach so far.
    """
    write = "git-receive-pack" in (tail, *query.split("="))
    if not may_access(repository, token, write):
        raise Refusal(403 if token else 401, "Write access not granted" * write)
    push = list(updates(body)) if tail == "git-receive-pack" else []
    with state.changed:
        refused = [rules.refuse_push(repository, token, u) for u in push]
        forward = [u.ref for u in push if rules.forward_only(repository, token, u.ref)]
        commits = rules.commit_rules(repository, token, push)
    env = {
        **git.environment(),
        "GIT_PROJECT_ROOT": str(repository.path),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{tail}",
        "REQUEST_METHOD": method,
        "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "REMOTE_USER": token.person.login if token else "",
        "REMOTE_ADDR": "127.0.0.1",
        "FORGE_REFUSED": "\n".join(r for r in refused if r),
        "FORGE_FORWARD": " ".join(forward),
        "FORGE_COMMITS": commits,
        "FORGE_DEFAULT": f"refs/heads/{repository.default_branch}",
        "FORGE_WORKFLOWS": "yes" if rules.may_change_workflows(token) else "no",
        "PATH": os.environ.get("PATH", os.defpath),
    }
    process = subprocess.run(
        ("git", "http-backend"), input=body, env=env, capture_output=True
    )
    head, _, content = process.stdout.partition(b"\r\n\r\n")
    pairs = [line.split(": ", 1) for line in head.decode().splitlines() if ": " in line]
    fields = [(key, value) for key, value in pairs if key.lower() != "status"]
    status = next((int(v.split()[0]) for k, v in pairs if k.lower() == "status"), 200)
    moved = [
        update
        for update in push
        if _target(repository, update.ref) == update.after != update.before
    ]
    return status, fields, content, moved


def _target(repository: Repository, ref: str) -> str:
    """Return what a ref points to (a tag object counts as itself), or zeros."""
    sha = git.git(repository.path, "rev-parse", "-q", "--verify", ref, check=False)
    return sha or git.ZERO
