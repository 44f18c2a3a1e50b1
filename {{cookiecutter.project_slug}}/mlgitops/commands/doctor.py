"""Lists what is set up here and on GitHub, and what to type where it is not.

    python -m mlgitops doctor        (make doctor)

It only reads, but for one small object that it writes to storage and deletes. Exit 1 if
something is broken; weaker settings are only listed.
"""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mlgitops import (
    git,
    github,
    heartbeat,
    lock,
    registered_runners,
    settings,
    storage,
)
from mlgitops import runners as own_runners
from mlgitops.alert import webhook
from mlgitops.commands.expected import ERRORS
from mlgitops.commands.logins import lacking, secrets
from mlgitops.commands.protect import (
    absent_rulesets,
    disabled_rulesets,
    lacking_owner,
    on_github,
    open_to,
)
from mlgitops.commands.pull import released_lock
from mlgitops.ledger import Ledger
from mlgitops.release import MAIN
from mlgitops.release.environments import CHAMPION, RESERVED, names, variable
from mlgitops.store import rights

GOOD, WEAK, BROKEN = "ok", "weaker", "broken"
Finding = tuple[str, str]  # the state of one thing, and what to type
Findings = Iterator[Finding]


def main() -> None:
    """Print every finding."""
    broken = 0
    unknown: dict[str, list[str]] = {}  # why GitHub did not say: the checks
    for check in (*LOCAL, *REMOTE):
        findings: list[Finding] = []
        try:
            findings.extend(check())
        except github.GitHubError as error:
            unknown.setdefault(str(error), []).append(check.__name__)
        except ERRORS as error:
            findings.append((BROKEN, f"{check.__name__}: {error}"))
        for state, text in findings:
            print(f"{state:7} {text}")
            broken += state == BROKEN
    for reason, checks in unknown.items():
        print(f"{WEAK:7} not known ({', '.join(checks)}): {reason}")
    if broken:
        raise SystemExit(f"{broken} finding{'' if broken == 1 else 's'} to repair")


def finding(is_good: object, good: str, otherwise: str, state: str = WEAK) -> Finding:
    """Return the finding of a check that has two outcomes."""
    return (GOOD, good) if is_good else (state, otherwise)


def programs() -> Findings:
    """Check the programs that the Makefile calls."""
    for name in ("git", "dvc", "gh", "gto"):
        missing = f"program {name} is missing: type `make setup`"
        yield finding(shutil.which(name), f"program {name}", missing, BROKEN)


def verify() -> Findings:
    """Check that DVC verifies what it downloads."""
    text = Path(".dvc/config").read_text() if Path(".dvc/config").is_file() else ""
    on = any(line.replace(" ", "") == "verify=true" for line in text.splitlines())
    fix = "DVC accepts altered objects: type `dvc remote modify storage verify true`"
    yield finding(on, "DVC verifies objects", fix, BROKEN)


def packages() -> Findings:
    """Check that DVC has the package for storage's kind of address."""
    kind, address = storage.kind(), storage.url()
    installed = any(find_spec(f"dvc_{n}") for n in (kind, kind.removesuffix("s")))
    fix = f"DVC's package for {kind} is not installed: type `make setup`"
    if kind not in storage.kinds():
        fix = (
            f"the packages for {kind} are not locked (those for "
            f"{', '.join(storage.kinds())} are): add `dvc[{kind}]` to the group "
            "`pipeline` in pyproject.toml, then type `make lock` and `make setup`"
        )
    good = f"storage is {address}"
    yield finding(not kind or installed, good, f"{good}, but {fix}", BROKEN)


def objects() -> Findings:
    """Check that storage has the data, and the version that HEAD builds."""
    outs = [*lock.pointers().values()]
    missing = ", ".join(out.path for out in storage.missing(outs))
    good = f"storage has all objects of the .dvc pointers: {len(outs)}"
    fix = f"storage lacks {missing}: type `make push`"
    yield finding(not missing, good, fix, BROKEN)
    if data := released_lock(Ledger()):
        built = lock.parse(data).outs
        missing = ", ".join(out.path for out in storage.missing(built))
        good = f"storage has all objects of the version that HEAD builds: {len(built)}"
        fix = (
            f"storage lacks {missing} of the version that HEAD builds: type `make "
            "push` where `make pull` has brought it, or after `make repro`, which may "
            "build the same bytes; its model is on the GitHub Release too"
        )
        yield finding(not missing, good, fix, BROKEN)
    at_version = git.run("tag", "--points-at", "HEAD", "--list", "*@v*", check=False)
    tracked = git.run("ls-files", "dvc.lock", check=False)
    if tracked and not at_version:
        yield (
            WEAK,
            f"{tracked} is in git, where nothing reads it and it brings conflicts: "
            "type `git rm --cached dvc.lock`",
        )


