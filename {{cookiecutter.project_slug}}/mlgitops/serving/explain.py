"""POST /explain: why the model predicts what it predicts for a row.

The columns' contributions are Shapley values (`shapley.py`) against the rows of the
training data that the manifest carries, its golden rows; only mean outputs over all of
them leave the server. The same row gets the same reasons: the seed is its content. A
row is not logged, as this is a question about the model and no prediction that anybody
acts on; so it is kept to a rate of its own, one at a time, beside the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from mlgitops.serving import shapley
from mlgitops.serving.body import rows_of
from mlgitops.serving.predictions import TASKS
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import (
    Message,
    Receive,
    RefusalError,
    Response,
    read_body,
)
from mlgitops.serving.rows import RowError, inputs, metadata
from mlgitops.serving.shapley import Array, Feeds, Floats

if TYPE_CHECKING:
    from mlgitops.serving.app import App
    from mlgitops.serving.model import Model

REFERENCE = 18  # golden rows that are rows of the training data; later ones are made up
METHODS = {  # by whether each set of columns was tried
    True: "Shapley values",
    False: "Shapley values, estimated from random orders and their reverses",
}
SOURCES = {
    True: "Shapley (1953); Lundberg and Lee (2017), NeurIPS 30",
    False: "Strumbelj and Kononenko (2014), Knowledge and Information Systems 41(3); "
    "Mitchell et al. (2022), JMLR 23(43)",
}


class Limits(NamedTuple):
    """What reasons may cost."""

    rate: float = 2.0  # rows a second, on average; 0 gives no reasons
    burst: int = 10  # rows at once after a pause
    rows: int = 5  # of one request
    evaluations: int = 10_000  # rows that the model gets for one row
    seconds: float = 10.0  # for a request, then it is given up


LIMITS = Limits()


class Bucket:
    """Tokens that come at a rate, up to a number."""

    def __init__(
        self, rate: float, capacity: int, clock: Callable[[], float] = monotonic
    ):
        """Begin full; `clock` is in seconds."""
        self.rate, self.capacity, self._clock = rate, capacity, clock
        self._tokens, self._at = float(capacity), clock()

    def take(self, count: int) -> float:
        """Take so many and return 0, or take none and return the seconds to wait."""
        time = self._clock()
        grown = self._tokens + (time - self._at) * self.rate
        self._tokens, self._at = min(self.capacity, grown), time
        if self._tokens < count:
            return (count - self._tokens) / self.rate
        self._tokens -= count
        return 0.0


class Explainer:
    """Answers /explain for the model of an application."""

    def __init__(self, app: App, limits: Limits = LIMITS) -> None:
        """The model is the one that the application has when it is asked."""
        self.app, self.limits = app, limits
        self._bucket = Bucket(limits.rate, max(limits.burst, limits.rows))
        self._busy = False
        self._encode = msgspec.json.Encoder().encode

    async def respond(self, scope: Message, receive: Receive) -> Response:
        """Return the reasons of each row of a request."""
        model = self.app.model
        if model is None:
            raise self.app.without_model()
        body = await read_body(scope, receive, self.app.limits)
        rows = rows_of(body, self.limits.rows)
        changed = self.app.coerced(model, rows)
        try:
            names = (model.id, model.time)
            ids = [metadata(n, row, *names)[0] for n, row in enumerate(rows)]
            feeds = inputs(rows, model.columns, model.inputs, bool(model.time))
            scores = model.scores(feeds)
        except RowError as error:
            raise RefusalError(422, error.reason, str(error)) from None
        self._admit(len(rows))
        reasons = await self._reasons(model, feeds, scores)
        named = TASKS[model.task].predictions(scores, model.manifest)
        for fields, columns in zip(named, changed, strict=False):
            fields["coerced"] = columns
        content = {
            **self.app.identity(model),
            "logged": False,
            "reference": f"{len(model.manifest['golden'][:REFERENCE])} rows of the "
            "training data (the golden rows of the manifest)",
            "explanations": [
                {"prediction": {"id": i, **fields}, **reason}
                for i, fields, reason in zip(ids, named, reasons, strict=True)
            ],
        }
        return Response(self._encode(content))

    async def _reasons(
        self, model: Model, feeds: Feeds, scores: Array
    ) -> list[dict[str, Any]]:
        """Compute reasons in a thread, so that others are answered meanwhile."""
        self._busy = True
        try:
            return await asyncio.to_thread(explain, model, feeds, scores, self.limits)
        except TimeoutError:
            raise RefusalError(503, Reason.OVERLOADED, self._too_slow()) from None
        except RowError:
            message = (
                "the model has no output for this row's values beside those of a "
                "reference row, so there are no reasons; /predict answers it."
            )
            raise RefusalError(422, Reason.NO_PREDICTION, message) from None
        finally:
            self._busy = False

    def _admit(self, count: int) -> None:
        """Refuse what is more than the rate, and a second request at a time."""
        if not self.limits.rate:
            message = "this server gives no reasons: it has --explain-rate 0."
            raise RefusalError(403, Reason.TURNED_OFF, message)
        if self._busy:
            message = "another row is being explained, one at a time; ask again."
            raise RefusalError(
                429, Reason.RATE_LIMITED, message, (b"retry-after", b"1")
            )
        if wait := self._bucket.take(count):
            seconds = int(wait) + 1
            message = (
                f"reasons are limited to {self.limits.rate:g} rows a second "
                f"(--explain-rate); ask again in {seconds} s."
            )
            header = (b"retry-after", b"%d" % seconds)
            raise RefusalError(429, Reason.RATE_LIMITED, message, header)

    def _too_slow(self) -> str:
        """Say that the model takes too long."""
        limits = self.limits
        return (
            f"the reasons took more than {limits.seconds:g} seconds: the model is slow "
            "or has very many columns; --explain-evaluations (now "
            f"{limits.evaluations}) lets it predict fewer rows for them."
        )


def explain(
    model: Model, feeds: Feeds, scores: Array, limits: Limits
) -> list[dict[str, Any]]:
    """Return the reasons of each row of checked arrays with their scores.

    Raises TimeoutError, and RowError where the model has no output for a mixture.
    """
    rows = [entry["row"] for entry in model.manifest["golden"][:REFERENCE]]
    reference = inputs(rows, model.columns, model.inputs, bool(model.time))
    of_reference = model.scores(reference)
    deadline, explained = monotonic() + limits.seconds, []
    for index in range(len(scores)):
        row = {name: column[[index]] for name, column in feeds.items()}
        output = None if model.classes is None else int(scores[index].argmax())

        def score(mixed: Feeds, output: int | None = output) -> Floats:
            if monotonic() > deadline:
                raise TimeoutError
            return _of(model.scores(mixed), output)

        ends = float(_of(scores[[index]], output)[0]), _of(of_reference, output)
        seed = _seed(model.manifest_sha256, row)
        values = shapley.values(score, row, reference, ends, limits.evaluations, seed)
        explained.append(_named(model, ends, values, output))
    return explained


def _of(scores: Array, output: int | None) -> Floats:
    """Return the output that is explained: that of a class, or the only one."""
    chosen = scores if output is None else scores[:, output]
    return chosen.astype(np.float64)


def _named(
    model: Model, ends: tuple[float, Floats], values: shapley.Values, output: int | None
) -> dict[str, Any]:
    """Return the reasons of a row by name."""
    of_class = {}
    if output is not None and model.classes is not None:
        of_class = {"class": model.classes[output]}
    errors = values.errors
    columns = model.inputs
    return {
        "output": model.output,
        **of_class,
        "value": ends[0],
        "baseline": float(ends[1].mean()),
        "contributions": dict(zip(columns, values.contributions.tolist(), strict=True)),
        "standard_errors": None
        if errors is None
        else dict(zip(columns, errors.tolist(), strict=True)),
        "exact": values.exact,
        "method": METHODS[values.exact],
        "source": SOURCES[values.exact],
    }


def _seed(manifest_sha256: str, row: Feeds) -> int:
    """Return a seed that follows from a row's checked values and the version."""
    content = repr([manifest_sha256, *(v.item() for v in row.values())])
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")
