"""Predictions with their lines in the log, for all requests of one turn of the loop.

Requests that arrive together share what costs the same for one row and for many: one
run of the model, where a row gets the same bits alone and among others (`rowwise`), the
time of logging, one append. Each is answered as if it were alone: a row that the
contract or the model refuses is its own request's refusal.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

import msgspec

from mlgitops import prediction_log
from mlgitops.prediction_log import Value
from mlgitops.serving import busy
from mlgitops.serving.canary import Canary
from mlgitops.serving.lines import lines
from mlgitops.serving.log import PredictionLog, Waiter, release
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import Prediction

SHARED = 64  # rows of one run of the model for several requests
Row = Mapping[str, Value]


@dataclass(slots=True)
class Request:
    """A request that waits for its predictions, and for its lines to be written."""

    rows: Sequence[Row]
    ids: Sequence[str | int]
    times: Sequence[datetime | None]
    waiter: Waiter
    predictions: list[Prediction] = field(default_factory=list)
    replaced: bool = False  # its lines wait for a canary


class Turn:
    """Predicts and logs what was asked in one turn of the event loop."""

    def __init__(
        self,
        model: Model,
        version: str | None,
        log: Callable[[], PredictionLog | None],
    ) -> None:
        """Begin with nothing asked; `version` goes into the log, if there is one."""
        self.model, self.version, self.log = model, version, log
        self._hidden = {model.id, model.time, *model.sensitive}
        self._waiting: list[Request] = []
        self._seconds = 1e-6  # of a row in the last shared run
        self._encode = msgspec.json.Encoder().encode

    async def predict(
        self,
        rows: Sequence[Row],
        ids: Sequence[str | int],
        times: Sequence[datetime | None],
        canary: Canary | None = None,
    ) -> list[Prediction]:
        """Return the predictions of a request once its lines are in the log.

        A canary may put its own in their place before.
        Raises RowError, ModelError where the model fails, and BusyError.
        """
        future = asyncio.get_running_loop().create_future()
        request = Request(rows, ids, times, future, replaced=canary is not None)
        self.ask(request)
        await future
        if canary is not None:
            beside = await canary.replace(rows, ids, request.predictions)
            if (log := self.log()) is not None:
                now, hidden = datetime.now(UTC).isoformat(), canary.sensitive
                await log.write([*self._lines(request, now, hidden, beside)])
        return request.predictions

    def ask(self, request: Request) -> None:
        """Let its waiter go with the predictions, or with an error, in this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(request)

    def _run(self) -> None:
        """Answer what was asked; whatever fails, nobody waits for ever."""
        requests, self._waiting = self._waiting, []
        try:
            self._answer(requests)
        except Exception as error:
            for request in requests:
                _fail(request.waiter, error)

    def _answer(self, requests: Sequence[Request]) -> None:
        """Predict and log; what fails for a request is an error of that request."""
        until = perf_counter() + busy.SECONDS
        single = [r for r in requests if len(r.rows) == 1]
        if self.model.rowwise and len(single) > 1:
            self._share(single, until)
        log, now = self.log(), datetime.now(UTC).isoformat()
        ready, waiters, count = list[bytes](), list[Waiter](), 0
        for request in requests:
            try:
                if not request.predictions:
                    if perf_counter() > until:
                        raise busy.BusyError
                    request.predictions = self.model.predictions(
                        request.rows, request.ids
                    )
                if log is not None and not request.replaced:
                    ready += self._own_lines(request, now)  # all of them, or none
                    count += len(request.rows)
            except Exception as error:
                _fail(request.waiter, error)
            else:
                waiters.append(request.waiter)
        if log is not None and ready:
            log.put(
                ready, waiters, count, last=True
            )  # lets them go when it has written
        else:
            release(waiters)

    def _share(self, requests: Sequence[Request], until: float) -> None:
        """Predict single rows in shared runs, as many as there is time for."""
        start, now = 0, perf_counter()
        while start < len(requests) and now < until:
            count = max(1, min(SHARED, int((until - now) / self._seconds)))
            self._together(requests[start : start + count])
            start, began, now = start + count, now, perf_counter()
            self._seconds = max((now - began) / count, 1e-6)

    def _together(self, requests: Sequence[Request]) -> None:
        """Predict the rows of several requests in one run, unless one is refused."""
        rows, ids = [r.rows[0] for r in requests], [r.ids[0] for r in requests]
        try:
            predictions = self.model.predictions(rows, ids)
        except Exception:
            return  # whose it is, each alone will say
        for request, prediction in zip(requests, predictions, strict=True):
            request.predictions.append(prediction)

    def _own_lines(self, request: Request, logged_at: str) -> list[bytes]:
        """Return the lines of the log, one per row."""
        rows = (_without(row, self._hidden) for row in request.rows)
        names = (self.model.manifest_sha256, self.version, logged_at)
        return lines(request.predictions, request.times, *names, rows)

    def _lines(
        self,
        request: Request,
        logged_at: str,
        sensitive: Set[str],
        beside: str | None,
    ) -> Iterator[bytes]:
        """Yield one line of the log per row, `beside` that of a canary."""
        hidden, names = (
            self._hidden | sensitive,
            (self.model.manifest_sha256, self.version),
        )
        for row, time, prediction in zip(
            request.rows, request.times, request.predictions, strict=True
        ):
            shown = _without(row, hidden)
            line = prediction_log.line(
                prediction, time, *names, logged_at, shown, beside
            )
            yield self._encode(line) + b"\n"


def _without(row: Row, hidden: Set[str]) -> Row:
    """Return a row without some columns; a copy with fewer is made faster in C."""
    if hidden.isdisjoint(row):
        return row
    shown = dict(row)
    for name in hidden:
        shown.pop(name, None)
    return shown


def _fail(waiter: Waiter, error: Exception) -> None:
    """Let a request end with an error, unless nobody waits for it."""
    if not waiter.done():
        waiter.set_exception(error)