def access() -> Findings:
    """Check with a small object what storage lets the logins here do."""
    if storage.branch_folder() and not git.has_remote():
        return
    tried = rights.probe()
    after = "deleted it" if not tried.delete else f"keeps it ({tried.path})"
    yield finding(
        not (tried.write or tried.read),
        f"storage took an object, gave it back and {after}",
        f"storage cannot be written and read with the login here, so `make push` would "
        f"fail: {tried.write or tried.read}",
    )
    if Path(".dvc", rights.READER).is_file():
        reader = rights.probe(rights.READER)
        if reader.write and not reader.denied:
            yield (
                WEAK,
                f"whether the login in .dvc/{rights.READER} may write cannot be tried: "
                f"{reader.write}",
            )
            return
        yield finding(
            reader.denied,
            f"the login in .dvc/{rights.READER} cannot write",
            f"the login in .dvc/{rights.READER} may write, and `train` runs a "
            "proposal's code with it: use one that only reads",
            BROKEN,
        )


def remote() -> Findings:
    """Check that origin answers, and what is in production."""
    if not git.has_remote():
        yield BROKEN, "no origin: type `gh repo create --source . --push`"
        return
    git.remote_run("ls-remote", "--heads", "origin")
    yield GOOD, "origin answers"
    ledger = Ledger()
    release = ledger.champion()
    version = release["tag"] if release else "no version yet"
    yield GOOD, f"production has {version}"
    if late := heartbeat.late(ledger):
        yield WEAK, late


def rulesets() -> Findings:
    """Check that GitHub protects main, versions and the ledger."""
    missing = "; ".join(sorted(str(rules["name"]) for rules in absent_rulesets()))
    yield finding(
        not missing,
        "rulesets protect main, versions and the ledger",
        f"GitHub lacks ruleset {missing}: type `make github`; until then a merge can "
        "pass a red status, and `deploy` refuses it",
    )
    if off := "; ".join(disabled_rulesets()):
        yield (
            WEAK,
            f"ruleset {off} is switched off: switch it on under Settings, Rules; until "
            "then a merge can pass a red status, and `deploy` refuses it",
        )


def owners() -> Findings:
    """Check that somebody can agree to each change of what judges a model."""
    problem = lacking_owner()
    yield finding(not problem, "CODEOWNERS names owners that GitHub takes", problem)


def environments() -> Findings:
    """Check that each environment is for main only, and production for a person."""
    present = {str(each["name"]): each for each in on_github()}
    if missing := [name for name in names() if name not in present]:
        yield (
            WEAK,
            f"GitHub has no environment {', '.join(missing)}: type `make github`; "
            "until then a workflow on any branch can claim a deployment there",
        )
    branches = {n: open_to(e) for n, e in present.items() if n in (*RESERVED, *names())}
    for name, open_ in branches.items():
        if open_ != [MAIN]:
            others = "any branch" if "*" in open_ else ", ".join(open_) or "no branch"
            yield (
                WEAK,
                f"environment {name} is for {others}, not for {MAIN} only: type `make "
                "github`; until then who may push can read its secrets by a workflow "
                "there",
            )
    rules = present.get(CHAMPION, {}).get("protection_rules") or []
    if "required_reviewers" in [rule["type"] for rule in rules]:
        yield GOOD, "production waits for a reviewer"
        return
    yield finding(
        github.variables().get("PRODUCTION_BY_DISPATCH", "").lower() == "true",
        "production waits for `gh workflow run deploy.yml`",
        "nobody approves production: type `make github`; where the plan has no "
        "required reviewers, production then waits for a dispatch of `deploy`",
    )


def surroundings() -> Findings:
    """Check what the workflows take for granted of the repository's settings."""
    server = (github.api("/meta") or {}).get("installed_version")
    yield finding(
        not server,
        "this is github.com",
        f"this is GitHub Enterprise Server {server}, where nothing here runs: its "
        "Actions lack the artifacts of upload-artifact v4 and later",
        BROKEN,
    )
    branch = (github.api(f"/repos/{github.repo()}") or {}).get("default_branch")
    yield finding(
        branch == MAIN,
        f"the default branch is {MAIN}",
        f"the default branch is {branch}, so nothing here runs: rename it with "
        f"`gh api --method POST repos/{{owner}}/{{repo}}/branches/{branch}/rename -f "
        f"new_name={MAIN}`",
        BROKEN,
    )
    allowed = github.api("actions/permissions") or {}
    takes = allowed.get("enabled") and allowed.get("allowed_actions") != "local_only"
    yield finding(
        takes,
        "workflows may use the actions of GitHub's own",
        "no workflow can start, as the actions of GitHub's own (actions/*) are not "
        "allowed: allow them under Settings, Actions; all are pinned to a commit",
        BROKEN,
    )
    if allowed.get("allowed_actions") == "selected":
        selected = github.api("actions/permissions/selected-actions") or {}
        yield finding(
            selected.get("github_owned_allowed"),
            "the list of allowed actions has those of GitHub's own",
            "the list of allowed actions needs those of GitHub's own (actions/*)",
            BROKEN,
        )


