"""Which versions retire by the section `retention` of params.yaml; pure.

A version stays while it is one of the newest, ran lately, or is where an environment
is or would go back to. "Lately" is counted from the newest record of the ledger or from
the clock here, whichever is earlier: one that is wrong retires nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlgitops.settings import Retention

WAY_BACK = 2  # releases of an environment that stay: what runs, and the one before


@dataclass(frozen=True)
class Kept:
    """One version that passed: its number where it was registered, and its last day."""

    manifest_sha256: str
    number: tuple[int, ...]  # () for one that was never merged
    name: str  # its tag, or the pull request that proposed it
    last: datetime  # when it last served, or was judged


def in_use(histories: Iterable[Sequence[str]]) -> set[str]:
    """Return the manifests that environments run, or would go back to.

    Each history is the manifests of an environment's releases, oldest first.
    """
    used: set[str] = set()
    for history in histories:
        newest_first = list(dict.fromkeys(reversed(history)))
        used.update(newest_first[:WAY_BACK])
    return used


def retiring(
    versions: Collection[Kept], used: Collection[str], rules: Retention, today: datetime
) -> list[Kept]:
    """Return the versions that retire, oldest number first.

    `today` is what days are counted from.
    """
    registered = sorted((v for v in versions if v.number), key=lambda v: v.number)
    newest = {v.manifest_sha256 for v in registered[-rules.versions :]}
    oldest = today - timedelta(days=rules.days)
    return [
        version
        for version in sorted(versions, key=lambda v: (v.number, v.last))
        if version.manifest_sha256 not in {*newest, *used} and version.last < oldest
    ]
