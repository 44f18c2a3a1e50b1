"""Code owners: who has to approve which files."""

from fnmatch import fnmatchcase

from . import git
from .state import Issue, Person, Pull, Repository


def missing(
    repository: Repository,
    people: dict[str, Person],
    issue: Issue,
    pull: Pull,
    approvers: set[str],
) -> str:
    """Return the first changed file that its code owners have not approved.

    Owners who may not write here do not count, as on GitHub.
    """
    writers = {k for k, p in people.items() if repository.role(p) in ("write", "admin")}
    base = f"refs/heads/{pull.base_ref}"
    paths = ("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS")
    text = next((t for p in paths if (t := git.show(repository.path, base, p))), b"")
    lines = [line.split("#")[0].split() for line in text.decode().splitlines()]
    rules = [line for line in reversed(lines) if line]
    changed = git.git(
        repository.path, "diff", "--name-only", f"{base}...{pull.head_sha}"
    )
    for name in changed.splitlines():
        owners = next((r[1:] for r in rules if _owns(r[0], name)), [])
        logins = {owner.lstrip("@") for owner in owners} & writers
        if logins and not (logins - {issue.user.login}) & approvers:
            return f"Waiting on code owner review from {' '.join(owners)} ({name})."
    return ""


def _owns(pattern: str, name: str) -> bool:
    """Match one CODEOWNERS pattern: ``*``, ``/folder/``, ``*.yml``, ``/file``."""
    bare = pattern.strip("/")
    if pattern.startswith("/") or "/" in bare:
        return fnmatchcase(name, bare) or fnmatchcase(name, f"{bare}/*")
    segments = name.split("/")
    folders = segments[:-1] if pattern.endswith("/") else segments
    return any(fnmatchcase(segment, bare) for segment in folders)
