"""Puts the last good version back and says so where people look."""

from tempfile import TemporaryDirectory

from mlgitops import git, github, lock
from mlgitops.ledger import HOST, Ledger
from mlgitops.release import (
    MAIN,
    HostError,
    Record,
    ReleaseError,
    TargetError,
    promote,
    registry,
    server,
)
from mlgitops.release.registry import Version

# What a version is made of. With all else that its stages read, main has its recipe
# again, and CI restores its bytes.
PATHS = (
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
        if failed and server.replaced(failed, failed):  # only its signature is new
            raise ReleaseError(
                f"{failed['tag']} stays in {planned.environment}, where it ran before: "
                f"{error}; mend that, then type `gh workflow run deploy.yml`"
            ) from error
        record = put_back(ledger, failed, error)
        outcome = "nothing ran before it"
        if record["state"] != "failed":
            outcome = f"{planned.environment} has {record['tag']} again"
        if planned.action == "deploy":
            if link := tell(ledger, planned.name, record):
                outcome += f"; revert pull request: {link}"
        if record.get("fault") == HOST:
            outcome += f"; the version is not withdrawn: {_again(planned)}"
        raise ReleaseError(
            f"{failed['tag']} was taken out of {planned.environment}: {error}; "
            f"{outcome}"
        ) from error


def _again(planned: promote.Promotion) -> str:
    """Return what to do once a host was at fault."""
    command = "gh workflow run deploy.yml"
    if planned.action != "deploy":
        where = f"VERSION={planned.version.version} ENVIRONMENT={planned.environment}"
        command = f"make {planned.action} {where}"
    return f"mend the host, then type `{command}`"


def put_back(ledger: Ledger, failed: Record, error: TargetError) -> Record:
    """Give an environment its last good version back; return the record of that.

    Without an earlier version the failed one stays named, with the state ``failed``:
    targets keep what they run. The record says whose fault it is: a release is
    withdrawn for its own only.
    """
    environment, reason = failed["environment"], str(error)
    fault = HOST if isinstance(error, HostError) else "release"
    before = (
        record
        for record in reversed(ledger.history(environment))
        if record["state"] != "failed" and server.replaced(record, failed)
    )
    good = next(before, None)

    def make(seq: int) -> Record:
        release = ledger.release(environment)
        if (
            not release
            or release["state"] == "failed"
            or server.identity(release) != server.identity(failed)
        ):
            raise promote.Settled(release or {})  # an earlier run has put it back
        return {
            **(good or {**failed, "state": "failed"}),
            "seq": seq,
            "action": "revert",
            "reason": reason,
            "fault": fault,
            "previous": failed["manifest_sha256"],
            "previous_server": server.of(failed).sha256,
            "run_url": github.run_url(),
            "time": promote.now(),
        }

    record = promote.write(ledger, make, f"revert {failed['tag']} in {environment}")
    settle(ledger, record)
    return record


def settle(ledger: Ledger, record: Record) -> None:
    """Make the failed deployment on GitHub agree with a revert."""
    for failed in ledger.history(record["environment"]):
        if server.replaced(failed, record):
            state = "error" if record.get("fault") == HOST else "failure"
            promote.close(failed, state, record["reason"])


def tell(ledger: Ledger, name: str, record: Record) -> str:
    """Comment on the pull request whose version was taken back and open its revert.

    ``record`` is the revert on the ledger; both are written once. Returns the address
    of the revert pull request, or what to type. A fault of the host needs none: main
    goes on naming the version.
    """
    environment = record["environment"]
    bad = registry_version(name, record["previous"])
    link = ""
    title = f"### {bad.tag} was deployed to {environment} and taken back"
    runs = f"{environment} runs {record['tag']} again"
    if record["state"] == "failed":
        runs = "There is no earlier version to go back to; the target keeps what it ran"
    if record.get("fault") == HOST:
        title = f"### {bad.tag} was not deployed to {environment}: a fault of its host"
        outcome = (
            f"{runs}. The version is not withdrawn: once the host is mended, `gh "
            "workflow run deploy.yml` deploys it, and so does the next merge."
        )
    elif record["state"] == "failed":
        outcome = f"{runs}. Propose a version that works."
    else:
        link = pull_request(record, bad)
        outcome = f"{runs}; so that `main` agrees with it: {link}"
    marker = f"<!-- reverted {environment} {bad.tag} -->"
    for deployed in reversed(ledger.history(environment)):
        number = deployed["pull_request"]
        if number and deployed["manifest_sha256"] == bad.manifest_sha256:
            body = f"{title}\n\n{record['reason']}\n\n{outcome}"
            github.sticky_comment(number, marker, body)
            break
    return link


def registry_version(name: str, manifest_sha256: str) -> Version:
    """Return the version of a manifest."""
    for version in registry.versions(name):
        if version.manifest_sha256 == manifest_sha256:
            return version
    raise ReleaseError(f"no tag of {name} stands for {manifest_sha256}")


@github.repeated
def pull_request(record: Record, bad: Version | None) -> str:
    """Open the pull request that makes main name what the environment runs.

    Written once per rollback; returns its address, or what to do by hand, or that
    there is nothing to do.
    """
    branch = f"rollback/{record['version']}-{record['seq']}"
    owner = github.repo().split("/")[0]
    query = {"head": f"{owner}:{branch}", "state": "all"}
    for existing in github.api("pulls", fields=query):
        if (existing["head"].get("repo") or {}).get("full_name") == github.repo():
            return str(existing["html_url"])
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
        url = github.page_url(f"compare/{MAIN}...{branch}?expand=1")
        return (
            "Actions may not open pull requests here (`make github` allows it); "
            f"open {url}"
        )


def _commit(record: Record) -> str | None:
    """Write main with a release's model and server; None if main has them."""
    version, code = record["commit"], server.of(record).commit
    tip = git.fetch_branch(MAIN) or "HEAD"
    with TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index"}
        git.run("read-tree", tip, env=env)
        remove = ("rm", "-rqf", "--cached", "--ignore-unmatch", "--")
        paths = _paths(version, code, tip)
        git.run(*remove, *paths, *server.PATHS, env=env)
        listed = git.run("ls-tree", "-r", version, "--", *paths[:-1], "data/")
        lines = [line for line in listed.splitlines() if _belongs(line)]
        lines += git.run("ls-tree", "-r", code, "--", *server.PATHS).splitlines()
        index = "".join(f"{line}\n" for line in lines).encode()
        git.run("update-index", "--index-info", data=index, env=env)
        tree = git.run("write-tree", env=env)
    if tree == git.run("rev-parse", f"{tip}^{{tree}}"):
        return None
    message = f"Go back to {record['tag']}"
    author = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "rollback"), ("EMAIL", "rollback@localhost"))
    }
    return git.run("commit-tree", tree, "-p", tip, "-m", message, env=author)


