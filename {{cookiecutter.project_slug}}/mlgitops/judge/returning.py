"""A version that was taken back returns only by a verdict that names it on purpose.

On purpose is a proposal that brings it while main has another one, or a person who
starts `validate` with its manifest and a reason, and has the role to overrule. Any
other pull request is judged as ever, but lets nothing return.
"""

from collections.abc import Mapping
from typing import Any

from mlgitops import recipe, server_code, settings
from mlgitops.judge import override
from mlgitops.judge.verdict import Case
from mlgitops.ledger import Record
from mlgitops.report import text
from mlgitops.settings import Params


def apply(
    case: Case, event: Mapping[str, Any], params: Params, base: str, tree: str
) -> list[str]:
    """Note in the case which withdrawal it undoes, if it does so on purpose.

    ``tree`` is the proposal merged into ``base``.

    Returns:
        what a reviewer has to know about it.
    """
    code = server_code.sha256(tree)
    end = case.ledger.withdrawal(str(case.manifest_sha256), code)
    if end is None:
        return []
    history = (
        f"{_tag(case)} was taken out of {end['environment']} by a {end['action']} "
        f"({text(end['reason'], 200)})"
    )
    refused = ""
    if not any(_named(case, commit, end, code) for commit in ("HEAD", base)):
        case.returns = {"seq": end["seq"], "by": None, "reason": None}
    else:
        reason, model, person = override.asked(event)
        if reason:
            rules = settings.override(params)
            refused = override.refusal(case, model, person, [], rules)
        if reason and not refused:
            case.returns = {"seq": end["seq"], "by": person, "reason": reason}
    if case.returns:
        return [
            f"**It brings back a version that was left:** {history}. Once this is "
            f"merged, it is deployed again.{_who(case.returns)}"
        ]
    problem = (
        f" A return was asked for, and refused: {text(refused)}." if refused else ""
    )
    return [
        f"**It does not bring back the version that was left:** {history}, and main "
        "still names it. Merge the revert pull request; until then nothing is deployed."
        f"{problem}"
    ]


def _named(case: Case, commit: str, end: Record, code: str) -> bool:
    """Tell whether a commit of main has already what was taken back."""
    verdicts = case.ledger.on_recipe(recipe.at(commit))
    if not any(v.get("manifest_sha256") == case.manifest_sha256 for v in verdicts):
        return False
    same_model = end["manifest_sha256"] == case.manifest_sha256
    return not same_model or server_code.sha256(commit) == code


def _tag(case: Case) -> str:
    """Return the name of the version that was taken back."""
    sha256 = str(case.manifest_sha256)
    tags = (r["tag"] for r in case.ledger.releases() if r["manifest_sha256"] == sha256)
    return text(next(tags, sha256[:12]))


def _who(returns: Record) -> str:
    """Say who named it, where a person did."""
    if not returns["by"]:
        return ""
    return f" {text(returns['by'])} asked for it: {text(returns['reason'], 300)}"
