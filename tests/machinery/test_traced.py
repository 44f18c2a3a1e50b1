"""Features with code: traced once, trained on, exported, served; or refused by line."""

import importlib.util
import json
import re
import subprocess
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import yaml
from sklearn.pipeline import Pipeline

from machinery import rows as small
from machinery import test_edge, test_pipeline, tiny
from mlgitops.judge import operators, sandbox
from mlgitops.monitor import reference
from mlgitops.pipeline import arrays as xp
from mlgitops.pipeline import data, fitting, golden, manifest, parity, tracing
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.tracing import Derived, Function
from mlgitops.serving.model import Model
from mlgitops.testing import Project

CONTRACT = """\
name: orders
task: binary
id: order
target: returned
columns:
  price: {type: number, missing: true}
  größe 漢字: {type: number, missing: true}
  stück: {type: integer, min: -9, max: 16777216, missing: true}
  express: {type: boolean, missing: true}
  shop: {type: category, missing: true, categories: [Zürich, "東京", "NO", "e\\u0301"]}
  placed: {type: datetime, missing: true}
  sent: {type: datetime, missing: true}
  concat_result: {type: number, missing: true}
  "0": {type: number, missing: true}
"""
TERMS = Contract.read(CONTRACT)
COLUMNS = list(yaml.safe_load(CONTRACT)["columns"])
TERMS_HERE = test_pipeline.CONTRACT
RECIPE = yaml.safe_load((test_pipeline.ROOT / "params.yaml").read_text())["train"]
HEAD = '''\
"""Features."""

from mlgitops.pipeline import arrays as xp


'''
PROVED = '''\
def features(columns: xp.Columns) -> xp.Columns:
    """Return five features, and the columns but for the times."""
    price, size = columns["price"], columns["größe 漢字"]
    placed, sent = columns["placed"], columns["sent"]
    kept = {n: c for n, c in columns.items() if n not in ("placed", "sent")}
    return {
        **kept,
        "price / größe": price / size,
        "log": xp.log1p(xp.clip(price, 0, 1000)),
        "hour": xp.hour(placed),
        "weekday": xp.weekday(placed),
        "hours until sent": (sent - placed) / 3600,
        "price": xp.where(columns["shop"] == "東京", price, 0),
    }
'''
ROWS: list[dict[str, Any]] = [  # what a client sends
    {"price": 1, "größe 漢字": 3, "placed": "2024-02-29T23:30:00-05:00"},
    {"price": 1, "größe 漢字": 0, "placed": "2023-02-28T23:59:59.999999Z"},
    {"price": 0, "größe 漢字": 0, "placed": "2000-02-29", "sent": "2000-03-01"},
    {"price": -1, "größe 漢字": -0.0, "placed": "1900-03-01T00:00:00+14:00"},
    {"price": None, "größe 漢字": 2, "placed": "1969-12-31T23:59:59Z"},
    {"price": 3.4e38, "größe 漢字": 1e-38, "shop": "東京", "express": True},
    {"price": 1e-45, "größe 漢字": 3.4e38, "shop": "e\u0301", "express": False},
    {"price": 1e-6, "größe 漢字": 7, "shop": "\u00e9", "stück": 16777216},
    {"price": 999.999, "größe 漢字": 0.1, "shop": "東京\u200b", "concat_result": 5},
    {"price": 1000.001, "größe 漢字": 0.1, "shop": "東京", "sent": "2199-12-31"},
    {
        **{"price": 12.5, "größe 漢字": 4, "shop": "Zürich", "stück": -9},
        **{"placed": "2038-01-19T03:14:08+00:00", "sent": "1700-01-02T00:00:00Z"},
    },
    {},
]


