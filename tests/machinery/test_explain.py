"""Reasons for a row: the numbers are Shapley's, and asking costs others little.

The numbers are checked against closed forms and a count over all orders, in numpy; what
the server says and refuses against a tiny real version.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from machinery import tiny
from machinery.test_serving import REFUSED
from mlgitops.pipeline.golden import SPREAD
from mlgitops.serving import explain, shapley
from mlgitops.serving.app import App
from mlgitops.serving.explain import Bucket, Limits
from mlgitops.serving.log import release
from mlgitops.serving.model import Model
from mlgitops.serving.reasons import Reason
from mlgitops.serving.rows import RowError
from mlgitops.serving.shapley import Feeds, Floats, Values

Weights = Mapping[str, float]
MANY = 10_000
FREE = Limits(rate=1e9, burst=10**9, seconds=600)


def feeds(count: int, rows: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return columns of numbers."""
    random = np.random.default_rng(seed)
    return {f"c{n}": random.normal(size=(rows, 1)) for n in range(count)}


def reasons(
    model: Callable[..., Any],
    columns: int,
    budget: int = MANY,
    seed: int = 0,
    **row: Any,
) -> tuple[Values, float]:
    """Return the values of a row of `model`, and its output minus the baseline."""

    def score(mixed: Feeds) -> Floats:
        assert len(next(iter(mixed.values()))) <= shapley.BATCH
        out: Floats = model(*(value[:, 0] for value in mixed.values()))
        return out

    reference, one = feeds(columns, 6, 1), feeds(columns, 1, 2)
    one |= {name: np.array([[value]]) for name, value in row.items()}
    ends = float(score(one)[0]), score(reference)
    found = shapley.values(score, one, reference, ends, budget, seed)
    return found, ends[0] - ends[1].mean()


@pytest.mark.parametrize("columns", [1, 4, 30])
def test_of_a_linear_model_they_are_the_closed_form(columns: int) -> None:
    """The weight times the distance from the mean, whether exact or drawn."""
    weights = np.linspace(-2, 3, columns)
    found, _ = reasons(
        lambda *c: 7 + sum(w * x for w, x in zip(weights, c, strict=True)), columns
    )
    one, reference = feeds(columns, 1, 2), feeds(columns, 6, 1)
    moved = [float(one[name][0, 0] - reference[name].mean()) for name in one]
    assert found.exact is (columns < 9)
    assert found.contributions == pytest.approx(weights * moved, abs=1e-12)


@pytest.mark.parametrize("budget", [MANY, 90])
def test_of_a_sum_of_functions_each_column_gets_its_own(budget: int) -> None:
    parts = (np.exp, np.abs, lambda x: x**3, lambda x: 0 * x)
    found, _ = reasons(
        lambda *c: sum(f(x) for f, x in zip(parts, c, strict=True)), 4, budget
    )
    one, reference = feeds(4, 1, 2), feeds(4, 6, 1)
    pairs = zip(parts, one, strict=True)
    moved = [float(f(one[n]).mean() - f(reference[n]).mean()) for f, n in pairs]
    assert found.exact is (budget == MANY)
    assert found.contributions == pytest.approx(moved, abs=1e-12)
    assert found.contributions[3] == 0