def queue() -> Findings:
    """Check that no merge queue waits for what never reports there."""
    rules = [rule["type"] for rule in github.pages(f"rules/branches/{MAIN}")]
    yield finding(
        "merge_queue" not in rules,
        f"{MAIN} has no merge queue",
        f"{MAIN} has a merge queue, in which `ci` and `validate` never report: switch "
        "it off in the rules; a branch up to date with main is required instead",
        BROKEN,
    )


def actions() -> Findings:
    """Check that Actions may open pull requests, and the repository's variables."""
    may = github.api("actions/permissions/workflow")
    yield finding(
        may.get("can_approve_pull_request_reviews"),
        "Actions may open pull requests",
        "Actions may not open pull requests: type `make github`",
    )
    values = github.variables()
    yield finding(
        values.get("APP_CLIENT_ID"),
        "checks start by themselves on the pull request that the monitor opens",
        "no App: a pull request made by a workflow waits for "
        '"Approve workflows to run"',
    )
    for name in map(variable, names()):
        yield finding(
            values.get(name),
            f"{name} is {values.get(name)}",
            f"no {name}: versions are published, unconfirmed; type `gh variable set "
            f"{name} --body agent`, or the address that answers /info",
        )
    if not any(Path("deploy", target).is_dir() for target in ("kubernetes", "edge")):
        yield finding(
            values.get("IMAGE_REGISTRY"),
            f"images go to {values.get('IMAGE_REGISTRY')}",
            "no IMAGE_REGISTRY: releases have no image; type `gh variable set "
            "IMAGE_REGISTRY --body ghcr.io`",
        )
    yield finding(
        values.get("PREDICTION_LOG"),
        "the monitor reads the prediction log",
        "no PREDICTION_LOG: the monitor has nothing to read; type `gh variable set "
        "PREDICTION_LOG --body URL`",
    )


def runners() -> Findings:
    """Check where jobs run, and that proposed code meets no job that may write."""
    variables = github.variables()
    labels = own_runners.own_labels(variables)
    for problem in (*own_runners.unknown(variables), *own_runners.unseen(labels)):
        yield WEAK, problem
    if not labels:
        yield GOOD, "every job is on a runner of GitHub's own"
        return
    for name, own in labels.items():
        jobs = own_runners.CLASSES[name]
        yield GOOD, f"{name} is {', '.join(sorted(own))}: {jobs}"
    present, refusal = registered_runners.listed()
    yield from ((BROKEN, text) for text in own_runners.shared(labels, present))
    if refusal:
        raise refusal
    yield from ((WEAK, text) for text in own_runners.weaknesses(labels, present))


def logins() -> Findings:
    """Check that the workflows can log in to storage, where that needs a login."""
    if not storage.kind():
        return
    problems = lacking()
    for problem in problems:
        yield WEAK, problem
    if not problems:
        yield GOOD, "the workflows have their logins to storage"


def alerts() -> Findings:
    """Check that each job that has something to tell knows where to."""
    rules = settings.alerts(settings.load(Path("params.yaml").read_bytes()))
    if rules is None:
        return
    jobs = ("monitor", "register", *names())
    lacking = [job for job in jobs if webhook.SECRET not in secrets(job)]
    yield finding(
        not lacking,
        f"alerts go to {webhook.SECRET}, as {rules.format}",
        f"no {webhook.SECRET} in environment {', '.join(lacking)}: its alerts are not "
        f"sent; type `gh secret set {webhook.SECRET} --env NAME` for each",
    )


def origins() -> Findings:
    """Check that others can verify where a version comes from."""
    signed = "SIGNING_KEY" in secrets("register") and Path("signing.pub").is_file()
    public = (github.api(f"/repos/{github.repo()}") or {}).get("visibility") == "public"
    if public:
        yield GOOD, "GitHub attests where versions come from"
    if signed:
        yield GOOD, "versions and releases are signed"
    if not (public or signed):
        yield (
            WEAK,
            "versions are neither attested nor signed: set the variable ATTEST to true "
            "where your plan attests private repositories, or make a key as "
            "mlgitops/release/signature.py says",
        )


LOCAL = (programs, verify, packages, objects, access)
REMOTE = (
    remote,
    surroundings,
    queue,
    rulesets,
    owners,
    environments,
    actions,
    runners,
    logins,
    alerts,
    origins,
)
