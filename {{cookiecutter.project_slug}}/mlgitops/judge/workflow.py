"""The program of the workflow `validate`: fetch, judge, decide, publish."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

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
from mlgitops.judge.proposal import Proposal
from mlgitops.judge.verdict import ERRORS, Case, Unsound
from mlgitops.judgement import Refused
from mlgitops.ledger import Ledger
from mlgitops.report import page

ADOPTED = "wait: the lock was committed here, and is judged once more."


def run() -> None:
    """Judge a pull request; whatever happens, its author sees why.

    Raises:
        ERRORS: no verdict can be given.
    """
    try:
        found = proposal.find(github.event())
    except proposal.Nothing as nothing:
        return print(f"nothing to judge: {nothing}")
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
        raise Unsound(words) from error


def _judge(found: Proposal) -> None:
    """Fetch, judge, decide, publish."""
    params = settings.load(Path("params.yaml").read_bytes())
    gated = gates.parse(params, verdict.contract().task)
    limit = int(gated.rules.artifact_size.max_mb * 1e6)
    with TemporaryDirectory(prefix="validate-") as name:
        folder = Path(name)
        (folder / "challenger").mkdir()
        try:
            data = proposal.download(found.run["id"], limit)
            built = artifact.unpack(data, folder / "challenger", limit)
            build = artifact.read_build(folder / "challenger")
            tree = proposal.merged(found.number, found.head_sha, build["base_sha"])
            pointers = lock.pointers(tree)
        except Refused as refusal:
            return _refuse(found, refusal)
        except lock.LockError as error:
            return _refuse(found, Refused("data", str(error)))
        case = Case(folder, built, partial(git.show, tree), pointers, Ledger())
        verdict.consider(case)
        facts = _decided(case, found, build, tree, gated, params)
        publish.record(case, found, build, page.page(facts))
        app = os.environ.get("APP_TOKEN", "")
        if facts.state == "decide" and publish.adopt(case, found, app):
            facts.next = ADOPTED
        publish.say(found, facts)


def _decided(
    case: Case,
    found: Proposal,
    build: dict[str, Any],
    tree: str,
    gated: gates.Gates,
    params: settings.Params,
) -> report.Facts:
    """Overrule what may be, keep what passed; return all that the report says."""
    task = gated.task.name
    said = override.apply(case, github.event(), found.number, params, task)
    base = build["base_sha"]
    if case.passed:
        publish.keep(case, base)
    facts = _about(verdict.facts(case, *_state(case, found)), found)
    facts.uses = shelf.uses(case)
    changed = git.run("diff", "--name-only", base, tree).splitlines()
    facts.cautions = [
        *([report.text(said, 800)] if said else []),
        *cautions.built(changed, base, case.read, case.ledger),
        *facts.cautions,
        *shelf.caution(facts.uses, gated.rules.holdout.max_uses),
    ]
    facts.override = override.possible(case.checks, params, task)
    facts.expectation = expectation.told(found, base, case.ledger, case.found)
    facts.build = _build(build, settings.compute(params))
    return facts


def _build(build: Mapping[str, Any], compute: settings.Compute | None) -> report.Build:
    """Return how it was built, and what that cost by main's price of a minute."""
    price = compute.price_per_minute if compute else None
    return report.Build(
        stages_run=list(map(str, build["stages_run"])),
        restored=build["restored"],
        seconds=build["seconds"],
        cost=None if price is None else build["seconds"] / 60 * price,
        currency=compute.currency if compute else "",
    )


def _state(case: Case, found: Proposal) -> tuple[report.State, str]:
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


def _not_built(found: Proposal) -> None:
    """Say that there is nothing to judge because `train` did not succeed."""
    word = str(found.run["conclusion"]).replace("_", " ")
    why = f"`train` ended with {word}, so there is no model to judge"
    _refuse(found, Refused("train", why))


def _refuse(found: Proposal, refusal: Refused) -> None:
    """Publish a refusal of what was never a version: no verdict, but a red status."""
    facts = report.Facts(
        state="blocked",
        verdict=f"{refusal.check.title}: {refusal}.",
        checks=[refusal.check],
        cautions=cautions.unbuilt(found),
        next=f"read [the run of train]({found.run['html_url']}), then push a fix.",
    )
    publish.say(found, _about(facts, found))


def _about(facts: report.Facts, found: Proposal) -> report.Facts:
    """Add which pull request, commit, rules and runs the report is about."""
    return msgspec.structs.replace(
        facts,
        pull_request=found.number,
        head_sha=found.head_sha,
        rules_sha=git.run("rev-parse", "HEAD"),
        run_url=github.run_url(),
        artifact_url=found.run["html_url"],
    )
