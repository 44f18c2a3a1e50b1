"""The machinery: judges, releases, deploys, watches and audits the model in `model/`.

It comes from the template and is replaced by an update; `python -m mlgitops` lists its
commands. What a team changes stands outside of this folder.
"""

import sys
from types import TracebackType


def _quiet(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print an unexpected error; Ctrl-C is expected and needs no traceback."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # python -m mlgitops, not somebody who only imports
    sys.excepthook = _quiet
