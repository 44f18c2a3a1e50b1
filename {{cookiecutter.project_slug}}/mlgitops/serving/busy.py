"""Refuses what has waited too long.

Under more load than there is capacity, what is answered is answered soon, and the rest
is told to come again.
A client that hears nothing asks again, and the server would predict for those that have
left. So work whose turn comes too late is not done: 503 and Retry-After.
"""

import asyncio
from time import perf_counter

from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import RefusalError

SECONDS = 0.25  # that a request may wait for others of its turn of the event loop
BULK_SECONDS = 10.0  # that an Arrow or Parquet body may wait for others


class BusyError(RefusalError):
    """A request that is not predicted, as it would be too late."""

    def __init__(self) -> None:
        """Say when to come again."""
        sentence = "the server has more requests than it can answer; try again later."
        super().__init__(503, Reason.OVERLOADED, sentence, (b"retry-after", b"1"))


class LoopTurn:
    """How long the event loop has been in its turn, seen by those who work in it."""

    def __init__(self) -> None:
        """Begin between two turns."""
        self._since: float | None = None

    def check(self) -> None:
        """Raise BusyError where earlier requests of this turn took too long."""
        now = perf_counter()
        if self._since is None:
            self._since = now
            asyncio.get_running_loop().call_soon(self._end)
        elif now - self._since > SECONDS:
            raise BusyError

    def _end(self) -> None:
        self._since = None
