"""Lists what is set up here and on GitHub, and what to type where it is not.

    python -m mlgitops doctor        (make doctor)

It only reads. Exit 1 if something is broken; weaker settings are only listed.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mlgitops import git, github, heartbeat, lock, storage
from mlgitops.commands.protect import absent_rulesets, on_github
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError
from mlgitops.release.environments import CHAMPION, names, variable

GOOD, WEAK, BROKEN = "ok", "weaker", "broken"
ERRORS = (git.GitError, storage.StorageError, lock.LockError, ReleaseError)


@dataclass(frozen=True)
class Finding:
    """One line: the state of one thing, and what to type."""

    state: str
    text: str


def main() -> None:
    """Print every finding."""
    broken = 0
    for look in (*LOCAL, *REMOTE):
        try:
            findings = list(look())
        except github.GitHubError as error:
            text = f"{look.__name__}: GitHub refuses to tell: {error}"
            findings = [Finding(WEAK, text)]
        except ERRORS as error:
            findings = [Finding(BROKEN, f"{look.__name__}: {error}")]
        for finding in findings:
            print(f"{finding.state:7} {finding.text}")
            broken += finding.state == BROKEN
    if broken:
        raise SystemExit(f"{broken} finding{'' if broken == 1 else 's'} to repair")


def programs() -> Iterator[Finding]:
    """Check the programs that the Makefile calls."""
    for name in ("git", "dvc", "gh", "gto"):
        if shutil.which(name):
            yield Finding(GOOD, f"program {name}")
        else:
            yield Finding(BROKEN, f"program {name} is missing: type `make setup`")


def verify() -> Iterator[Finding]:
    """Check that DVC verifies what it downloads."""
    text = Path(".dvc/config").read_text() if Path(".dvc/config").is_file() else ""
    on = any(line.replace(" ", "") == "verify=true" for line in text.splitlines())
    fix = "DVC accepts altered objects: type `dvc remote modify storage verify true`"
    yield Finding(GOOD if on else BROKEN, "DVC verifies objects" if on else fix)


def packages() -> Iterator[Finding]:
    """Check that DVC has the package for storage's kind of address."""
    kind = storage.kind()
    problem = ""
    if not kind or any(find_spec(f"dvc_{n}") for n in (kind, kind.removesuffix("s"))):
        yield Finding(GOOD, f"storage is {storage.url()}")
    elif kind in storage.kinds():
        problem = f"DVC's package for {kind} is not installed: type `make setup`"
    else:
        problem = (
            f"the packages for {kind} are not locked (those for "
            f"{', '.join(storage.kinds())} are): add `dvc[{kind}]` to the group "
            "`pipeline` in pyproject.toml, then type `make lock` and `make setup`"
        )
    if problem:
        yield Finding(BROKEN, f"storage is {storage.url()}, but {problem}")


def objects() -> Iterator[Finding]:
    """Check that storage has every object of dvc.lock and the .dvc pointers."""
    outs = lock.tracked()
    if missing := storage.missing(outs):
        names = ", ".join(out.path for out in missing)
        yield Finding(BROKEN, f"storage lacks {names}: type `make push`")
    else:
        text = f"storage has all objects of dvc.lock and the .dvc pointers: {len(outs)}"
        yield Finding(GOOD, text)
    if lock.read() is None:
        yield Finding(WEAK, "no dvc.lock yet: type `make repro`, then commit it")


def remote() -> Iterator[Finding]:
    """Check that origin answers, and what is in production."""
    if not git.has_remote():
        yield Finding(BROKEN, "no origin: type `gh repo create --source . --push`")
        return
    git.remote_run("ls-remote", "--heads", "origin")
    yield Finding(GOOD, "origin answers")
    ledger = Ledger()
    release = ledger.champion()
    runs = f"has {release['tag']}" if release else "has no version yet"
    yield Finding(GOOD, f"production {runs}")
    if late := heartbeat.late(ledger):
        yield Finding(WEAK, late)


