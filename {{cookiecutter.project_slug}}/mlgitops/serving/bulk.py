"""Bulk bodies of POST /predict: an Arrow IPC stream or a Parquet file, by content type.

They are read, checked and predicted in a thread, one body at a time, so that single
rows go on being answered. Checks, counts and lines of the log are those of JSON rows.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mlgitops.serving import (
    arrow_reader,
    arrow_writer,
    busy,
    lines,
    parquet,
    vectors,
)
from mlgitops.serving.arrow_reader import ArrowError, TooManyError
from mlgitops.serving.model import Model
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import (
    ARROW,
    LIMITS,
    PARQUET,
    Message,
    Receive,
    RefusalError,
    Response,
    media_type,
    read_body,
)
from mlgitops.serving.rows import RowError
from mlgitops.serving.vectors import Scored, Table

if TYPE_CHECKING:
    from mlgitops.serving.app import App

ROWS = 100_000  # of one bulk body
BYTES = 32_000_000  # of one bulk body, and of its rows when they are read
TURN_SECONDS = 0.0005  # of a thread while another one waits; Python's own is 0.005
PARQUET_SECONDS = 2.0 * parquet.SECONDS  # for a Parquet file to be read
ENCODE = msgspec.json.Encoder().encode


class Size(NamedTuple):
    """What one bulk body may have."""

    rows: int = ROWS
    bytes: int = BYTES


SIZE = Size()
Read = Callable[[bytes, Model, Size], Table]


class Bulk:
    """Answers POST /predict where the body is not JSON."""

    def __init__(self, app: App, size: Size = SIZE) -> None:
        """Belong to an application; `size` is what a body may have."""
        self.app, self.size = app, size
        self.limits = LIMITS._replace(rows=size.rows, bytes=size.bytes)
        # From the first bulk body on, a single row waits for its turn no longer.
        yields = partial(sys.setswitchinterval, TURN_SECONDS)
        self._pool = ThreadPoolExecutor(1, "bulk", yields)

    async def predict(self, read: Read, scope: Message, receive: Receive) -> Response:
        """Predict the rows of a body."""
        model = self.app.model
        if model is None:
            raise self.app.without_model()
        body = await read_body(scope, receive, self.limits)
        asked = perf_counter()
        scored = await self._run(_scored, read, body, model, self.size, asked)
        del body
        counts = self.app.counts
        odd = await self._run(vectors.unseen, counts, scored.table)
        counts.predicted_columns(scored.table.rows, *odd)
        await self.log(model, scored)
        kind = ARROW if ARROW in header(scope, b"accept").lower() else b""
        content = await self._run(_content, self.app.identity(model), scored, kind)
        return Response(content, *(kind and (kind,)))

    async def log(self, model: Model, scored: Scored) -> None:
        """Write the lines of all rows, a part at a time, as what waits is bounded."""
        log = self.app.log
        if log is not None:
            for start, end in scored.parts():
                version = self.app.version
                part = await self._run(logged, model, version, scored, start, end)
                await log.write(part, end - start)

    async def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call a function in the thread for bulk."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, function, *arguments)


def header(scope: Message, name: bytes) -> bytes:
    """Return a header's value, b"" where there is none."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def reader(scope: Message) -> Read | None:
    """Return what reads a request's body; None where that is JSON."""
    for key, value in scope["headers"]:
        if key == b"content-type":
            return READERS.get(media_type(value))
    return None


def logged(
    model: Model, version: str | None, scored: Scored, start: int, end: int
) -> list[bytes]:
    """Return the lines of the log for some rows."""
    logged_at = datetime.now(UTC).isoformat()
    hidden = {model.id, model.time, *model.contract.get("sensitive", [])}
    return lines.lines(
        scored.predictions[start:end],
        scored.times[start:end],
        model.manifest_sha256,
        version,
        logged_at,
        scored.rows(start, end, hidden),
    )


def _scored(read: Read, body: bytes, model: Model, size: Size, asked: float) -> Scored:
    """Read a body and predict its rows; RefusalError where that is refused.

    `asked` is when it was there, by `perf_counter`.
    """
    if perf_counter() - asked > busy.BULK_SECONDS:
        raise busy.BusyError
    try:
        return vectors.score(model, read(body, model, size))
    except TooManyError as error:
        raise RefusalError(413, error.reason, str(error)) from None
    except ArrowError as error:
        raise RefusalError(400, error.reason, str(error)) from None
    except RowError as error:
        raise RefusalError(422, error.reason, str(error)) from None


def _content(facts: dict[str, str], scored: Scored, kind: bytes) -> bytes:
    """Return the body of the response; `facts` say which version it is of."""
    if kind == ARROW:
        return arrow_writer.stream(scored.predictions, facts)
    parts = [ENCODE(scored.predictions[a:b])[1:-1] for a, b in scored.parts()]
    return b'%s,"predictions":[%s]}' % (ENCODE(facts)[:-1], b",".join(parts))


def _arrow(body: bytes, model: Model, size: Size) -> Table:
    """Read an Arrow stream."""
    return arrow_reader.read(body, vectors.allowed(model), *size)


def _parquet(body: bytes, model: Model, size: Size) -> Table:
    """Read a Parquet file, in a process of its own."""
    if find_spec("pyarrow") is None:
        raise RefusalError(
            415,
            Reason.MEDIA_TYPE,
            "this server does not read Parquet: install pyarrow beside it, or send "
            f"{ARROW.decode()}.",
        )
    command = [sys.executable, "-P", parquet.__file__, *map(str, size)]
    try:
        done = subprocess.run(
            command, input=body, capture_output=True, timeout=PARQUET_SECONDS
        )
    except subprocess.TimeoutExpired:
        sentence = "the body is a Parquet file that takes too long."
        raise ArrowError(Reason.TOO_LARGE, sentence) from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").splitlines()[-1:]
        sentence = last[0] if done.returncode == 1 and last else ""
        if not sentence.startswith("the body"):
            sentence = "the body is a Parquet file that cannot be read."
        if sentence.startswith("the body has"):
            raise TooManyError(Reason.TOO_LARGE, sentence)
        raise ArrowError(Reason.MALFORMED, sentence)
    return _arrow(done.stdout, model, size)


READERS: dict[bytes, Read] = {ARROW: _arrow, PARQUET: _parquet}
