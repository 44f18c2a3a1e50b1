"""Times the steps of one row, in the folder of a generated repository with a version.

python steps.py BODY
"""

import asyncio
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mlgitops.serving import rows
from mlgitops.serving.app import App
from mlgitops.serving.body import DECODE
from mlgitops.serving.connection import Bounds, Connections
from mlgitops.serving.direct import Direct
from mlgitops.serving.lines import lines
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS
from mlgitops.serving.stack import Config, ServerState

TIMES, REPEATS = 1_000, 15
SCALE = TIMES / 1e6


def microseconds(step: Callable[[], object]) -> float:
    """Return what a step takes of the processor, the least of several repeats."""
    step()
    timer = time.thread_time  # a busy machine does not count
    return min(timeit.repeat(step, timer=timer, number=TIMES, repeat=REPEATS)) / SCALE


def steps(body: bytes) -> dict[str, Callable[[], object]]:
    """Return each step as a function."""
    model = Model("build")
    app = App(model)
    asked = DECODE(body).rows
    checked = model.predict(asked)
    inputs = rows.inputs(asked, model.columns, model.inputs)
    feed = dict(zip(model._names, inputs.values(), strict=True))
    task, names = TASKS[model.task], (model.id, model.time)
    predictions: list[Any] = model.predictions(asked, ["row-1"])
    logged_at = datetime.now(UTC).isoformat()
    facts = (model.manifest_sha256, "v1", logged_at)
    content = {"manifest_sha256": model.manifest_sha256, "predictions": predictions}
    typed = getattr(model, "typed", None)

    def line() -> list[bytes]:
        shown = {n: v for n, v in asked[0].items() if n not in names}
        return lines(predictions, [None], *facts, [shown])

    def slow() -> object:
        return rows.inputs(asked, model.columns, model.inputs)

    return {
        "decode": lambda: DECODE(body),
        "id and time": lambda: rows.metadata(0, asked[0], *names),
        "check, with inputs": (lambda: typed.inputs(asked)) if typed else slow,
        "session.run": lambda: model._session.run([model.output], feed),
        "scores, with run": lambda: model._scores(inputs, 1),
        "predictions by name": lambda: task.predictions(checked, model.manifest),
        "line of the log": line,
        "count": lambda: app.counts.predicted(asked),
        "encode": lambda: app._encode(content),
    }


def whole(body: bytes, log: bool, together: int) -> float:
    """Return what a request takes of the processor, from ASGI's call to its response.

    That is in microseconds, with what the thread of the log takes.
    """
    app = App(Model("build"))
    scope = {"type": "http", "path": "/predict", "method": "POST", "headers": []}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def times() -> float:
        if log:
            app.log = PredictionLog(tempfile.mkdtemp())
        best = 1e9
        for _ in range(REPEATS):
            start = time.process_time()
            for _ in range(TIMES // together):
                await asyncio.gather(*(app(scope, receive, send) for _ in many))
            best = min(best, time.process_time() - start)
        if app.log is not None:
            app.log.close()
        return best / (TIMES // together * together) * 1e6

    many = range(together)
    import uvloop

    return uvloop.run(times())


class Client(asyncio.Transport):
    """A connection whose one response ends a wait."""

    waiter: asyncio.Future[None]

    def write(self, data: Any) -> None:
        """Take the response."""
        self.waiter.set_result(None)

    def is_closing(self) -> bool:
        """Return that it stays."""
        return False

    def get_write_buffer_size(self) -> int:
        """Return that all is taken."""
        return 0

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Take any."""


def direct(body: bytes, log: bool, together: int) -> float:
    """Return what a request takes without ASGI, from its bytes to its response's."""
    head = b"POST /predict HTTP/1.1\r\nhost: localhost:8080\r\ncontent-length: %d"
    data = head % len(body) + b"\r\n\r\n" + body

    async def times() -> float:
        app = App(Model("build"))
        if log:
            app.log = PredictionLog(tempfile.mkdtemp())
        config = Config(app, lifespan="off", ws="none", access_log=False)
        config.load()
        connections = Connections(Bounds(), Direct(app))
        clients = [Client() for _ in range(together)]
        open_ = [connections.connect(config, ServerState(), {}) for _ in clients]
        for client, connection in zip(clients, open_, strict=True):
            connection.connection_made(client)
        best, loop = 1e9, asyncio.get_running_loop()
        for _ in range(REPEATS):
            start = time.process_time()
            for _ in range(TIMES // together):
                for client, connection in zip(clients, open_, strict=True):
                    client.waiter = loop.create_future()
                    connection.data_received(data)
                for client in clients:
                    await client.waiter
            best = min(best, time.process_time() - start)
        if app.log is not None:
            app.log.close()
        return best / (TIMES // together * together) * 1e6

    import uvloop

    return uvloop.run(times())


def main() -> None:
    """Print the steps, and whole requests."""
    body = sys.argv[1].encode()
    for name, step in steps(body).items():
        print(f"  {name:<36}{microseconds(step):>8.1f}")
    for together in (1, 16):
        for log in (False, True):
            name = f"{together} at once, log {'on' if log else 'off'}"
            print(f"  {f'ASGI, {name}':<36}{whole(body, log, together):>8.1f}")
            print(f"  {f'HTTP, direct, {name}':<36}{direct(body, log, together):>8.1f}")


if __name__ == "__main__":
    main()
