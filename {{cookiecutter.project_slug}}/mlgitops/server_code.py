"""Which files are a server's, and the hash by which its code is known."""

import hashlib
from functools import lru_cache

from mlgitops import git

PATHS = (  # a change of one of these is another server
    "mlgitops/__init__.py",
    "mlgitops/machinery.py",
    "mlgitops/prediction_log.py",
    "mlgitops/serving",
    "mlgitops/requirements/serving.txt",
    "deploy/Dockerfile",
)


def files(commit: str) -> str:
    """Return the files of a server at a commit or tree, each with its hash."""
    return _listed(git.resolve(commit))


@lru_cache(16)
def _listed(commit: str) -> str:
    """Return the files of a server at a commit or tree, named in full."""
    return git.run("ls-tree", commit, "--", *PATHS)


def sha256(commit: str) -> str:
    """Return the hash by which the server at a commit or tree is known."""
    return hashlib.sha256(files(commit).encode()).hexdigest()
