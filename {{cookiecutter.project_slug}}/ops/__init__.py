"""Everything that reads what the pipeline wrote; never a DVC dependency."""

import sys
from types import TracebackType


def _quiet(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print what nobody expected; Ctrl-C is expected, and cleaned up by then."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # python -m ops.PROGRAM, not one who only imports
    sys.excepthook = _quiet