def _paths(version: str, code: str, tip: str) -> tuple[str, ...]:
    """Return what a version is made of, and the machinery where it has to go back."""
    unchanged = all(
        git.run("ls-tree", commit, "--", *paths)
        == git.run("ls-tree", tip, "--", *paths)
        for commit, paths in ((version, BUILDS), (code, server.PATHS))
    )
    read = {dep for stage in lock.stages(version) for dep in stage.deps}
    own = [p for p in sorted(read) if not p.startswith((f"{MACHINERY}/", "data/"))]
    return (*own, *PATHS) if unchanged else (MACHINERY, *own, *PATHS)


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
    instead = f" instead of {bad.tag}" if bad else ""
    model = ", ".join(f"`{path}`" for path in PATHS)
    code = ", ".join(f"`{path}`" for path in server.PATHS)
    return (
        f"{record['environment']} runs **{record['tag']}**{instead} since a "
        f"{record['action']}: {record['reason']}\n\n"
        "`main` still names the version that was left. This brings the model's files "
        f"({model}; `{MACHINERY}/` if its stages or its server changed) back to "
        f"{record['commit']}, and the server's ({code}) back to "
        f"{server.of(record).commit}, so that `main` and production agree. Merging it "
        f"deploys nothing.\n\n{PRESS}\n"
    )
