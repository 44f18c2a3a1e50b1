"""A refusal that a person overrules: who may, which rules, and that it is recorded.

It is for the model whose report was read, which the person names, and under the name
of whoever starts the run: started again by somebody else, it overrules nothing. Only
what is a matter of judgement can be overruled, and of that what main's section
`override` names. Identity, leakage, the data's contract and the export are not in it.
"""

import os
from collections.abc import Mapping
from typing import Any

from mlgitops import github, judgement, metrics, settings
from mlgitops.judge import gates
from mlgitops.judge.verdict import Case
from mlgitops.judgement import Check
from mlgitops.pipeline.schema import near
from mlgitops.settings import Override, Params

FAMILIES = ("slices", "fairness", "behaviour", "latency", "model_size")
ROLES = ("read", "triage", "write", "maintain", "admin")
LONGEST = 500  # characters of a reason
SHORTEST = 8  # digits of a manifest that name a model


def apply(
    case: Case, event: Mapping[str, Any], number: int, params: Params, task: str
) -> str:
    """Overrule what the case failed, if the event or an earlier verdict says so.

    Returns:
        what a reviewer has to know about it, or nothing.
    """
    rules = parse(params, task)
    failed = [check.id for check in judgement.failed(case.checks)]
    inputs = event.get("inputs") or {}
    reason, named = (str(inputs.get(n) or "").strip() for n in ("reason", "manifest"))
    given: dict[str, Any] | None = None
    if reason:
        who = str((event.get("sender") or {}).get("login") or "")
        given = {"by": who, "reason": reason[:LONGEST], "checks": failed}
        why = _meant(case, named, who) or _refused(failed, who, rules)
        if why:
            return f"An override was asked for, and refused: {why}."
    elif failed:
        given = _earlier(case, number, failed, rules)
    if given is None or not failed:
        return ""
    case.override = given
    titles = {check.id: check.title for check in case.checks}
    named = ", ".join(titles.get(check, check) for check in given["checks"])
    return f"{given['by']} overruled {named}. Reason: {given['reason']}"


def possible(checks: list[Check], params: Params, task: str) -> bool:
    """Tell whether all that failed could be overruled."""
    failed = [check.id for check in judgement.failed(checks)]
    return bool(failed) and not _beyond(failed, parse(params, task))


def parse(params: Params, task: str) -> Override:
    """Read main's section; without one nothing can be overruled.

    Raises:
        SettingsError: it names a rule that nobody may overrule, or no role.
    """
    rules, known = settings.override(params), overridable(task)
    for name in rules.checks:
        if name not in known:
            raise settings.SettingsError(
                f"params.yaml: override.checks names '{name}', which nobody may "
                f"overrule; {near(name, known)}"
            )
    return rules


def overridable(task: str) -> list[str]:
    """Return what params.yaml may name: families of checks, and bounds of metrics.

    Of a metric how good it has to be, and how much worse than the champion's it may be;
    never the bound that tells leakage.
    """
    bounds = [
        f"{metric.key}.{bound}"
        for metric in metrics.of(task)
        for bound in gates.BOUNDS
        if gates.quality(metric, bound)
    ]
    return [*FAMILIES, *bounds]


def _beyond(failed: list[str], rules: Override) -> list[str]:
    """Return the failed checks that main does not let anybody overrule."""
    allowed = set(rules.checks)
    return [
        name
        for name in failed
        if name not in allowed
        and name.split(".")[0] not in allowed.intersection(FAMILIES)
    ]


def _meant(case: Case, named: str, who: str) -> str:
    """Return why this is not what the person decided on, or nothing."""
    starter = os.environ.get("GITHUB_TRIGGERING_ACTOR") or who
    if starter != who:
        return (
            f"{starter} started the run of {who or 'nobody'} again; whoever overrules "
            "has to dispatch it"
        )
    model = str(case.manifest_sha256)
    if len(named) < SHORTEST or not model.startswith(named):
        return (
            f"the input manifest names {named or 'no model'}, the one judged is "
            f"{model[:12]}"
        )
    return ""


def _refused(failed: list[str], who: str, rules: Override) -> str:
    """Return why somebody may not overrule these checks, or nothing."""
    if beyond := _beyond(failed, rules):
        return f"{beyond[0]} is nothing that may be overruled"
    role, needed = _role(who), str(rules.role)
    if role not in ROLES or ROLES.index(role) < ROLES.index(needed):
        return f"{who or 'nobody'} has the role {role or 'none'}, it takes {needed}"
    return ""


def _role(who: str) -> str:
    """Return the role of somebody in this repository, as GitHub says it now."""
    if not who:
        return ""
    found = github.api(f"collaborators/{who}/permission")
    names = (str(found.get("role_name")), str(found.get("permission")))
    return next((name for name in names if name in ROLES), "")


def _earlier(
    case: Case, number: int, failed: list[str], rules: Override
) -> dict[str, Any] | None:
    """Return the newest override of the same model in the same pull request.

    It holds for the checks that it named, as long as the champion is the same: the
    model is judged once more when its lock is adopted.
    """
    champion = case.champion and case.champion["manifest_sha256"]
    records = case.ledger.verdicts(str(case.manifest_sha256))
    for record in reversed(records):
        given = record.get("override")
        same = (record["pull_request"], record["champion"]) == (number, champion)
        if given and same:
            covered = set(failed) <= set(given["checks"])
            return dict(given) if covered and not _beyond(failed, rules) else None
    return None
