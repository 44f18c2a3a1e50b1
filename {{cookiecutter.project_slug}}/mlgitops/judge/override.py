"""A refusal that a person overrules: who may, which checks, and that it is recorded.

It is for the model whose report was read, which the person names, and under the name
of whoever starts the run: started again by somebody else, it overrules nothing. Only
what is a matter of judgement can be overruled, and of that what main's section
`override` names. Identity, leakage, the data's contract and the export are not in it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops import github, judgement, metrics, settings
from mlgitops.judge import gates
from mlgitops.judge.verdict import Case
from mlgitops.judgement import Check
from mlgitops.ledger import Record
from mlgitops.pipeline.schema import near
from mlgitops.settings import Override, Params

FAMILIES = (
    *("slices", "fairness", "behaviour", "decision_value"),
    *("constant", "business", "latency", "model_size", "shadow"),
)
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
    if not failed:
        return ""
    reason, model, person = asked(event)
    if reason:
        if problem := refusal(case, model, person, failed, rules):
            return f"An override was asked for, and refused: {problem}."
        override = {"by": person, "reason": reason, "checks": failed}
    else:
        override = _earlier(case, number, failed, rules)
    if not override:
        return ""
    case.override = override
    titles = {check.id: check.title for check in case.checks}
    checks = ", ".join(titles.get(check, check) for check in override["checks"])
    return f"{override['by']} overruled {checks}. Reason: {override['reason']}"


def asked(event: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the reason, the model and the person that an event names."""
    inputs, sender = event.get("inputs") or {}, event.get("sender") or {}
    reason, model = (str(inputs.get(n) or "").strip() for n in ("reason", "manifest"))
    return reason[:LONGEST], model, str(sender.get("login") or "")


def possible(checks: Sequence[Check], params: Params, task: str) -> bool:
    """Tell whether all that failed could be overruled."""
    failed = [check.id for check in judgement.failed(checks)]
    return bool(failed) and not _forbidden(failed, parse(params, task))


def parse(params: Params, task: str) -> Override:
    """Read main's section; without one nothing can be overruled.

    Raises:
        SettingsError: it names a rule that nobody may overrule, or an unknown role.
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
        if bound != metric.leakage_bound
    ]
    return [*FAMILIES, *bounds]


def _forbidden(failed: list[str], rules: Override) -> list[str]:
    """Return the failed checks that main does not let anybody overrule."""
    families = set(rules.checks).intersection(FAMILIES)
    return [
        name
        for name in failed
        if name not in rules.checks and name.split(".")[0] not in families
    ]


def refusal(
    case: Case, model: str, person: str, failed: list[str], rules: Override
) -> str:
    """Return why this person may not overrule these checks, or nothing."""
    name = person or "nobody"
    starter = os.environ.get("GITHUB_TRIGGERING_ACTOR") or person
    if starter != person:
        return (
            f"{starter} started the run of {name} again; whoever overrules has to "
            "dispatch it"
        )
    judged = str(case.manifest_sha256)
    if len(model) < SHORTEST or not judged.startswith(model):
        return (
            f"the input manifest names {model or 'no model'}, the one judged is "
            f"{judged[:12]}"
        )
    if forbidden := _forbidden(failed, rules):
        return f"{forbidden[0]} may not be overruled"
    role = _role(person)
    if role not in ROLES or ROLES.index(role) < ROLES.index(rules.role):
        return f"{name} has the role {role or 'none'}, it takes {rules.role}"
    return ""


def _role(person: str) -> str:
    """Return a person's role in this repository, as GitHub says it now."""
    if not person:
        return ""
    permission = github.api(f"collaborators/{person}/permission")
    names = (str(permission.get(key)) for key in ("role_name", "permission"))
    return next((name for name in names if name in ROLES), "")


def _earlier(case: Case, number: int, failed: list[str], rules: Override) -> Record:
    """Return the newest override of the same model in the same pull request, if any.

    It holds for the checks that it named, as long as the champion is the same: the
    model is judged once more when the branch is brought up to date.
    """
    champion = case.champion and case.champion["manifest_sha256"]
    for verdict in reversed(case.ledger.verdicts(str(case.manifest_sha256))):
        override = verdict.get("override")
        judged = (verdict["pull_request"], verdict["champion"])
        if override and judged == (number, champion):
            covered = set(failed) <= set(override["checks"])
            return override if covered and not _forbidden(failed, rules) else {}
    return {}
