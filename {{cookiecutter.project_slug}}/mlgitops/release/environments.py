"""The environments of params.yaml, in the order in which a release goes through them.

    deploy:
      environments: [staging, production]

The last one is always ``production``: the ledger, the judge, the monitor and the
agents know the champion by that name, and what the ledger says of the past must stay
true when the list changes. What ran in an environment that is gone is still on the
ledger: history is read from there, not from this list.
"""

import re

from mlgitops import ledger
from mlgitops.release import ReleaseError, by_dispatch, dispatched, settings

CHAMPION = ledger.CHAMPION
# On GitHub these hold storage's login, or the App's key, and run for main only.
RESERVED = ("register", "validate", "monitor", "reproduce", "score")
NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")  # of a namespace, a path, a tag
KEY = "deploy.environments in params.yaml"
WAITS = (
    "production waits: somebody who may push starts it with "
    "`gh workflow run deploy.yml` (PRODUCTION_BY_DISPATCH is true)"
)


def names() -> tuple[str, ...]:
    """Return the environments, the first one first.

    Raises:
        ReleaseError: one of the names cannot be used.
    """
    order = settings().environments
    for name in order:
        if not NAME.fullmatch(name):
            raise ReleaseError(
                f"{KEY}: a name has at most 40 lower-case letters, digits and hyphens "
                f"and begins with a letter, got {name!r}"
            )
        if name in RESERVED:
            raise ReleaseError(
                f"{KEY}: {name!r} is the name of an environment that holds logins on "
                "GitHub: choose another"
            )
    if order[-1] != CHAMPION:
        raise ReleaseError(
            f"{KEY} must end with {CHAMPION!r}, whose version is the champion, got "
            f"{order[-1]!r}"
        )
    return order


def check_name(environment: str) -> str:
    """Return an environment's name.

    Raises:
        ReleaseError: params.yaml does not name it.
    """
    if environment not in names():
        raise ReleaseError(
            f'there is no environment "{environment}"; params.yaml names: '
            f"{', '.join(names())}"
        )
    return environment


def before(environment: str) -> str | None:
    """Return the environment that a release has to run in first, or None."""
    order = names()
    index = order.index(check_name(environment))
    return order[index - 1] if index else None


def waits(environment: str) -> bool:
    """Tell whether an environment waits until somebody starts `deploy` by hand."""
    return environment == CHAMPION and by_dispatch() and not dispatched()


def of_this_run() -> list[str]:
    """Return the environments that a run of `deploy` goes through."""
    return [name for name in names() if not waits(name)]


def variable(environment: str) -> str:
    """Return the name of the variable that says where a target is: STAGING_URL."""
    return f"{environment.upper().replace('-', '_')}_URL"