def tangled(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return something that is no sum of its columns."""
    return 1 / (1 + np.exp(-(a * b + np.maximum(c, a) - 0.5 * d * b)))


def every_order() -> list[float]:
    """Return the mean gain of each column over all orders: the definition."""
    one, reference = feeds(4, 1, 2), feeds(4, 6, 1)
    total, orders = np.zeros(4), [*permutations(range(4))]
    for order in orders:
        for start in range(6):
            row = [reference[f"c{n}"][start, 0] for n in range(4)]
            for column in order:
                before = tangled(*row)
                row[column] = one[f"c{column}"][0, 0]
                total[column] += tangled(*row) - before
    return list(total / len(orders) / 6)


def test_few_columns_are_exact() -> None:
    found, _ = reasons(tangled, 4)
    assert found.exact and found.errors is None
    assert found.contributions == pytest.approx(every_order(), abs=1e-12)


def test_drawn_orders_come_near_and_say_how_near() -> None:
    """Over many seeds the errors are as large as they state, and there is no bias."""
    one, reference, exact = feeds(4, 1, 2), feeds(4, 6, 1), np.array(every_order())

    def score(mixed: Feeds) -> Floats:
        return np.asarray(tangled(*(value[:, 0] for value in mixed.values())))

    ends, away, stated = (float(score(one)[0]), score(reference)), [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        found = shapley._sampled(score, one, reference, ends, 10, random)
        assert not found.exact and found.errors is not None
        away.append(found.contributions - exact)
        stated.append(found.errors)
    actual, said = np.std(away, axis=0), np.mean(stated, axis=0)
    assert (actual < 1.5 * said).all() and (said < 1.5 * actual).all()
    assert (np.abs(np.mean(away, axis=0)) < 4 * said / np.sqrt(60)).all()
    assert np.abs(away).max() < 0.01


def test_one_order_states_no_error() -> None:
    found, _ = reasons(tangled, 4, budget=1)
    assert found.errors is None and not found.exact


@pytest.mark.parametrize("budget", [MANY, 90])
def test_the_parts_are_the_whole_and_a_dummy_has_none(budget: int) -> None:
    found, whole = reasons(lambda a, b, c, _: tangled(a, b, c, 0), 4, budget)
    assert found.contributions.sum() == pytest.approx(whole, abs=1e-12)
    assert found.contributions[3] == 0 and abs(found.contributions[:3]).min() > 1e-3


def test_columns_that_do_the_same_get_the_same() -> None:
    def score(mixed: Feeds) -> Floats:
        a, b, c = (v[:, 0] for v in mixed.values())
        return np.asarray(np.tanh(a * b + c))

    one = {
        name: np.array([[value]]) for name, value in zip("abc", (2, 2, 1), strict=True)
    }
    reference = {n: np.array([[0.1], [0.5], [-1.0]]) for n in "ab"}
    reference["c"] = np.array([[0.0], [0.3], [2.0]])
    ends = float(score(one)[0]), score(reference)
    a, b, c = shapley.values(score, one, reference, ends, MANY, 0).contributions
    assert a == pytest.approx(b, abs=1e-15) and abs(a - c) > 0.01


def test_the_same_row_gets_the_same_reasons() -> None:
    first, _ = reasons(tangled, 4, budget=90, seed=3)
    again, _ = reasons(tangled, 4, budget=90, seed=3)
    other, _ = reasons(tangled, 4, budget=90, seed=4)
    assert first.contributions.tolist() == again.contributions.tolist()
    assert first.contributions.tolist() != other.contributions.tolist()


def test_the_model_gets_no_more_rows_than_allowed() -> None:
    for columns, budget in ((4, MANY), (9, MANY), (14, MANY), (40, 3_000)):
        seen = []

        def count(*c: Any, seen: list[int] = seen) -> Any:
            seen.append(len(c[0]))
            return c[0] * c[1]

        reasons(count, columns, budget)
        assert sum(seen) <= budget + 7, columns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny.version(path)
    return path


@pytest.fixture
def app(folder: Path) -> App:
    return App(Model(folder), reasons=FREE)


async def send(
    app: App, path: str, body: Any, method: str = "POST", headers: Any = ()
) -> Any:
    """Ask an application; return status, headers and the answer."""
    data, sent = body if isinstance(body, bytes) else json.dumps(body).encode(), []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data}

    async def take(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": [*headers]}
    await app(scope, receive, take)
    headers = dict(sent[0]["headers"])
    return sent[0]["status"], headers, sent[1]["body"]


def ask(app: App, body: Any, path: str = "/explain") -> tuple[int, Any]:
    """Return the status and the answer to one request."""
    status, _, answer = asyncio.run(send(app, path, body))
    return status, json.loads(answer)


def test_a_server_says_why(app: App) -> None:
    row = {"id": "a", "seat": "b", **tiny.ROW}
    status, answer = ask(app, {"rows": [row, {"carrier": "ZZ", "distance": 5}]})
    assert status == 200 and answer["logged"] is False and app.model
    assert answer["manifest_sha256"] == app.model.manifest_sha256
    predicted = ask(app, {"rows": [row]}, "/predict")[1]["predictions"]
    first, second = answer["explanations"]
    assert first["prediction"] == predicted[0]
    assert first["value"] == predicted[0]["probability"] == pytest.approx(0.3, abs=0.5)
    assert [*first["contributions"]] == ["carrier", "distance", "temp"]
    for found in (first, second):
        total = found["baseline"] + sum(found["contributions"].values())
        assert total == pytest.approx(found["value"], abs=1e-12)
    golden = app.model.manifest["golden"]
    mean = sum(entry["probability"] for entry in golden) / len(golden)
    assert first["baseline"] == pytest.approx(mean, abs=1e-6)
    assert first["exact"] and "Shapley" in first["source"]
    assert app.counts.rows == 1 and app.counts.responses["/explain", 200] == 1


def test_the_page_of_documentation_names_every_field(app: App) -> None:
    file = Path(__file__).parents[2] / "docs/serving.md"
    if not file.is_file():
        pytest.skip("only the tests are here")
    answer = ask(app, {"rows": [tiny.ROW]})[1]
    fields = {*answer, *answer["explanations"][0], "class"}
    table = [line for line in file.read_text().splitlines() if line.startswith("| `")]
    named = {
        n for line in table for n in re.findall("`([a-z_0-9]+)`", line.split("|")[1])
    }
    assert fields <= named


def test_only_the_content_of_a_row_decides(folder: Path) -> None:
    """Not its id, its time, or a column that the model does not use."""
    app = App(Model(folder), reasons=FREE._replace(evaluations=40))
    row = tiny.ROW
    (first,) = ask(app, {"rows": [row]})[1]["explanations"]
    other = {"time": "2020-01-01", "id": 4, "seat": "a", **dict(reversed(row.items()))}
    (again,) = ask(app, {"rows": [other]})[1]["explanations"]
    assert not first["exact"] and first["standard_errors"] is None  # one order each
    assert first["contributions"] == again["contributions"]


@pytest.mark.parametrize(("status", "body", "says"), REFUSED)
def test_a_refusal_is_that_of_predict(
    folder: Path, status: Any, body: Any, says: str
) -> None:
    app = App(Model(folder), reasons=FREE._replace(rows=50))
    app.limits = app.limits._replace(rows=50, bytes=20_000)
    refused = ask(app, body)
    assert refused == ask(app, body, "/predict") and refused[0] >= 400
    assert says in refused[1]["error"]


def test_many_rows_are_refused(app: App) -> None:
    status, answer = ask(app, {"rows": [tiny.ROW] * 6})
    assert (status, "1 to 5 are allowed" in answer["error"]) == (413, True)


def test_no_model_no_reasons() -> None:
    status, answer = ask(App(None, "there is none."), {"rows": [tiny.ROW]})
    assert (status, answer) == (503, {"error": "there is none."})


def test_reasons_have_a_rate_of_their_own(folder: Path) -> None:
    """And predictions go on."""
    app = App(Model(folder), reasons=Limits(rate=0.001, burst=5))
    assert ask(app, {"rows": [tiny.ROW] * 5})[0] == 200
    status, headers, body = asyncio.run(send(app, "/explain", {"rows": [tiny.ROW]}))
    assert status == 429 and 900 < int(headers[b"retry-after"]) <= 1001
    assert "0.001 rows a second" in json.loads(body)["error"]
    assert ask(app, {"rows": [tiny.ROW]}, "/predict")[0] == 200
    assert ask(app, {"rows": [{}]})[0] == 422  # and a bad row takes no token


def test_a_bucket_fills_at_its_rate() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 3, lambda: now[0])
    assert [bucket.take(1) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(1) == 0.5
    now[0] = 0.5
    assert bucket.take(1) == 0 and bucket.take(2) == 1.0
    now[0] = 100.0
    assert bucket.take(3) == 0 and bucket.take(1) == 0.5


def test_rate_zero_gives_none(folder: Path) -> None:
    app = App(Model(folder), reasons=Limits(rate=0))
    assert ask(app, {"rows": [tiny.ROW]})[0] == 403


def test_one_at_a_time_beside_the_event_loop(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a row is explained a prediction is answered, and a second one refused."""
    import threading

    started, end, real = threading.Event(), threading.Event(), shapley.values

    def slow(*arguments: Any) -> Values:
        started.set()
        assert end.wait(120)
        return real(*arguments)

    monkeypatch.setattr(shapley, "values", slow)

    async def play() -> list[int]:
        first = asyncio.create_task(send(app, "/explain", {"rows": [tiny.ROW]}))
        assert await asyncio.to_thread(started.wait, 60)
        meanwhile = [
            (await send(app, path, {"rows": [tiny.ROW]}))[0]
            for path in ("/explain", "/predict")
        ]
        end.set()
        after = await first
        again = await send(app, "/explain", {"rows": [tiny.ROW]})
        return [*meanwhile, after[0], again[0]]

    assert asyncio.run(play()) == [429, 200, 200, 200]


def test_a_slow_model_is_given_up(folder: Path) -> None:
    app = App(Model(folder), reasons=FREE._replace(seconds=-1))
    status, answer = ask(app, {"rows": [tiny.ROW]})
    assert status == 503 and "--explain-evaluations" in answer["error"]


def test_a_mixture_without_an_output_has_no_reasons(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Values:
        raise RowError(
            Reason.NO_PREDICTION, "row 3: the model has no probability for it."
        )

    monkeypatch.setattr(shapley, "values", none)
    status, answer = ask(app, {"rows": [tiny.ROW]})
    assert status == 422 and "no reasons" in answer["error"]


def test_nothing_of_a_reference_row_is_said(app: App) -> None:
    """Not one value of it, and only means over all of them."""
    assert app.model
    for entry in app.model.manifest["golden"]:
        entry["row"]["seat"] = "SECRET"
    text = json.dumps(ask(app, {"rows": [tiny.ROW]})[1])
    assert "SECRET" not in text and "2500" not in text


def test_no_line_is_logged(app: App) -> None:
    class Log:
        lines = 0

        def put(
            self, lines: list[bytes], waiters: list[Any], count: int, last: bool
        ) -> None:
            self.lines += count
            release(waiters)

    app.log = log = Log()  # type: ignore[assignment]
    assert ask(app, {"rows": [tiny.ROW]})[0] == 200 and log.lines == 0
    assert ask(app, {"rows": [tiny.ROW]}, "/predict")[0] == 200 and log.lines == 1


def test_rows_of_the_training_data_are_the_reference() -> None:
    """The golden rows after them are made up."""
    assert explain.REFERENCE == SPREAD
