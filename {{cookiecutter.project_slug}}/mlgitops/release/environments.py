"""The environments of params.yaml, in the order in which a release goes through them.

    deploy:
      environments: [staging, production]

The last one is always ``production``: the ledger, the judge, the monitor and the
agents know the champion by that name, and what the ledger says of the past must stay
true when the list changes. What ran in an environment that is gone is still on the
ledger: history is read from there, not from this list.
"""

from mlgitops import environment_order
from mlgitops.release import ReleaseError, by_dispatch, dispatched, settings

CHAMPION, RESERVED = environment_order.CHAMPION, environment_order.RESERVED
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
    if problem := environment_order.problem(order):
        raise ReleaseError(f"{KEY} {problem}")
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
