"""Says, line by line, what is set up here and on GitHub, and what to type if not.

    python -m mlgitops doctor        (make doctor)

It only reads. Exit 1 if something is broken; what is merely weaker is said.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlgitops import git, github, heartbeat, lock, storage
from mlgitops.commands.protect import RULESETS
from mlgitops.ledger import Ledger
from mlgitops.release import ReleaseError
from mlgitops.release.environments import CHAMPION, names, variable

GOOD, WEAK, BROKEN = "ok", "weaker", "broken"
ERRORS = (git.GitError, storage.StorageError, lock.LockError, ReleaseError)


@dataclass(frozen=True)
class Finding:
    """One line: how it stands, with what, and what to type."""

    state: str
    what: str


def main() -> None:
    """Print every finding."""
    broken = 0
    for look in (*LOCAL, *REMOTE):
        try:
            findings = list(look())
        except github.GitHubError as error:
            what = f"{_name(look)}: GitHub does not tell; {error}"
            findings = [Finding(WEAK, what)]
        except ERRORS as error:
            findings = [Finding(BROKEN, f"{_name(look)}: {error}")]
        for finding in findings:
            print(f"{finding.state:7} {finding.what}")
            broken += finding.state == BROKEN
    if broken:
        raise SystemExit(f"{broken} to repair")


def programs() -> Iterator[Finding]:
    """Look for the programs that the Makefile calls."""
    for name in ("git", "dvc", "gh", "gto"):
        found = shutil.which(name)
        what = f"program {name}" if found else f"no program {name}: type `make setup`"
        yield Finding(GOOD if found else BROKEN, what)


def verify() -> Iterator[Finding]:
    """Look whether DVC believes transfers."""
    text = Path(".dvc/config").read_text() if Path(".dvc/config").is_file() else ""
    on = any(line.replace(" ", "") == "verify=true" for line in text.splitlines())
    fix = "type `dvc remote modify storage verify true`: DVC accepts altered objects"
    yield Finding(GOOD if on else BROKEN, "DVC verifies objects" if on else fix)


def objects() -> Iterator[Finding]:
    """Look whether storage answers and has what the lock and the pointers name."""
    locked = lock.read()
    outs = [*lock.pointers().values(), *(locked.outs if locked else ())]
    if gone := storage.missing(outs):
        names = ", ".join(out.path for out in gone)
        yield Finding(BROKEN, f"storage lacks {names}: type `make push`")
    else:
        yield Finding(GOOD, f"storage has all {len(outs)} objects that are named")
    if locked is None:
        yield Finding(WEAK, "no dvc.lock yet: type `make repro`, then commit it")


def remote() -> Iterator[Finding]:
    """Look whether origin answers."""
    if not git.has_remote():
        fix = "no origin: type `gh repo create --source . --push`"
        yield Finding(BROKEN, fix)
        return
    git.remote_run("ls-remote", "--heads", "origin")
    yield Finding(GOOD, "origin answers")
    ledger = Ledger()
    release = ledger.champion()
    said = (
        f"production has {release['tag']}" if release else "nothing in production yet"
    )
    yield Finding(GOOD, said)
    if late := heartbeat.late(ledger):
        yield Finding(WEAK, late)


def rulesets() -> Iterator[Finding]:
    """Look whether GitHub protects main, versions and the ledger."""
    there = {str(one["name"]) for one in github.pages("rulesets")}
    wanted = {str(r["name"]) for r in _rulesets()}
    if missing := sorted(wanted - there):
        yield Finding(
            WEAK,
            f"no ruleset {'; '.join(missing)}: type `make github`; until then a merge "
            "can pass a red status, and `deploy` refuses it",
        )
    else:
        yield Finding(GOOD, "rulesets protect main, versions and the ledger")


def environments() -> Iterator[Finding]:
    """Look whether each is there, and production waits for somebody, and for whom."""
    found = (github.api("environments") or {}).get("environments") or []
    there = {str(one["name"]): one.get("protection_rules") or [] for one in found}
    if missing := [name for name in names() if name not in there]:
        yield Finding(
            WEAK,
            f"GitHub has no environment {', '.join(missing)}: type `make github`; "
            "until then a workflow of any branch may say that it deploys there",
        )
    if "required_reviewers" in [rule["type"] for rule in there.get(CHAMPION, [])]:
        yield Finding(GOOD, "production waits for a reviewer")
        return
    if _variables().get("PRODUCTION_BY_DISPATCH", "").lower() == "true":
        yield Finding(
            GOOD,
            "production waits for `gh workflow run deploy.yml` by who may push",
        )
        return
    yield Finding(
        WEAK,
        "production waits for nobody: type `make github`; where the plan has no "
        "required reviewers, that lets it wait for a dispatch of `deploy`",
    )


def _variables() -> dict[str, str]:
    """Return the variables of the repository."""
    found = (github.api("actions/variables") or {}).get("variables") or []
    return {str(one["name"]): str(one["value"]) for one in found}


def actions() -> Iterator[Finding]:
    """Look whether Actions may open pull requests, and as whom."""
    may = github.api("actions/permissions/workflow")
    on = bool(may.get("can_approve_pull_request_reviews"))
    fix = "Actions may not open pull requests: type `make github`"
    yield Finding(GOOD if on else WEAK, "Actions may open pull requests" if on else fix)
    settings = _variables()
    yield _said(
        settings,
        "APP_ID",
        "an App commits adopted locks",
        "no App: "
        "`make adopt` is typed by a person, and a pull request made by a workflow "
        'waits for "Approve workflows to run"',
    )
    for name in map(variable, names()):
        yield _said(
            settings,
            name,
            f"{name} is {settings.get(name)}",
            f"no {name}: "
            "versions are published, unconfirmed; type `gh variable set "
            f"{name} --body agent`, or the address that answers /info",
        )
    if not any(Path("deploy", other).is_dir() for other in ("kubernetes", "edge")):
        yield _said(
            settings,
            "IMAGE_REGISTRY",
            f"images go to {settings.get('IMAGE_REGISTRY')}",
            "no IMAGE_REGISTRY: releases have no image; type `gh variable set "
            "IMAGE_REGISTRY --body ghcr.io`",
        )
    yield _said(
        settings,
        "PREDICTION_LOG",
        "the monitor reads the prediction log",
        "no PREDICTION_LOG: the monitor has nothing to read; type `gh variable set "
        "PREDICTION_LOG --body URL`",
    )


def origins() -> Iterator[Finding]:
    """Look whether others can check where a version comes from."""
    try:
        secrets = github.api("environments/register/secrets") or {}
    except github.GitHubError as error:
        if error.status != 404:
            raise
        secrets = {}
    names = [str(one["name"]) for one in secrets.get("secrets") or []]
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


def _said(settings: dict[str, str], name: str, good: str, weak: str) -> Finding:
    """Return a finding on one variable of the repository."""
    return Finding(GOOD, good) if settings.get(name) else Finding(WEAK, weak)


def _rulesets() -> list[dict[str, Any]]:
    """Return the rulesets that this repository ships."""
    files = sorted(RULESETS.glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _name(look: Callable[[], Iterator[Finding]]) -> str:
    """Return what a look is for."""
    return str(look.__name__)


LOCAL = (programs, verify, objects)
REMOTE = (remote, rulesets, environments, actions, origins)