def rulesets() -> Iterator[Finding]:
    """Check that GitHub protects main, versions and the ledger."""
    if missing := sorted(str(rules["name"]) for rules in absent_rulesets()):
        yield Finding(
            WEAK,
            f"GitHub lacks ruleset {'; '.join(missing)}: type `make github`; until "
            "then a merge can pass a red status, and `deploy` refuses it",
        )
    else:
        yield Finding(GOOD, "rulesets protect main, versions and the ledger")


def environments() -> Iterator[Finding]:
    """Check that each environment exists, and that production waits for a person."""
    rules = {str(e["name"]): e.get("protection_rules") or [] for e in on_github()}
    if missing := [name for name in names() if name not in rules]:
        yield Finding(
            WEAK,
            f"GitHub has no environment {', '.join(missing)}: type `make github`; "
            "until then a workflow on any branch can claim a deployment there",
        )
    if "required_reviewers" in [rule["type"] for rule in rules.get(CHAMPION, [])]:
        yield Finding(GOOD, "production waits for a reviewer")
        return
    if _variables().get("PRODUCTION_BY_DISPATCH", "").lower() == "true":
        yield Finding(GOOD, "production waits for `gh workflow run deploy.yml`")
        return
    yield Finding(
        WEAK,
        "nobody approves production: type `make github`; where the plan has no "
        "required reviewers, production then waits for a dispatch of `deploy`",
    )


def _variables() -> dict[str, str]:
    """Return the variables of the repository."""
    variables = (github.api("actions/variables") or {}).get("variables") or []
    return {str(entry["name"]): str(entry["value"]) for entry in variables}


def actions() -> Iterator[Finding]:
    """Check that Actions may open pull requests, and the repository's variables."""
    may = github.api("actions/permissions/workflow")
    on = bool(may.get("can_approve_pull_request_reviews"))
    fix = "Actions may not open pull requests: type `make github`"
    yield Finding(GOOD if on else WEAK, "Actions may open pull requests" if on else fix)
    settings = _variables()
    yield _variable_finding(
        settings,
        "APP_ID",
        "an App commits the locks that CI built",
        "no App: a person types `make adopt`, and a pull request made by a workflow "
        'waits for "Approve workflows to run"',
    )
    for name in map(variable, names()):
        yield _variable_finding(
            settings,
            name,
            f"{name} is {settings.get(name)}",
            f"no {name}: versions are published, unconfirmed; type `gh variable set "
            f"{name} --body agent`, or the address that answers /info",
        )
    if not any(Path("deploy", target).is_dir() for target in ("kubernetes", "edge")):
        yield _variable_finding(
            settings,
            "IMAGE_REGISTRY",
            f"images go to {settings.get('IMAGE_REGISTRY')}",
            "no IMAGE_REGISTRY: releases have no image; type `gh variable set "
            "IMAGE_REGISTRY --body ghcr.io`",
        )
    yield _variable_finding(
        settings,
        "PREDICTION_LOG",
        "the monitor reads the prediction log",
        "no PREDICTION_LOG: the monitor has nothing to read; type `gh variable set "
        "PREDICTION_LOG --body URL`",
    )


def origins() -> Iterator[Finding]:
    """Check that others can verify where a version comes from."""
    try:
        secrets = github.api("environments/register/secrets") or {}
    except github.GitHubError as error:
        if error.status != 404:
            raise
        secrets = {}
    names = [str(secret["name"]) for secret in secrets.get("secrets") or []]
    signed = "SIGNING_KEY" in names and Path("signing.pub").is_file()
    public = (github.api(f"/repos/{github.repo()}") or {}).get("visibility") == "public"
    if public:
        yield Finding(GOOD, "GitHub attests where versions come from")
    if signed:
        yield Finding(GOOD, "versions are signed")
    if not (public or signed):
        yield Finding(
            WEAK,
            "versions are neither attested nor signed: set the variable ATTEST to true "
            "where your plan attests private repositories, or make a key as "
            "mlgitops/release/sign.py says",
        )


def _variable_finding(
    settings: dict[str, str], name: str, good: str, weak: str
) -> Finding:
    """Return a finding on one variable of the repository."""
    return Finding(GOOD, good) if settings.get(name) else Finding(WEAK, weak)


LOCAL = (programs, verify, packages, objects)
REMOTE = (remote, rulesets, environments, actions, origins)
