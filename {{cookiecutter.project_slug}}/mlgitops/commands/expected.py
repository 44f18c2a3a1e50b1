"""The errors that end a command with one sentence, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlgitops import git, github
from mlgitops.ledger import LedgerError
from mlgitops.lock import LockError
from mlgitops.pipeline.contract import ContractError
from mlgitops.release import ReleaseError
from mlgitops.runners import RunnerError
from mlgitops.storage import StorageError, masked

ERRORS = (
    ContractError,
    LedgerError,
    LockError,
    ReleaseError,
    RunnerError,
    StorageError,
    git.GitError,
    github.GitHubError,
)


@contextmanager
def expected_errors(prefix: str = "", *more: type[Exception]) -> Iterator[None]:
    """End the command on an expected error, with its message as one line."""
    errors: tuple[type[Exception], ...] = (*ERRORS, *more)
    try:
        yield
    except errors as error:
        raise github.fail(masked(" ".join(f"{prefix}{error}".split()))) from error
