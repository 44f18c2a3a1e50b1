"""Puts the last good version back and says so where people look."""

from tempfile import TemporaryDirectory

from mlgitops import git, github
from mlgitops.ledger import Ledger
from mlgitops.release import (
    MAIN,
    Record,
    ReleaseError,
    TargetError,
    promote,
    registry,
    server,
)
from mlgitops.release.registry import Version

# Everything that can change the model: what a version is made of.
PATHS = (
    "dvc.lock",
    "dvc.yaml",
    "params.yaml",
    "contract.yaml",
    "model",
    "requirements/pipeline.txt",
    "data/*.dvc",
)
# The machinery goes back with it, as a whole, where its stages or its server differ: a
# newer judge stays if the version needs neither of the older ones.
MACHINERY = "mlgitops"
BUILDS = ("mlgitops/pipeline", "mlgitops/metrics")
PRESS = (
    "This pull request was opened with the workflow's own token, so GitHub starts no "
    'workflow for it: somebody has to press **"Approve workflows to run"** below.'
)


def promote_or_put_back(
    ledger: Ledger, planned: promote.Promotion, check: promote.Check
) -> Record:
    """Promote a version; if its target does not come up, restore the previous one.

    Raises:
        ReleaseError: refused, or restored.
    """
    try:
        return promote.run(ledger, planned, check)
    except TargetError as error:
        failed = ledger.release(planned.environment) or {}
        record = put_back(ledger, planned.name, failed, str(error))
        outcome = "nothing ran before it"
        if record["state"] != "failed":
            outcome = f"{planned.environment} has {record['tag']} again"
        if planned.action == "deploy":
            if link := tell(ledger, planned.name, record):
                outcome += f"; revert pull request: {link}"
        raise ReleaseError(
            f"{failed['tag']} was taken out of {planned.environment}: {error}; "
            f"{outcome}"
        ) from error


def put_back(ledger: Ledger, name: str, failed: Record, why: str) -> Record:
    """Give an environment its last good version back; return the record of that.

    Without an earlier version the failed one stays named, with the state ``failed``:
    targets keep what they run.
    """
    environment = failed["environment"]
    good = _last_good(ledger.history(environment), failed)

    def make(seq: int) -> Record:
        there = ledger.release(environment) or {}
        other = not there or server.identity(there) != server.identity(failed)
        if other or there["state"] == "failed":
            raise promote.Settled(there)  # an earlier run has put it back
        return _record(good, failed, why, seq)

    record = promote.write(ledger, make, f"revert {failed['tag']} in {environment}")
    settle(ledger, name, record)
    return record


def settle(ledger: Ledger, name: str, record: Record) -> None:
    """Make the stage's tag and the failed deployment agree with a revert."""
    environment = record["environment"]
    now_there = ledger.release(environment) or {}
    if record["state"] != "failed" and now_there.get("seq") == record["seq"]:
        keys = ("version", "tag", "commit", "manifest_sha256")
        version = Version(*(record[key] for key in keys))
        note = f"revert: {environment} goes back to {version.tag}"
        registry.assign(name, environment, version, note)
    for failed in ledger.history(environment):
        if server.replaced(failed, record):
            promote.close(failed, "failure", record["reason"])


def _last_good(history: list[Record], failed: Record) -> Record | None:
    """Return the newest record of the version that served before."""
    for record in reversed(history):
        if record["state"] == "failed" or failed["previous"] is None:
            continue
        if server.replaced(record, failed):
            return record
    return None


def _record(good: Record | None, failed: Record, why: str, seq: int) -> Record:
    """Return the record of a revert."""
    changed = {
        "seq": seq,
        "action": "revert",
        "reason": why,
        "previous": failed["manifest_sha256"],
        "previous_server": server.of(failed).sha256,
        "run_url": github.run_url(),
        "time": promote.now(),
    }
    return {**(good or {**failed, "state": "failed"}), **changed}


def tell(ledger: Ledger, name: str, record: Record) -> str:
    """Comment on the pull request whose version was taken back and open its revert.

    ``record`` is the revert on the ledger; both are written once. Returns the address
    of the revert pull request, or what to type.
    """
    bad = registry_version(name, record["previous"])
    link = ""
    if record["state"] != "failed":
        link = pull_request(record, bad)
    body = (
        f"### {bad.tag} was deployed to {record['environment']} and taken back\n\n"
        f"{record['reason']}\n\n"
        + (
            f"{record['environment']} runs {record['tag']} again; so that `main` "
            f"agrees with it: {link}"
            if link
            else "There is no earlier version to go back to; the target keeps what "
            "it ran. Propose a version that works."
        )
    )
    marker = f"<!-- reverted {record['environment']} {bad.tag} -->"
    history = ledger.history(record["environment"])
    numbers = [
        r["pull_request"]
        for r in history
        if r["manifest_sha256"] == bad.manifest_sha256
    ]
    if number := next(filter(None, reversed(numbers)), None):
        github.sticky_comment(number, marker, body)
    return link


