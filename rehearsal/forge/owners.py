"""Code owners: who has to approve which files."""

from fnmatch import fnmatchcase

from . import git
from .state import Issue, Json, Person, Pull, Repository


def missing(
    repository: Repository,
    people: dict[str, Person],
    issue: Issue,
    pull: Pull,
    approvers: set[str],
) -> str:
    """Return the first changed file that its code owners have not approved.

    Owners who may not write here do not count, as on GitHub; nor does an organisation.
    """
    writers = _writers(repository, people)
    base = f"refs/heads/{pull.base_ref}"
    lines = [line.split("#")[0].split() for line in _text(repository, base)[1]]
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


def errors(repository: Repository, people: dict[str, Person], ref: str) -> list[Json]:
    """Return the owners of a CODEOWNERS file who are none, as GitHub tells them."""
    path, lines = _text(repository, ref)
    writers, found = _writers(repository, people), []
    for number, line in enumerate(lines, 1):
        for owner in line.split("#")[0].split()[1:]:
            if owner.lstrip("@") in writers:
                continue
            column = line.index(owner) + 1
            fix = f"make sure {owner} exists and has write access to the repository"
            message = f"Unknown owner on line {number}: {fix}\n\n  {line}"
            found.append(
                {"line": number, "column": column, "source": line, "path": path}
                | {"kind": "Unknown owner", "suggestion": fix, "message": message}
            )
    return found


def _text(repository: Repository, ref: str) -> tuple[str, list[str]]:
    """Return the path and the lines of the CODEOWNERS file that counts."""
    for path in (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"):
        if text := git.show(repository.path, ref, path):
            return path, text.decode().splitlines()
    return "", []


def _writers(repository: Repository, people: dict[str, Person]) -> set[str]:
    """Return the people who may write here."""
    return {
        login
        for login, person in people.items()
        if person.type == "User" and repository.role(person) in ("write", "admin")
    }


def _owns(pattern: str, name: str) -> bool:
    """Match one CODEOWNERS pattern: ``*``, ``/folder/``, ``*.yml``, ``/file``."""
    bare = pattern.strip("/")
    if pattern.startswith("/") or "/" in bare:
        return fnmatchcase(name, bare) or fnmatchcase(name, f"{bare}/*")
    segments = name.split("/")
    folders = segments[:-1] if pattern.endswith("/") else segments
    return any(fnmatchcase(segment, bare) for segment in folders)
