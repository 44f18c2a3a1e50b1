"""The program of the workflow `validate`: fetch, judge, decide, publish."""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from mlgitops import git, github, lock, report, settings
from mlgitops.judge import (
    artifact,
    cautions,
    expectation,
    gates,
    override,
    proposal,
    publish,
    shelf,
    verdict,
)
from mlgitops.judge.gates import Refused
from mlgitops.judge.verdict import ERRORS, Case, Facts
from mlgitops.ledger import Ledger
from mlgitops.report import page

ADOPTED = "wait: the lock was committed here, and is judged once more."


def run() -> None:
    """Judge a pull request; whatever happens, its author sees why."""
    try:
        found = proposal.find(github.event())
    except proposal.Nothing as nothing:
        return print(f"nothing to judge: {nothing}")
    except ERRORS as error:
        raise github.fail(str(error)) from error
    try:
        if found.run["conclusion"] == "success":
            _judge(found)
        else:
            _not_built(found)
    except proposal.Nothing as nothing:
        print(f"nothing to judge: {nothing}")
    except ERRORS as error:
        words = f"No verdict: {error}"
        github.status(found.head_sha, publish.CONTEXT, "error", words)
        raise github.fail(words) from error


def _judge(found: proposal.Proposal) -> None:
    """Fetch, judge, decide, publish."""
    rules = gates.parse(_params().get("gates") or {}, verdict.contract().task)
    limit = int(rules.artifact_max_mb * 1e6)
    with TemporaryDirectory(prefix="validate-") as name:
        folder = Path(name)
        (folder / "challenger").mkdir()
        try:
            data = proposal.download(found.run["id"], limit)
            built = artifact.unpack(data, folder / "challenger", limit)
            build = artifact.read_build(folder / "challenger")
            tree = proposal.merged(found.number, found.head_sha, build["base_sha"])
            pointers = lock.pointers(tree)
        except (Refused, lock.LockError) as error:
            wrapped = (
                error if isinstance(error, Refused) else Refused("Data", f"{error}")
            )
            return _refuse(found, wrapped)
        read = partial(git.show, tree)
        case = Case(folder, built, read, pointers, Ledger())
        verdict.consider(case)
        uses = shelf.uses(case)
        params = _params()
        said = override.apply(case, github.event(), found.number, params)
        if case.passed:
            publish.keep(case, build["base_sha"])
        facts = {**verdict.facts(case, *_state(case, found)), **_about(found)}
        changed = git.run("diff", "--name-only", build["base_sha"], tree).splitlines()
        first = [report.text(said, 800)] if said else []
        first += cautions.built(changed, build["base_sha"], read, case.ledger)
        facts["cautions"] = first + facts["cautions"]
        facts["override"] = override.possible(case.checks, params)
        facts["uses"] = uses
        base, head = build["base_sha"], facts.get("headline")
        facts["expectation"] = expectation.told(found, base, case.ledger, head)
        facts["cautions"] += shelf.caution(uses, rules.holdout_uses)
        facts["build"] = {
            "stages run": ", ".join(map(str, build["stages_run"])) or "none",
            "restored": "yes, CI built it before" if build["restored"] else "no",
            "seconds": build["seconds"],
            "cost": _cost(build["seconds"]),
        }
        publish.record(case, found, build, page.page(facts))
        app = os.environ.get("APP_TOKEN", "")
        if facts["state"] == "decide" and publish.adopt(case, found, app):
            facts["next"] = ADOPTED
        publish.say(found, facts)


def _cost(seconds: float) -> str:
    """Return what a build of so many seconds costs, by main's price of a minute."""
    rules = settings.compute(_params())
    if rules is None:
        return "not known: params.yaml has no section compute"
    return f"{seconds / 60 * rules.price_per_minute:.4f} {rules.currency}"


def _state(case: Case, found: proposal.Proposal) -> tuple[str, str]:
    """Return the state, and what to do next."""
    if not case.passed:
        return "blocked", "push a change to this branch; it is judged again."
    committed = case.read("dvc.lock")
    if (
        committed is not None
        and committed == (case.challenger / "dvc.lock").read_bytes()
    ):
        return "ready", "review and merge; what is deployed is what was judged here."
    return "decide", f"`make adopt PR={found.number}` commits the lock that CI built."


def _not_built(found: proposal.Proposal) -> None:
    """Say that there is nothing to judge because `train` did not succeed."""
    word = str(found.run["conclusion"]).replace("_", " ")
    why = f"`train` ended with {word}, so there is no model to judge"
    _refuse(found, Refused("Train", why, word, "success"))


def _refuse(found: proposal.Proposal, refusal: Refused) -> None:
    """Publish a refusal of what was never a version: no verdict, but a red status."""
    facts = {
        "state": "blocked",
        "verdict": f"{refusal.check.name}: {refusal}.",
        "checks": [refusal.check.record()],
        "cautions": cautions.unbuilt(found),
        "next": f"read [the run of train]({found.run['html_url']}), then push a fix.",
    }
    publish.say(found, {**facts, **_about(found)})


def _about(found: proposal.Proposal) -> Facts:
    """Return which pull request, commit, rules and runs the report is about."""
    return {
        "pull_request": found.number,
        "head_sha": found.head_sha,
        "rules_sha": git.run("rev-parse", "HEAD"),
        "run_url": github.run_url(),
        "artifact_url": found.run["html_url"],
    }


def _params() -> Facts:
    """Return main's params.yaml."""
    return settings.load(Path("params.yaml").read_bytes())