def registry_version(name: str, manifest_sha256: str) -> Version:
    """Return the version of a manifest."""
    for version in registry.versions(name):
        if version.manifest_sha256 == manifest_sha256:
            return version
    raise ReleaseError(f"no tag of {name} stands for {manifest_sha256}")


def pull_request(record: Record, bad: Version | None) -> str:
    """Open the pull request that makes main name what the environment runs.

    Written once per rollback; returns its address, or what to do by hand, or that
    there is nothing to do.
    """
    branch = f"rollback/{record['version']}-{record['seq']}"
    owner = github.repo().split("/")[0]
    found = github.api("pulls", fields={"head": f"{owner}:{branch}", "state": "all"})
    if found:
        return str(found[0]["html_url"])
    commit = _commit(record)
    if commit is None:
        return f"main names {record['tag']} already"
    git.remote_run("push", "-q", "--force", "origin", f"{commit}:refs/heads/{branch}")
    fields = {
        "title": f"Go back to {record['tag']}",
        "head": branch,
        "base": MAIN,
        "body": _body(record, bad),
    }
    try:
        return str(github.api("pulls", "POST", fields)["html_url"])
    except github.GitHubError as error:
        if error.status not in (403, 422):
            raise
        server = f"https://github.com/{github.repo()}"
        return (
            f"Actions may not open pull requests here (`make github` allows it); "
            f"open {server}/compare/{MAIN}...{branch}?expand=1"
        )


def _commit(record: Record) -> str | None:
    """Write main with a release's model and server; None if main has them."""
    tag, commit, code = record["tag"], record["commit"], server.of(record).commit
    tip = git.fetch_branch(MAIN) or "HEAD"
    with TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index"}
        git.run("read-tree", tip, env=env)
        gone = ("rm", "-rqf", "--cached", "--ignore-unmatch", "--")
        paths = _paths(commit, code, tip)
        git.run(*gone, *paths, *server.PATHS, env=env)
        models = git.run("ls-tree", "-r", commit, "--", *paths[:-1], "data/")
        files = "\n".join(line for line in models.splitlines() if _belongs(line))
        files += "\n" + git.run("ls-tree", "-r", code, "--", *server.PATHS)
        lines = [line for line in files.splitlines() if line]
        data = "".join(f"{line}\n" for line in lines).encode()
        git.run("update-index", "--index-info", data=data, env=env)
        tree = git.run("write-tree", env=env)
    if tree == git.run("rev-parse", f"{tip}^{{tree}}"):
        return None
    who = {
        "GIT_AUTHOR_NAME": "rollback",
        "GIT_AUTHOR_EMAIL": "rollback@localhost",
        "GIT_COMMITTER_NAME": "rollback",
        "GIT_COMMITTER_EMAIL": "rollback@localhost",
    }
    return git.run("commit-tree", tree, "-p", tip, "-m", f"Go back to {tag}", env=who)


def _paths(commit: str, code: str, tip: str) -> tuple[str, ...]:
    """Return what a version is made of, and the machinery where it has to go back."""
    same = all(
        git.run("ls-tree", old, "--", *paths) == git.run("ls-tree", tip, "--", *paths)
        for old, paths in ((commit, BUILDS), (code, server.PATHS))
    )
    return PATHS if same else (MACHINERY, *PATHS)


def _belongs(line: str) -> bool:
    """Tell whether a line of ls-tree is a file of the model.

    Of data/ the pointers are; of mlgitops/ the server is not: it has its own commit.
    """
    path = line.partition("\t")[2]
    if any(path == name or path.startswith(f"{name}/") for name in server.PATHS):
        return False
    return not path.startswith("data/") or path.endswith(".dvc")


def _body(record: Record, bad: Version | None) -> str:
    """Return the text of the revert pull request."""
    left = f" instead of {bad.tag}" if bad else ""
    return (
        f"{record['environment']} runs **{record['tag']}**{left} since a "
        f"{record['action']}: {record['reason']}\n\n"
        "`main` still names the version that was left. This brings the model's files "
        f"({', '.join(f'`{path}`' for path in PATHS)}; `{MACHINERY}/` if its stages or "
        f"its server changed) back to {record['commit']}, and "
        f"the server's ({', '.join(f'`{path}`' for path in server.PATHS)}) back to "
        f"{server.of(record).commit}, so that `main` and production agree. Nothing is "
        "deployed by merging it.\n\n"
        f"{PRESS}\n"
    )