def function(folder: Path, body: str, head: str = HEAD) -> Function:
    """Write model/features.py, and return its function as a stage would load it."""
    file = folder / "model" / "features.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(head + body)
    spec = importlib.util.spec_from_file_location(f"features_{hash(file)}", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: Function = module.features
    return loaded


def trace(folder: Path, body: str, head: str = HEAD) -> Derived | None:
    """Trace a function over all columns of the contract."""
    return tracing.trace(function(folder, body, head), TERMS, COLUMNS)


def of(expression: str) -> str:
    """Return a function whose only feature, beside all columns, is an expression."""
    return (
        "def features(columns: xp.Columns) -> xp.Columns:\n"
        f'    return {{**columns, "made": {expression}}}\n'
    )


class Version(NamedTuple):
    """A version on disk, and what it was made of."""

    folder: Path
    project: Project
    rows: pd.DataFrame
    fitted: Pipeline
    model: bytes


@pytest.fixture(
    scope="module", params=["hist_gradient_boosting", "logistic_regression"]
)
def version(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """Return a version with five features, fitted and written as a build does."""
    folder = tmp_path_factory.mktemp("traced")
    train = {**small.settings("binary", request.param), "columns": COLUMNS}
    (folder / "contract.yaml").write_text(CONTRACT)
    (folder / "params.yaml").write_text(yaml.safe_dump({"train": train}))
    project = Project(folder)
    rows = project.made_up_rows(1500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.features.features", function(folder, PROVED))
        fitted = project.fit(rows, request.param)
    model = project.export(fitted)
    text = manifest.manifest(
        project.contract,
        project.train,
        ("model.onnx", model),
        contract=tiny.contract_hashes(CONTRACT),
        code={"sha256": "0" * 64},
        requirements={"sha256": "1" * 64},
        golden=parity.golden(model, rows, project.contract, COLUMNS),
    )
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(text)
    return Version(folder, project, rows, fitted, model)


def as_trained(sent: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows of a client as training would get them, typed."""
    table = pd.DataFrame(sent, columns=COLUMNS).astype(object)
    table["order"] = [f"o{n}" for n in range(len(sent))]
    for name in TERMS.kind("number", COLUMNS):
        table[name] = table[name].astype(float)
    for name in ("placed", "sent"):
        moments = [_moment(text) for text in table[name]]
        table[name] = pd.Series(moments, dtype="datetime64[us, UTC]")
    return table


def _moment(text: object) -> datetime | None:
    """Return a time of a client, UTC where it does not say."""
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def test_a_team_can_look_at_its_features(
    version: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In its own tests, without a fit."""
    monkeypatch.setattr("model.features.features", function(tmp_path, PROVED))
    inputs = version.project.inputs(version.rows)
    features = version.project.features(version.rows)
    assert features.equals(version.fitted["columns"].transform(inputs))


def wanted(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the five features as numpy and pandas compute them, in float64."""
    price, size = (
        table[n].to_numpy(np.float32).astype(np.float64)
        for n in ("price", "größe 漢字")
    )
    placed, sent = table["placed"], table["sent"]
    with np.errstate(all="ignore"):
        ratio = (price / size).astype(np.float32).astype(np.float64)
        ratio[~np.isfinite(ratio)] = np.nan
        return {
            "price / größe": ratio,
            "log": np.log1p(np.clip(price, 0, 1000)),
            "hour": (
                placed.dt.hour
                + placed.dt.minute / 60
                + (placed.dt.second + placed.dt.microsecond / 1e6) / 3600
            ).to_numpy(float),
            "weekday": placed.dt.weekday.to_numpy(float),
            "hours until sent": ((sent - placed).dt.total_seconds() / 3600).to_numpy(),
            "price": np.where(table["shop"] == "東京", price, 0.0),
        }


def test_features_are_what_numpy_and_pandas_compute(version: Version) -> None:
    """To the last digit of float32: zero, missing, extreme, zones, leap days."""
    for rows in (as_trained(ROWS), version.rows):
        inputs = fitting.table(data.inputs(rows, TERMS, COLUMNS))
        features = version.fitted["columns"].transform(inputs)
        for name, expected in wanted(rows).items():
            np.testing.assert_allclose(
                features[name].to_numpy(), expected, rtol=1.2e-7, err_msg=name
            )
    assert list(features)[:2] == ["price", "größe 漢字"]  # in the place that it had
    assert "placed" not in features and "shop" in features


def test_a_row_has_the_same_features_alone_in_a_batch_and_in_the_file(
    version: Version,
) -> None:
    """Bit by bit: no row is on the other side of a threshold in production."""
    rows = pd.concat([version.rows.iloc[:700], as_trained(ROWS)])
    inputs = data.inputs(rows, TERMS, COLUMNS)
    table = fitting.table(inputs)
    derived: Derived = version.fitted["columns"]
    trained = derived.transform(table)
    computed = [name for name, source in derived.sources.items() if not source]
    merged = onnx.ModelProto.FromString(version.model)
    outputs = [o.name for o in onnx.ModelProto.FromString(derived.model).graph.output]
    merged.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 1])
        for name in outputs
    )
    session = onnxruntime.InferenceSession(merged.SerializeToString())
    arrays = fitting.feed(session, inputs)
    together = session.run(outputs, arrays)
    alone = [
        session.run(outputs, {n: a[i : i + 1] for n, a in arrays.items()})
        for i in range(len(rows))
    ]
    for index, name in enumerate(computed):
        bits = trained[name].to_numpy().view(np.int32)
        np.testing.assert_array_equal(together[index][:, 0].view(np.int32), bits, name)
        each = np.concatenate([values[index][:, 0] for values in alone])
        np.testing.assert_array_equal(each.view(np.int32), bits, name)


def test_the_server_answers_as_training_predicts(
    version: Version, tmp_path: Path
) -> None:
    """Row by row, in one request and alone; the server has no code of a feature."""
    table = as_trained(ROWS)
    inputs = fitting.table(data.inputs(table, TERMS, COLUMNS))
    trained = version.project.predict(version.fitted, inputs)
    with tiny.server(version.folder, "--log", str(tmp_path)) as (port, _):
        status, answer = tiny.call(port, "/predict", {"rows": ROWS})
        assert status == 200, answer
        alone = [tiny.call(port, "/predict", {"rows": [row]})[1] for row in ROWS]
    together = [p["probability"] for p in answer["predictions"]]
    each = [answer["predictions"][0]["probability"] for answer in alone]
    trees = version.project.train.estimator == "hist_gradient_boosting"
    np.testing.assert_allclose(each, together, atol=0 if trees else 1e-6)
    np.testing.assert_allclose(together, trained, atol=1e-6)
    assert len(set(together)) > len(ROWS) // 2


def test_the_edge_bundle_answers_as_the_server(
    version: Version, tmp_path: Path
) -> None:
    """With onnxruntime and numpy alone."""
    done = test_edge.build(version.folder, tmp_path / "b.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        file.extractall(tmp_path / "bundle")
    done = test_edge.run(tmp_path / "bundle", {"rows": ROWS})
    assert done.returncode == 0, done.stderr
    served = Model(version.folder).predict(ROWS)
    answers = [p["probability"] for p in json.loads(done.stdout)["predictions"]]
    assert answers == served.tolist()


@pytest.mark.slow
def test_parity_and_the_judge_pass_it(version: Version, tmp_path: Path) -> None:
    """Its operators are on the list; the server's own code answers at the edges."""
    project, rows = version.project, version.rows
    assert project.difference(version.fitted, version.model, rows) <= 1e-6
    operators.check(operators.read(version.model))
    sample, result, note = (tmp_path / n for n in ("s.json", "r.json", "note"))
    sample.write_text(json.dumps(golden.requests(rows.iloc[::50], TERMS)))
    arguments = (version.folder, sample, result, note, "1000", "1e-5")
    sandbox.run("serving", "mlgitops.judge.serve", *arguments)
    found = json.loads(result.read_text())
    assert "check" not in found, found
    assert found["asked"] > 400


def test_importance_is_of_the_columns_that_a_client_sends(version: Version) -> None:
    """Not of what is computed of them; a time that only features use counts, too."""
    loaded = reference.Model(version.folder / "model.onnx", TERMS, COLUMNS)
    importance = loaded.importance(version.rows)
    assert list(importance) == COLUMNS
    assert importance["placed"] > 0 and importance["price"] > 0


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "linear"])
@pytest.mark.parametrize("task", small.TASKS)
def test_every_task_takes_features(
    task: str, estimator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has another output, and its export other values."""
    linear = "ridge" if task == "regression" else "logistic_regression"
    name = linear if estimator == "linear" else estimator
    contract, recipe = small.small(task), small.recipe(task, estimator=name)
    rows = small.make(contract, 600)
    body = of('columns["distance"] / columns["temp"]')
    monkeypatch.setattr("model.features.features", function(tmp_path, body))
    fitted = fitting.fit(rows, contract, recipe)
    assert list(fitted.named_steps) == ["columns", "features", name]
    model = fitting.export(fitted, contract, recipe.columns)
    arrays = data.inputs(rows, contract, recipe.columns)
    parity.demand(parity.parity(fitted, model, arrays, contract), 1e-5)
    operators.check(operators.read(model))


RESHAPED = (
    'return {"ratio": columns["distance"] / columns["temp"], "code": '
    'xp.lookup(columns["carrier"], {"AA": 1, "B6": 2})}',  # no category is left
    'return {"carrier": columns["distance"] + columns["temp"], "airline": '
    'columns["carrier"]}',  # a number under the name of a category
    'return {"airline": columns["carrier"], "same": columns["carrier"], '
    '**{n: columns[n] for n in ("distance", "temp")}}',
)


@pytest.mark.parametrize("line", RESHAPED)
def test_columns_can_be_replaced_renamed_and_left_out(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimator gets what is returned, each with its own type."""
    contract, recipe = small.small(), small.recipe()
    rows = small.make(contract, 400)
    body = f"def features(columns):\n    {line}\n"
    monkeypatch.setattr("model.features.features", function(tmp_path, body))
    fitted = fitting.fit(rows, contract, recipe)
    model = fitting.export(fitted, contract, recipe.columns)
    arrays = data.inputs(rows, contract, recipe.columns)
    parity.demand(parity.parity(fitted, model, arrays, contract), 1e-6)


def test_the_same_function_gives_the_same_bytes(
    tmp_path: Path, version: Version
) -> None:
    """And the inputs of the file are the model's columns, in their order."""
    first, again = (trace(tmp_path, PROVED) for _ in range(2))
    assert first and again and first.model == again.model
    session = onnxruntime.InferenceSession(version.model)
    names = [entry.name for entry in session.get_inputs()]
    assert names == [fitting.input_name(name) for name in COLUMNS]
    assert [o.name for o in session.get_outputs()] == ["probability"]


def test_the_order_of_a_set_does_not_matter(tmp_path: Path) -> None:
    """It is another in each process, and the bytes must not be."""
    pairs = (
        ('xp.isin(columns["shop"], ["NO", "東京", ""])', '["", "東京", "NO"]'),
        ('xp.isin(columns["price"], [1, 2.5, 3])', "np.array([3, 1, 2.5])"),
        ('xp.lookup(columns["shop"], {"NO": 1, "b": 2})', '{"b": 2, "NO": 1}'),
    )
    head = HEAD.replace("from mlgitops", "import numpy as np\n\nfrom mlgitops", 1)
    for expression, order in pairs:
        turned = f"{expression[: expression.index(', ')]}, {order})"
        traced = [trace(tmp_path, of(text), head) for text in (expression, turned)]
        assert traced[0] and traced[1] and traced[0].model == traced[1].model


def test_columns_as_they_are_cost_nothing(tmp_path: Path) -> None:
    """The identity adds no step and no node; renamed or reordered, no node."""
    assert trace(tmp_path, of("0").replace(', "made": 0', "")) is None
    body = (
        "def features(columns: xp.Columns) -> xp.Columns:\n"
        '    return {"a " + n: columns[n] for n in sorted(columns)}\n'
    )
    renamed = trace(tmp_path, body)
    assert renamed and not onnx.ModelProto.FromString(renamed.model).graph.node
    assert renamed.sources == {f"a {name}": name for name in sorted(COLUMNS)}
    assert renamed.contract(TERMS).columns["a shop"] is TERMS.columns["shop"]


NUMBERS = np.array(
    [*np.random.default_rng(3).normal(0, 40, 40), 0.0, -0.0, 0.5, 1.5, 2.5, -7.0, 1e-9]
)
EXPRESSIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "x + y * 2 - 1": lambda x, y: x + y * 2 - 1,
    "1 / x": lambda x, y: 1 / x,
    "2 - x": lambda x, y: 2 - x,
    "-x + +y": lambda x, y: y - x,
    "x ** 2 + 2 ** (y / 40)": lambda x, y: x**2 + 2 ** (y / 40),
    "x // 7": lambda x, y: np.floor(x / 7),
    "x % 7": lambda x, y: np.mod(x, 7),
    "1000 % x": lambda x, y: 1000 - np.floor(1000 / x) * x,
    "abs(x) + xp.abs(y)": lambda x, y: abs(x) + abs(y),
    "round(x)": lambda x, y: np.round(x),
    "round(x, 1)": lambda x, y: np.round(x * 10) / 10,
    "xp.ceil(x) + xp.floor(y)": lambda x, y: np.ceil(x) + np.floor(y),
    "xp.trunc(x)": lambda x, y: np.trunc(x),
    "xp.sign(x)": lambda x, y: np.sign(x),
    "xp.square(x)": lambda x, y: x * x,
    "xp.sqrt(x)": lambda x, y: np.sqrt(x),
    "xp.exp(x / 9)": lambda x, y: np.exp(x / 9),
    "xp.log(x)": lambda x, y: np.log(x),
    "xp.log2(x)": lambda x, y: np.log2(x),
    "xp.log10(x)": lambda x, y: np.log10(x),
    "xp.log1p(x)": lambda x, y: np.log1p(x),
    "xp.sin(x) + xp.cos(y)": lambda x, y: np.sin(x) + np.cos(y),
    "xp.tan(x)": lambda x, y: np.tan(x),
    "xp.tanh(x / 40)": lambda x, y: np.tanh(x / 40),
    "xp.maximum(x, y)": np.maximum,
    "xp.minimum(0, x)": lambda x, y: np.minimum(0, x),
    "xp.clip(x, -3, y)": lambda x, y: np.where(
        np.clip(x, -3, None) > y, y, np.clip(x, -3, None)
    ),
    "xp.clip(x, max=3)": lambda x, y: np.clip(x, None, 3),
    "xp.isnan(x)": lambda x, y: np.isnan(x),
    "xp.isnan(x) | xp.isnan(y) ^ (x > 0)": lambda x, y: (
        np.isnan(x) | np.isnan(y) ^ (x > 0)
    ),
    "xp.isfinite(1 / x)": lambda x, y: np.isfinite(1 / x),
    "xp.isinf(1 / x)": lambda x, y: np.isinf(1 / x),
    "xp.isin(x, [0.5, 1.5])": lambda x, y: np.isin(x, [0.5, 1.5]),
    "xp.where((x > 0) & ~(y <= 1), x, xp.nan)": lambda x, y: np.where(
        (x > 0) & ~(y <= 1), x, np.nan
    ),
    "(x == 0) + (x != 0) * 2 + (x < y) * 4 + (x >= y) * 8": lambda x, y: (
        (x == 0) + (x != 0) * 2 + (x < y) * 4 + (x >= y) * 8
    ),
    "np.float64(3) * x + np.int64(1)": lambda x, y: 3 * x + 1,
    "np.float32(3) < x": lambda x, y: x > 3,
    "x.__array_namespace__().log(x)": lambda x, y: np.log(x),
    "sum([x, y, 1])": lambda x, y: x + y + 1,
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_function_is_numpys(expression: str, tmp_path: Path) -> None:
    """With missing values, zeros of both signs and halves; infinite is missing."""
    head = HEAD.replace("from mlgitops", "import numpy as np\n\nfrom mlgitops", 1)
    body = of(expression).replace(
        "    return", '    x, y = columns["price"], columns["größe 漢字"]\n    return'
    )
    derived = trace(tmp_path, body, head)
    assert derived
    x = np.append(NUMBERS, [np.nan, 1.0, np.nan]).astype(np.float32)
    y = np.append(NUMBERS[::-1], [1.0, np.nan, np.nan]).astype(np.float32)
    table = pd.DataFrame({name: x for name in COLUMNS})
    table["größe 漢字"] = y
    with np.errstate(all="ignore"):
        expected = EXPRESSIONS[expression](x.astype(float), y.astype(float)) * 1.0
    expected[np.isinf(expected)] = np.nan
    made = derived.transform(table)["made"].to_numpy()
    np.testing.assert_allclose(made, expected, rtol=2e-7, atol=1e-14)


def test_no_function_depends_on_the_batch(tmp_path: Path) -> None:
    """Bit by bit, alone, in threes and together; in float32 a tenth would differ."""
    x = 'columns["price"]'
    made = [f"xp.{name}({x})" for name in ("log", "sin", "cos", "tan", "log1p")]
    made += [
        f"xp.exp({x} / 9)",
        f"xp.tanh({x} / 40)",
        f"{x} ** 1.7",
        f"1.1 ** {x}",
        f"xp.log10({x})",
    ]
    body = "def features(columns: xp.Columns) -> xp.Columns:\n    return {**columns, "
    body += ", ".join(f'"f{n}": {text}' for n, text in enumerate(made)) + "}\n"
    derived = trace(tmp_path, body)
    assert derived
    session = onnxruntime.InferenceSession(derived.model)
    values = np.random.default_rng(1).gamma(1, 20, (3001, 1)).astype(np.float32)
    (entry,) = session.get_inputs()
    together = np.concatenate(session.run(None, {entry.name: values}), axis=1)
    assert together.shape == (3001, len(made)) and np.isfinite(together).all()
    for size in (1, 3):
        parts = [
            np.concatenate(
                session.run(None, {entry.name: values[i : i + size]}), axis=1
            )
            for i in range(0, len(values), size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), together)


TEXTS = {
    'columns["shop"] == "東京"': [1, 0, 0, 0, 0, 0],
    'columns["shop"] != "e\u0301"': [1, 1, 1, 0, 1, 1],
    '"" == columns["shop"]': [0, 1, 0, 0, 0, 0],
    'xp.isnan(columns["shop"])': [0, 1, 0, 0, 0, 0],
    'xp.isin(columns["shop"], ["東京", "NO", "NO"])': [1, 0, 1, 0, 0, 0],
    'xp.lookup(columns["shop"], {"東京": 0.1, "": 5})': [
        *(np.float32(0.1), 5, *[np.nan] * 4)
    ],
    'xp.lookup(columns["shop"], {"NO": -1}, default=7)': [7, 7, -1, 7, 7, 7],
    'xp.where(columns["shop"] == "NO", "東京", columns["shop"]) == "東京"': [
        *(1, 0, 1, 0, 0, 0)
    ],
}


@pytest.mark.parametrize("expression", TEXTS)
def test_texts_are_compared_as_they_were_written(
    expression: str, tmp_path: Path
) -> None:
    """Code by code, as the contract's categories are: no two spellings are one."""
    derived = trace(tmp_path, of(expression))
    assert derived
    texts = ["東京", "", "NO", "e\u0301", "\u00e9", "東京\u200b"]
    table = pd.DataFrame({name: [0.0] * len(texts) for name in COLUMNS})
    table["shop"] = np.array(texts, dtype=object)
    made = derived.transform(table)["made"]
    np.testing.assert_array_equal(made, np.array(TEXTS[expression], np.float32))


def test_parts_of_times_are_the_calendars(tmp_path: Path) -> None:
    """Through leap years and centuries; a fixed zone is added in seconds."""
    expressions = {
        "days": "xp.days(t)",
        "hour": "xp.hour(t + 3600 * 5.5)",
        "weekday": "xp.weekday(t)",
        "day": "xp.day_of_year(t)",
        "since": '(t - "2000-02-29T12:00:00+12:00") / 86400',
        "later": 't > "2000-01-01"',
        "either": 'xp.days(xp.where(t < "2000-01-01", "2000-01-01", t))',
    }
    made = ", ".join(f'"{name}": {text}' for name, text in expressions.items())
    body = (
        "def features(columns: xp.Columns) -> xp.Columns:\n"
        f'    t = columns["placed"]\n    return {{**columns, {made}}}\n'
    )
    derived = trace(tmp_path, body)
    assert derived
    random = np.random.default_rng(5)
    moments = random.integers(-8_000_000_000, 7_000_000_000, 400) * 1_000_000
    times = pd.Series(pd.to_datetime(moments, unit="us", utc=True))
    leap = pd.Series(
        pd.to_datetime(
            ["1900-02-28T23:59:59.5", "2000-02-29T00"], utc=True, format="ISO8601"
        )
    )
    times = pd.concat([times, leap], ignore_index=True)
    seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()
    table = pd.DataFrame({name: seconds for name in COLUMNS})
    found = derived.transform(table)
    zone = times.dt.tz_convert("Asia/Kolkata").dt
    hour = zone.hour + zone.minute / 60 + zone.second / 3600 + zone.microsecond / 3.6e9
    historic = times.dt.year < 1946  # other offsets, which a fixed one does not know
    start = pd.Timestamp("2000-01-01", tz="UTC")
    epoch = pd.Timestamp(0, tz="UTC")
    expected = {
        "days": (times - epoch).dt.floor("D").dt.days,
        "hour": hour.where(~historic, found["hour"]),
        "weekday": times.dt.weekday,
        "day": times.dt.dayofyear,
        "since": (times - start).dt.total_seconds() / 86400 - 59,
        "later": times > start,
        "either": (times.where(times >= start, start) - epoch).dt.days,
    }
    assert not historic.all()
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[name], values.to_numpy(float), rtol=1.2e-7, err_msg=name
        )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the repository whose training table is there."""
    folder = test_pipeline.copy(tmp_path_factory.mktemp("repository"))
    done = stage("prepare", folder)
    assert done.returncode == 0, done.stderr
    return folder


def stage(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a stage of a copy of the repository, as DVC would."""
    command = test_pipeline.STAGES[name]["cmd"].split()[2:]
    return test_pipeline.run(*command, cwd=folder, PYTHONPATH=str(folder))


def edit(folder: Path, returned: str) -> None:
    """Edit the function of the repository, as a user would: one line."""
    file = folder / "model/features.py"
    line = re.compile(r"\n    return .*\n")
    file.write_text(line.sub(f"\n    return {returned}\n", file.read_text(), count=1))


def test_the_stages_train_and_score_a_feature(repository: Path) -> None:
    """One line is edited; the manifest hashes it, and names the user's columns."""
    column = TERMS_HERE.kind("number", RECIPE["columns"])[0]
    edit(repository, f'{{**columns, "log": xp.log1p(columns["{column}"])}}')
    done = stage("train", repository)
    assert done.returncode == 0, done.stderr
    done = stage("evaluate", repository)
    assert done.returncode == 0, done.stderr
    build = repository / "build"
    version = json.loads((build / "manifest.json").read_text())
    assert version["columns"] == RECIPE["columns"]
    for path in ("model/features.py", "mlgitops/pipeline/arrays.py"):
        digest = manifest.sha256((repository / path).read_bytes())
        assert version["code"]["files"][path] == digest
    model = onnx.load(build / "model.onnx")
    assert "Log" in {node.op_type for node in model.graph.node}
    assert len(model.graph.input) == len(RECIPE["columns"])


def test_a_stage_refuses_in_one_sentence(repository: Path) -> None:
    """With the file and the line, and writes nothing."""
    for file in (repository / "build").glob("m*"):
        file.unlink()
    edit(repository, "{n: c for n, c in columns.items() if not c}")
    done = stage("train", repository)
    assert done.returncode == 1 and done.stdout == ""
    line = r"train: model/features\.py:\d+: Python cannot decide by a column .*\n"
    assert re.fullmatch(line, done.stderr), done.stderr
    assert not list((repository / "build").glob("m*"))


def test_the_example_returns_its_columns() -> None:
    """So that a first model is as simple as it looks; older repositories have none."""
    assert tracing.load(TERMS_HERE, RECIPE["columns"]) is None
    project = Project(test_pipeline.ROOT)
    rows = project.made_up_rows(20)
    assert project.features(rows).equals(project.inputs(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("model.features.features")
        assert tracing.load(TERMS_HERE, RECIPE["columns"]) is None


REFUSED = {  # the expression at line 7 of the file, and a word of the reason
    'columns["price"] if columns["price"] > 0 else 0': "xp.where",
    'columns["price"] > 0 and columns["stück"] > 0': "xp.where",
    'not columns["price"] > 0': "xp.where",
    'columns["shop"] in ("NO", "東京")': "xp.isin",
    'max(columns["price"], columns["stück"])': "xp.maximum",
    '0 < columns["price"] < 5': "xp.where",
    'float(columns["price"])': "xp.floor",
    'int(columns["price"])': "xp.floor",
    'math.log(columns["price"])': "xp.log",
    'np.log(columns["price"])': "xp.log",
    'np.where(columns["price"] > 0, 1, 0)': "numpy.where",
    'columns["price"] + np.arange(3)': "ndarray",
    'np.arange(3) + columns["price"]': "ndarray",
    'pd.Series(columns["price"]).fillna(0)': "not a function of a feature",
    'pd.to_datetime(columns["placed"])': "ROW",
    'columns["price"].fillna(0)': ".fillna",
    'columns["price"].mean()': ".mean",
    'columns["price"][0]': "own row",
    'sum(columns["price"])': "own row",
    'len(columns["price"])': "own row",
    'xp.mean(columns["price"])': "xp.mean",
    'xp.cumulative_sum(columns["price"])': "xp.cumulative_sum",
    'columns["preis"]': "train.columns",
    'columns["price"] + None': "NoneType",
    'columns["price"] + "1"': "lookup",
    'columns["shop"] + "x"': "lookup",
    'columns["shop"] > "x"': "lookup",
    'columns["shop"] == 5': "lookup",
    'xp.log(columns["shop"])': "lookup",
    'xp.isin(columns["shop"], "NO")': "list",
    'xp.lookup(columns["price"], {"a": 1})': "texts",
    'columns["placed"] * 2': "xp.hour",
    'columns["placed"] + columns["sent"]': "xp.hour",
    'columns["placed"] > 5': "xp.hour",
    'columns["placed"] > "yesterday"': "not a time",
    'columns["placed"] + 3600': "must be a number",
    'xp.where(columns["express"], 1, 0)': "condition",
    'xp.where(columns["price"] > 0, columns["placed"], 1)': "make both",
    'xp.where(columns["price"] > 0, "a", "b")': "lookup",
    '~columns["price"]': "conditions",
    'columns["price"] > 0 & columns["stück"] > 0': "conditions",
    'xp.hour(columns["price"])': "datetime",
    "xp.sqrt(2)": "take a column",
    '{}["x"]': "KeyError",
    'columns["price"] / 0 / None': "NoneType",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_cannot_be_traced_is_refused_with_its_line(
    expression: str, tmp_path: Path
) -> None:
    """One sentence: the file, the line, why, and what to write."""
    head = '"""F."""\nimport math\nimport numpy as np\nimport pandas as pd\n'
    head += "from mlgitops.pipeline import arrays as xp\n"
    with pytest.raises(ContractError) as refused:
        trace(tmp_path, of(expression), head)
    sentence = str(refused.value)
    assert re.match(r"model/features\.py:7: ", sentence), sentence
    assert "\n" not in sentence
    if REFUSED[expression] != "ROW":
        assert REFUSED[expression] in sentence.partition(":7: ")[2], sentence


def test_a_helper_is_refused_at_its_own_line(tmp_path: Path) -> None:
    """Not where it is called."""
    helper = "def far(x):\n    if x > 5:\n        return 1\n    return 0\n\n\n"
    with pytest.raises(ContractError, match=r"^model/features\.py:7: "):
        trace(tmp_path, helper + of('far(columns["price"])'))


STATE = {
    "N = []\n\n\ndef made(x):\n    N.append(1)\n    return x + len(N)\n": 11,
    "KEPT = {}\n\n\ndef made(x):\n    return KEPT.setdefault('x', x)\n": 0,
    "KEPT = {}\n\n\ndef made(x):\n    return KEPT.setdefault('x', x * 2) + x\n": 10,
    "KEPT = {}\n\n\ndef made(x):\n    return KEPT.setdefault('x', x * 2)\n": 10,
    "import numpy as np\n\n\ndef made(x):\n    return x * np.random.rand()\n": 10,
    "import time\n\n\ndef made(x):\n    return x - time.time()\n": 6,
    "from datetime import date\n\n\ndef made(x):\n    return x + date.today().day": 10,
    "def made(x):\n    import random\n    return x + random.random()\n": 7,
    "def made(x):\n    return x + len(open('data.csv').read())\n": 7,
    "import urllib.request\n\n\ndef made(x):\n    return x\n": 6,
}


@pytest.mark.parametrize("body", STATE)
def test_what_depends_on_more_than_the_row_is_refused(
    body: str, tmp_path: Path
) -> None:
    """State, chance, a clock, a file or a network: with the line that has it."""
    with pytest.raises(ContractError) as refused:
        trace(tmp_path, body + "\n\n" + of('made(columns["price"])'))
    line = STATE[body] or "[0-9]+"
    assert re.match(rf"model/features\.py:{line}: ", str(refused.value)), refused.value


RETURNED = {
    "columns = 5": "must return columns by name",
    "columns = {}": "must return columns by name",
    'columns = {**columns, 5: columns["price"]}': "name must be text",
    'columns = {**columns, " ": columns["price"]}': "name must be text",
    'columns = {**columns, "five": 5}': "not made of the columns",
    'columns = {"price": columns["price"]}': "neither returned nor used",
}


@pytest.mark.parametrize("line", RETURNED)
def test_what_is_returned_is_checked(line: str, tmp_path: Path) -> None:
    """A column that is not used would be asked of every client for nothing."""
    body = f"def features(columns):\n    {line}\n    return columns\n"
    with pytest.raises(ContractError, match=RETURNED[line]) as refused:
        trace(tmp_path, body)
    assert str(refused.value).startswith("model/features.py:6: ")


def test_a_feature_that_differs_in_production_is_refused(
    version: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Were training to compute it otherwise, parity says so before anything is written.

    Here an hour off, as by a local clock.
    """
    as_it_is = Derived.transform

    def shifted(self: Derived, X: pd.DataFrame) -> pd.DataFrame:
        return as_it_is(self, X).assign(hour=lambda table: (table["hour"] + 1) % 24)

    project, rows = version.project, version.rows
    monkeypatch.setattr("model.features.features", function(tmp_path, PROVED))
    arrays = data.inputs(rows, TERMS, COLUMNS)
    for transform in (as_it_is, shifted):
        monkeypatch.setattr(Derived, "transform", transform)
        fitted = project.fit(rows, version.project.train.estimator)
        proof = parity.parity(fitted, project.export(fitted), arrays, TERMS)
        if transform is as_it_is:
            parity.demand(proof, 1e-5)
    with pytest.raises(ContractError, match="differ from the fitted"):
        parity.demand(proof, 1e-5)


def test_functions_are_named_in_a_refusal() -> None:
    """All that there are, and nothing that is not one."""
    for name in xp.FUNCTIONS:
        assert callable(getattr(xp, name))
    assert {"log", "where", "hour", "isin"} <= set(xp.FUNCTIONS)
    assert not {"line", "location", "Array", "Graph"} & set(xp.FUNCTIONS)
