"""The program of the workflow `validate`: fetch, judge, decide, publish."""

import traceback
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from mlgitops import git, github, lock, recipe, report, settings
from mlgitops.judge import (
    artifact,
    cautions,
    expectation,
    gates,
    holdout_reuse,
    intake,
    override,
    proposal,
    publish,
    returning,
    sandbox,
    verdict,
)
from mlgitops.judge.artifact import BuildRecord
from mlgitops.judge.proposal import NothingToJudge, Proposal
from mlgitops.judge.verdict import ERRORS, Case, ValidationError
from mlgitops.judgement import Refused
from mlgitops.ledger import Ledger
from mlgitops.report import page

SECONDS = 1200  # for all of it but the publishing; the job is ended after 1800


def run() -> None:
    """Judge a pull request; whatever happens, its author sees why.

    Raises:
        ERRORS: no verdict can be given, or what was proposed broke the judge.
    """
    event = github.event()
    try:
        proposed = proposal.find(event)
    except NothingToJudge as nothing:
        return print(f"nothing to judge: {nothing}")
    except ERRORS as error:
        if run := event.get("workflow_run"):
            sentence = f"No verdict: {error}"
            github.status(run["head_sha"], publish.CONTEXT, "error", sentence)
        raise
    try:
        _judge_or_refuse(proposed)
    except NothingToJudge as nothing:
        print(f"nothing to judge: {nothing}")
    except Exception as error:
        sentence = _give_up(proposed, error)
        raise ValidationError(sentence) from error


def _judge_or_refuse(proposed: Proposal) -> None:
    """Judge what `train` built; what cannot be judged is refused, with its reason."""
    try:
        if proposed.run["conclusion"] != "success":
            conclusion = str(proposed.run["conclusion"]).replace("_", " ")
            reason = f"`train` ended with {conclusion}: there is no model to judge"
            raise Refused("train", reason)
        _judge(proposed)
    except Refused as refusal:
        _refuse(proposed, refusal)


def _give_up(proposed: Proposal, error: Exception) -> str:
    """Tell the author that there is no verdict, in status and comment; return why.

    An error that nobody foresaw is taken for the work of what was proposed, since all
    else that can fail is in ERRORS: a refusal, with the traceback in the log.
    """
    if isinstance(error, ERRORS):
        state, sentence = "error", f"No verdict: {error}"
    else:
        traceback.print_exception(error)
        state, sentence = "failure", f"Judge: it failed with {type(error).__name__}"
    sentence = sentence[:1000].encode("utf-8", "replace").decode()
    github.status(proposed.head_sha, publish.CONTEXT, state, sentence)
    again = f"`gh workflow run validate.yml -f pull_request={proposed.number}`"
    body = (
        f"## ⛔ No verdict\n\n{report.text(sentence, 600)}\n\n**Next:** push a change, "
        f"or read [the log]({github.run_url()}) and judge it again: {again}."
    )
    publish.comment(proposed, body, publish.is_newest(proposed))
    return sentence


def _judge(proposed: Proposal) -> None:
    """Fetch, judge, decide, publish.

    Raises:
        Refused: what was built cannot be judged.
    """
    params = settings.load(Path("params.yaml").read_bytes())
    gated = gates.parse(params, verdict.contract().task)
    limit = int(gated.rules.artifact_size.max_mb * 1e6)
    with TemporaryDirectory(prefix="validate-") as name:
        with sandbox.deadline(SECONDS):
            case, build, tree = _fetch(proposed, Path(name), limit)
            verdict.consider(case)
            facts = _decide(case, proposed, build, tree, gated, params)
        publish.record(case, proposed, build, page.page(facts))
        if case.passed:
            publish.keep(case)
        publish.announce(proposed, facts, publish.is_newest(proposed))


def _fetch(
    proposed: Proposal, folder: Path, limit: int
) -> tuple[Case, BuildRecord, str]:
    """Return what was built, from whatever a stranger uploaded, and the merged tree.

    Raises:
        Refused: it is not what `train` uploads, or the proposal cannot be merged.
    """
    challenger, scratch = folder / "challenger", folder / "scratch"
    for path in (challenger, scratch):
        path.mkdir()
    data = proposal.download(proposed.run["id"], limit)
    file = folder / "artifact.zip"
    file.write_bytes(data)
    intake.unpack(file, scratch, limit)
    built = artifact.unpack(data, challenger, limit)
    build = artifact.read_build(challenger)
    tree = proposal.merge(proposed.number, proposed.head_sha, build.base_sha)
    intake.identify(challenger, tree)
    try:
        pointers = lock.pointers(tree)
        proposal_recipe = recipe.at(tree)
    except lock.LockError as error:
        raise Refused("data", str(error)) from error
    read_file = partial(git.show, tree)
    case = Case(folder, built, read_file, pointers, Ledger(), proposal_recipe)
    case.number = proposed.number
    return case, build, tree


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
    returned = returning.apply(case, github.event(), params, base, tree)
    if case.passed:
        publish.store(case)
    facts = _with_sources(verdict.facts(case, *_state(case)), proposed)
    facts.uses = holdout_reuse.uses(case)
    changed = git.run("diff", "--name-only", base, tree).splitlines()
    facts.cautions = [
        *([report.text(overruled, 800)] if overruled else []),
        *returned,
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
    sha256 = case.built.sha256
    for record in case.ledger.judged(newest_first=True, having=sha256):
        build = record.get("build") or {}
        if record.get("lock_sha256") == sha256 and not build.get("restored"):
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


def _state(case: Case) -> tuple[report.State, str]:
    """Return the state, and what to do next."""
    if not case.passed:
        return "blocked", "push a change to this branch; it is judged again."
    return "ready", "review and merge; what is deployed is what was judged here."


def _refuse(proposed: Proposal, refusal: Refused) -> None:
    """Publish a refusal of what was never a version: no verdict, but a red status."""
    facts = report.Facts(
        state="blocked",
        verdict=f"{refusal.check.title}: {str(refusal).rstrip('.')}.",
        checks=[refusal.check],
        cautions=cautions.unbuilt(proposed),
        next=f"read [the run of train]({proposed.run['html_url']}), then push a fix.",
    )
    newest = publish.is_newest(proposed)
    publish.announce(proposed, _with_sources(facts, proposed), newest)


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
