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

from mlgitops import prediction_log
from mlgitops.serving import rows
from mlgitops.serving.app import App
from mlgitops.serving.log import PredictionLog
from mlgitops.serving.model import Model
from mlgitops.serving.predictions import TASKS

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
    asked = app._decode(body).rows
    checked = model.predict(asked)
    inputs = rows.inputs(asked, model.columns, model.inputs)
    feed = dict(zip(model._names, inputs.values(), strict=True))
    task, names = TASKS[model.task], (model.id, model.time)
    predictions: list[Any] = model.predictions(asked, ["row-1"])
    logged_at = datetime.now(UTC).isoformat()
    facts = (model.manifest_sha256, "v1", logged_at)
    content = {"manifest_sha256": model.manifest_sha256, "predictions": predictions}
    typed = getattr(model, "typed", None)

    def line() -> bytes:
        shown = {n: v for n, v in asked[0].items() if n not in names}
        entry = prediction_log.line(predictions[0], None, *facts, shown)
        return app._encode(entry) + b"\n"

    def slow() -> object:
        return rows.inputs(asked, model.columns, model.inputs)

    return {
        "decode": lambda: app._decode(body),
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


def main() -> None:
    """Print the steps, and whole requests."""
    body = sys.argv[1].encode()
    for name, step in steps(body).items():
        print(f"  {name:<36}{microseconds(step):>8.1f}")
    for together in (1, 16):
        for log in (False, True):
            name = f"a request of {together} at once, log {'on' if log else 'off'}"
            print(f"  {name:<36}{whole(body, log, together):>8.1f}")


if __name__ == "__main__":
    main()
