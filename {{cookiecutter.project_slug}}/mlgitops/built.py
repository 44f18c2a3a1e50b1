"""What CI has built of a recipe, and which of it counts: asked by all who need to know.

Anybody can propose what somebody else proposes, and upload other bytes for the same
recipe. So a build counts as a version that was released, as what a merged commit was
judged by, or within its own pull request; never because it is there.
"""

from mlgitops import github
from mlgitops.ledger import Ledger, Record


def of_main(ledger: Ledger, recipe: str) -> Record | None:
    """Return the verdict that decides where main has a recipe, with its path, or None.

    It is the newest on the version that was released with it. Where there is none yet,
    the newest on a commit that was merged.
    """
    verdicts = ledger.on_recipe(recipe)
    if released := ledger.released(recipe):
        sha256 = released["manifest_sha256"]
        verdicts = [v for v in verdicts if v["manifest_sha256"] == sha256]
        return verdicts[-1] if verdicts else released
    return _merged(verdicts)


def to_restore(ledger: Ledger, recipe: str, number: int) -> Record | None:
    """Return the passing verdict on what a pull request has to build again, or None.

    One recipe has one model: that of a version, of what was merged, or of this pull
    request, whose reviewers have seen it. A model that left storage is built anew.
    """
    found = _to_restore(ledger, recipe, number)
    gone = found and found["manifest_sha256"] in ledger.retired()
    return None if gone else found


def _to_restore(ledger: Ledger, recipe: str, number: int) -> Record | None:
    """Return the passing verdict, whether its files are in storage or not."""
    if released := ledger.released(recipe):
        return released
    verdicts = ledger.on_recipe(recipe)
    own = [verdict for verdict in verdicts if verdict["pull_request"] == number]
    others = [verdict for verdict in verdicts if verdict["pull_request"] != number]
    for newest in (_merged(others), *own[-1:]):
        if newest and newest["passed"]:
            return newest
    return None


def was_merged(number: int, head: str | None = None) -> bool:
    """Tell whether a pull request was merged to the default branch, with this head.

    What was judged of it before its last commit was reviewed by nobody.
    """
    pull = github.api(f"pulls/{number}")
    merged = bool(pull.get("merged")) and github.to_default(pull)
    return merged and head in (None, pull["head"]["sha"])


def _merged(verdicts: list[Record]) -> Record | None:
    """Return the newest of some verdicts whose commit was merged, or None."""
    for verdict in reversed(verdicts):
        if was_merged(verdict["pull_request"], verdict["head_sha"]):
            return verdict
    return None
