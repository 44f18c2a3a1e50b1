"""The program of the workflow `validate`: fetch, judge, decide, publish."""

import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from mlgitops import git, github, lock, report, settings
from mlgitops.judge import (
    artifact,
    cautions,
    expectation,
    gates,
    holdout_reuse,
    override,
    proposal,
    publish,
    verdict,
)
from mlgitops.judge.artifact import BuildRecord
from mlgitops.judge.proposal import NothingToJudge, Proposal
from mlgitops.judge.verdict import ERRORS, Case, ValidationError
from mlgitops.judgement import Refused
from mlgitops.ledger import Ledger
from mlgitops.report import page

ADOPTED = "wait: the lock was committed here, and is judged once more."


def run() -> None:
    """Judge a pull request; whatever happens, its author sees why.

    Raises:
        ERRORS: no verdict can be given.
    """
    head = ""
    try:
        proposed = proposal.find(github.event())
        head = proposed.head_sha
        if proposed.run["conclusion"] == "success":
            _judge(proposed)
        else:
            conclusion = str(proposed.run["conclusion"]).replace("_", " ")
            reason = f"`train` ended with {conclusion}: there is no model to judge"
            _refuse(proposed, Refused("train", reason))
    except NothingToJudge as nothing:
        print(f"nothing to judge: {nothing}")
    except ERRORS as error:
        if not head:
            raise
        sentence = f"No verdict: {error}"
        github.status(head, publish.CONTEXT, "error", sentence)
        raise ValidationError(sentence) from error


def _judge(proposed: Proposal) -> None:
    """Fetch, judge, decide, publish."""
    params = settings.load(Path("params.yaml").read_bytes())
    gated = gates.parse(params, verdict.contract().task)
    limit = int(gated.rules.artifact_size.max_mb * 1e6)
    with TemporaryDirectory(prefix="validate-") as name:
        challenger = Path(name, "challenger")
        challenger.mkdir()
        try:
            data = proposal.download(proposed.run["id"], limit)
            built = artifact.unpack(data, challenger, limit)
            build = artifact.read_build(challenger)
            tree = proposal.merge(proposed.number, proposed.head_sha, build.base_sha)
            pointers = lock.pointers(tree)
        except Refused as refusal:
            return _refuse(proposed, refusal)
        except lock.LockError as error:
            return _refuse(proposed, Refused("data", str(error)))
        case = Case(Path(name), built, partial(git.show, tree), pointers, Ledger())
        verdict.consider(case)
        facts = _decide(case, proposed, build, tree, gated, params)
        publish.record(case, proposed, build, page.page(facts))
        app_token = os.environ.get("APP_TOKEN", "")
        if facts.state == "decide" and publish.adopt(case, proposed, app_token):
            facts.next = ADOPTED
        publish.announce(proposed, facts)


def _decide(
    case: Case,
    proposed: Proposal,
    build: BuildRecord,
    tree: str,
    gated: gates.Gates,
    params: settings.Params,
) -> report.Facts:
    """Overrule what may be, store what passed; return all that the report says."""
    task, base = gated.task.name, build.base_sha
    overruled = override.apply(case, github.event(), proposed.number, params, task)
    if case.passed:
        publish.store(case, base)
    facts = _with_sources(verdict.facts(case, *_state(case, proposed)), proposed)
    facts.uses = holdout_reuse.uses(case)
    changed = git.run("diff", "--name-only", base, tree).splitlines()
    facts.cautions = [
        *([report.text(overruled, 800)] if overruled else []),
        *cautions.built(changed, base, case.read_file, case.ledger),
        *facts.cautions,
        *holdout_reuse.caution(facts.uses, gated.rules.holdout.max_uses),
    ]
    facts.override = override.possible(case.checks, params, task)
    facts.expectation = expectation.sentence(
        proposed, base, case.ledger, case.judgement
    )
    before = built_before(case) if build.restored else 0.0
    facts.build = build_cost(build, before, settings.compute(params))
    return facts


def built_before(case: Case) -> float | None:
    """Return the seconds of the run that built what this one restored, if known."""
    for record in reversed(case.ledger.judged()):
        build = record.get("build") or {}
        if record.get("lock_sha256") == case.built.sha256 and not build.get("restored"):
            return float(build["seconds"]) if build else None
    return None


def build_cost(
    build: BuildRecord, before: float | None, compute: settings.Compute | None
) -> report.Build:
    """Return how it was built, and what that cost by main's price of a minute.

    ``before`` are the seconds of an earlier run that built what this one restored.
    """
    cost = None
    if compute and before is not None:
        cost = (before + build.seconds) / 60 * compute.price_per_minute
    return report.Build(
        stages_run=build.stages_run,
        restored=build.restored,
        seconds=build.seconds,
        before=before,
        cost=cost,
        priced=compute is not None,
        currency=compute.currency if compute else "",
    )


def _state(case: Case, proposed: Proposal) -> tuple[report.State, str]:
    """Return the state, and what to do next."""
    if not case.passed:
        return "blocked", "push a change to this branch; it is judged again."
    if case.read_file("dvc.lock") == (case.challenger / "dvc.lock").read_bytes():
        return "ready", "review and merge; what is deployed is what was judged here."
    number = proposed.number
    return "decide", f"`make adopt PR={number}` commits the lock that CI built."


def _refuse(proposed: Proposal, refusal: Refused) -> None:
    """Publish a refusal of what was never a version: no verdict, but a red status."""
    facts = report.Facts(
        state="blocked",
        verdict=f"{refusal.check.title}: {refusal}.",
        checks=[refusal.check],
        cautions=cautions.unbuilt(proposed),
        next=f"read [the run of train]({proposed.run['html_url']}), then push a fix.",
    )
    publish.announce(proposed, _with_sources(facts, proposed))


def _with_sources(facts: report.Facts, proposed: Proposal) -> report.Facts:
    """Add which pull request, commit, rules and runs the report is about."""
    return msgspec.structs.replace(
        facts,
        pull_request=proposed.number,
        head_sha=proposed.head_sha,
        rules_sha=git.run("rev-parse", "HEAD"),
        run_url=github.run_url(),
        artifact_url=proposed.run["html_url"],
    )
