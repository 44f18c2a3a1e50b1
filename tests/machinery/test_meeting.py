"""Where types, features with code and estimators meet: each does what it says."""

import re
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from machinery import rows as small
from machinery import test_pipeline, test_traced, traffic
from mlgitops.judge import edges, operators
from mlgitops.monitor import performance
from mlgitops.pipeline import (
    convertible,
    data,
    fitting,
    golden,
    imports,
    parity,
    settings,
    tracing,
)
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.conversion import GraphFeatures
from mlgitops.pipeline.tracing import Derived
from model import estimator as choices
from model.features import for_linear, for_trees

TERMS = Contract.read("""\
name: orders
task: binary
id: order
target: returned
columns:
  price: {type: number, missing: true}
  label: {type: integer, min: 0, max: 9, missing: false}
  express: {type: boolean, missing: false}
  shop: {type: category, categories: [UA, "2"], missing: true}
  no te: {type: text, max_length: 90, missing: true}
  placed: {type: datetime, missing: false}
""")
COLUMNS = list(TERMS.columns)
SENT = [0.1, 0.7, 0.3, None]  # prices as a client writes them


def made(folder: Path, expression: str) -> list[float]:
    """Return a feature of four rows."""
    frame = pd.DataFrame({"price": pd.Series(SENT, dtype=np.float32)})
    frame["label"], frame["express"] = [0, 1, 2, 3], [1, 0, 1, 0]
    frame["shop"] = ["UA", "2", None, "2"]
    frame["no te"] = ["N/A", "Not, happy!", None, "not happy"]
    frame["placed"] = pd.to_datetime(["2024-01-01"] * 4, utc=True)
    derived = traced(folder, expression)
    features = derived.transform(fitting.table(data.inputs(frame, TERMS, COLUMNS)))
    return [float(number) for number in features["made"]]


def traced(folder: Path, expression: str) -> Derived:
    """Return what computes a feature."""
    function = test_traced.function(folder, test_traced.of(expression))
    derived = tracing.trace(function, TERMS, COLUMNS)
    assert derived
    return derived


AS_WRITTEN = {  # 0.7 as a float32 is less than 0.7, and 0.1 is more than 0.1
    'columns["price"] == 0.1': [1, 0, 0, 0],
    '0.1 != columns["price"]': [0, 1, 1, 1],
    'columns["price"] >= 0.7': [0, 1, 0, 0],
    'np.float64(0.7) <= columns["price"]': [0, 1, 0, 0],
    'columns["price"] <= np.float64(0.1)': [1, 0, 0, 0],
    'columns["price"] > 0.1': [0, 1, 1, 0],
    'xp.isin(columns["price"], [0.1, 0.3])': [1, 0, 1, 0],
    'xp.clip(columns["price"], 0.3, 5) == 0.3': [1, 0, 1, 0],
    'xp.maximum(0.3, columns["price"]) > 0.3': [0, 1, 0, 0],
    'abs(-columns["price"]) >= 0.7': [0, 1, 0, 0],
    'columns["price"] < 1e300': [1, 1, 1, 0],
    'columns["label"] / 10 == 0.1': [0, 1, 0, 0],  # control: computed in float64
    'columns["express"] == True': [1, 0, 1, 0],
}


@pytest.mark.parametrize("expression", AS_WRITTEN)
def test_a_number_is_compared_as_the_client_wrote_it(
    expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs are float32, and a number of Python's is not: they would never meet."""
    head = test_traced.HEAD.replace("from ml", "import numpy as np\n\nfrom ml", 1)
    monkeypatch.setattr(test_traced.function, "__defaults__", (head,))
    assert made(tmp_path, expression) == AS_WRITTEN[expression]


NEVER = {
    'columns["no te"] == "Not, happy!"': "write 'not happy'",
    'xp.isin(columns["no te"], ["good", "N/A"])': "write 'n a'",
    'xp.lookup(columns["no te"], {"good": 1, "N/A": 2})': "write 'n a'",
    'columns["shop"] != "ua"': "known: UA, 2",
    'xp.isin(columns["shop"], ["UA", 2.0])': "'2.0' is not a category",
    'xp.lookup(columns["shop"], {"UAX": 1})': "did you mean UA?",
    'xp.lookup(columns["shop"], {2: 1})': "keys of xp.lookup are texts: write '2'",
}


@pytest.mark.parametrize("expression", NEVER)
def test_a_text_that_a_column_never_has_is_refused(
    expression: str, tmp_path: Path
) -> None:
    """The feature would be the same in all rows, and nobody would see it."""
    with pytest.raises(ContractError, match=re.escape(NEVER[expression])) as refused:
        traced(tmp_path, expression)
    assert re.match(r"model/features\.py:\d+: ", str(refused.value))


WORDS = {
    'columns["no te"] == "not happy"': [0, 1, 0, 1],
    'xp.isin(columns["no te"], ["n a", ""])': [1, 0, 1, 0],
    'xp.isin(columns["shop"], ["UA", 2])': [1, 1, 0, 1],
    'columns["shop"] == ""': [0, 0, 1, 0],
    'xp.lookup(columns["shop"], {"UA": 1, "not yet": 9}, 5)': [1, 5, 5, 5],
}


@pytest.mark.parametrize("expression", WORDS)
def test_a_text_is_compared_by_its_words(expression: str, tmp_path: Path) -> None:
    """As the model gets them; a table may have more than the contract."""
    assert made(tmp_path, expression) == WORDS[expression]


EVERYTHING = """\
def features(columns: xp.Columns) -> xp.Columns:
    price, number, note = columns["price"], columns["label"], columns["no te"]
    return {
        **columns,
        "probability": price / number,
        "variable": xp.log(xp.abs(price) + 1),
        "estimator/a": xp.where(xp.isnan(note), 1, 0),
        "features/0": price * number,
        "column_78": xp.hour(columns["placed"]),
        "airline": columns["shop"],
    }
"""
WORD = [f"w{n}" for n in range(60)]
ESTIMATORS: dict[str, tuple[Any, BaseEstimator]] = {
    "forest": (for_trees, RandomForestClassifier(5)),
    "sparse": (for_linear, LogisticRegression()),
    "neighbours": (for_linear, KNeighborsClassifier()),
    "histogram": (for_linear, HistGradientBoostingClassifier(max_iter=5)),
    "vectors": (for_linear, CalibratedClassifierCV(SVC(), cv=2)),
    "stack": (
        for_linear,
        StackingClassifier(
            [("a", LogisticRegression()), ("b", KNeighborsClassifier())], cv=2
        ),
    ),
}


def rows(count: int = 200) -> pd.DataFrame:
    """Return checked rows."""
    random = np.random.default_rng(4)
    table: dict[str, Any] = {"order": [f"o{n}" for n in range(count)]}
    table["price"] = np.where(random.random(count) < 0.1, np.nan, random.random(count))
    table["label"] = random.integers(0, 5, count)
    table["express"] = random.integers(0, 2, count)
    table["shop"] = random.choice(["UA", "2"], count)
    table["no te"] = [" ".join(random.choice(WORD, 4)) for _ in range(count)]
    seconds = random.integers(0, 10**8, count)
    table["placed"] = pd.to_datetime(seconds, unit="s", utc=True)
    table["returned"] = random.integers(0, 2, count)
    return data.check(pd.DataFrame(table), TERMS)


def fit(
    monkeypatch: pytest.MonkeyPatch, folder: Path, body: str, name: str = "forest"
) -> Any:
    """Fit an estimator on what a function returns."""
    monkeypatch.setattr(choices, "CLASSIFIERS", ESTIMATORS)
    function = test_traced.function(folder, body)
    monkeypatch.setattr("model.features.features", function)
    section = {"columns": COLUMNS, "estimator": name, "seed": 1, "threshold": 0.5}
    recipe = settings.train({"train": {**section, "parity": 1e-5}}, "binary")
    return fitting.fit(rows(), TERMS, recipe)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_of_texts_converts(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also one that keeps its rows, or takes no sparse matrix."""
    fitted = fit(monkeypatch, tmp_path, EVERYTHING, name)
    model = fitting.export(fitted, TERMS, COLUMNS)
    arrays = data.inputs(rows(), TERMS, COLUMNS)
    parity.check_features(fitted, arrays, TERMS)
    parity.demand(parity.parity(fitted, model, arrays, TERMS), 1e-5)
    assert fitted[-2].sparse_ == (name in ("sparse", "vectors"))


def test_a_recipe_that_cannot_be_fitted_is_no_end_of_a_monitor_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Main's code may ask for a category that the running version does not know."""
    window, old = traffic.flights(400, 80, 28), traffic.flights(900, 0, 74)
    section = {**traffic.SECTION, "min_labels": 100}
    body = test_traced.of('xp.isin(columns["carrier"], ["new one"])')
    function = test_traced.function(tmp_path, body)
    monkeypatch.setattr("model.features.features", function)
    params = {**traffic.PARAMS, "monitor": section}
    args = (old, window, window, small.small(), params, traffic.METRIC)
    reason = performance.gain(*args)
    assert isinstance(reason, str) and "'new one' is not a category" in reason
    monkeypatch.undo()
    assert not isinstance(performance.gain(*args), str)


def test_a_time_that_a_feature_compares_with_is_an_edge(tmp_path: Path) -> None:
    """Where another program may round it to the other side."""
    moment = "2016-02-03T04:05:06.789000+00:00"
    derived = traced(tmp_path, f'columns["placed"] > "{moment}"')
    found = operators.constants(operators.read(derived.model))
    row = golden.requests(rows().iloc[:1], TERMS)
    names = [case.name for case in edges.cases(TERMS, ["placed"], row, found)]
    assert f"a row with placed = {moment!r}" in names


def test_who_takes_a_sparse_matrix() -> None:
    """To XGBoost, what such a matrix leaves out is missing, and not 0."""
    boosting = type("XGBClassifier", (LogisticRegression,), {})
    boosting.__module__ = "xgboost.sklearn"
    assert not convertible.takes_sparse(boosting())
    assert convertible.takes_sparse(MultinomialNB())
    assert convertible.takes_sparse(RandomForestClassifier())


@pytest.mark.parametrize("name", ["forest", "sparse"])
def test_a_feature_that_no_row_has_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The forest would be silent, and others speak of shapes."""
    body = test_traced.of('xp.log(-1 - xp.abs(columns["price"]))')
    with pytest.raises(ContractError, match=r'^"made" is missing in all 200 rows'):
        fit(monkeypatch, tmp_path, body, name)


def test_features_are_compared_in_batches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All rows of 2,000 words each would take 1.7 GB."""
    fitted = fit(monkeypatch, tmp_path, EVERYTHING, "sparse")
    graph: GraphFeatures = fitted[-2]
    table = fitted[:-2].transform(
        fitting.table(data.inputs(rows(), TERMS, COLUMNS)),
    )
    transform, seen = graph.features_.transform, []

    def wrong(X: pd.DataFrame) -> Any:
        seen.append(len(X))
        found = transform(X)
        return found + 0.5 * (seen[-1] == 20) if len(seen) == 7 else found

    monkeypatch.setattr("mlgitops.pipeline.conversion.ROWS", 30)
    assert graph.differing(table) == []
    monkeypatch.setattr(graph.features_, "transform", wrong)
    graph.features_.sparse_output_ = False
    assert graph.differing(table)
    assert seen == [30] * 6 + [20]


def test_a_table_of_features_is_in_memory_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Trees of a million rows with 200 words each would take 3 GB in place of 1.6."""
    fitted = fit(monkeypatch, tmp_path, EVERYTHING)
    table = fitted[:-2].transform(fitting.table(data.inputs(rows(), TERMS, COLUMNS)))
    many = pd.concat([table] * 100, ignore_index=True)
    tracemalloc.start()
    made = fitted[-2].transform(many)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.shape[0] == 20_000 and peak < 1.5 * made.nbytes
    np.testing.assert_array_equal(made[-200:], fitted[-2].transform(table))


def test_a_file_that_a_stage_imports_is_listed(tmp_path: Path) -> None:
    """Or a change of it would train nothing, and keep its verdict."""
    folder = test_pipeline.copy(tmp_path)
    assert test_traced.stage("prepare", folder).returncode == 0
    numbers = test_traced.TERMS_HERE.kind("number", test_traced.RECIPE["columns"])
    (folder / "model/helped.py").write_text("def twice(x):\n    return x * 2\n")
    test_traced.edit(folder, f'{{**columns, "made": twice(columns["{numbers[0]}"])}}')
    file = folder / "model/features.py"
    line = "from mlgitops.pipeline import arrays as xp\n"
    text = file.read_text().replace(line, f"{line}from model.helped import twice\n")
    file.write_text(text)
    dvc = folder / "dvc.yaml"
    dvc.write_text((test_pipeline.ROOT / "dvc.yaml").read_text())
    done = test_traced.stage("train", folder)
    assert done.returncode == 1 and done.stderr.startswith(
        "train: model/helped.py is imported, and dvc.yaml does not list it"
    ), done.stderr
    assert not (folder / "build/manifest.json").exists()
    entry = "      - model/features.py\n"
    dvc.write_text(dvc.read_text().replace(entry, f"{entry}      - model/helped.py\n"))
    done = test_traced.stage("train", folder)
    assert done.returncode == 0, done.stderr
    assert '"model/helped.py"' in (folder / "build/manifest.json").read_text()


def test_files_of_an_environment_are_not_the_teams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in the repository has the libraries, and Python itself."""
    loaded = {"env/lib/a.py": "x", "mlgitops/b.py": "x", "c.py": "x", "d.py": ""}
    for number, (path, text) in enumerate(loaded.items()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        module = ModuleType(f"made_up_{number}")
        module.__file__ = str(tmp_path / path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    assert imports.team() == ["c.py"]
    monkeypatch.setattr(sys, "prefix", str(tmp_path.parent))  # of all, as in an image
    assert imports.team() == ["c.py", "env/lib/a.py"]


def test_a_file_is_the_teams_where_a_link_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link of a file, or of its folder, from here and to here."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for name in ("here/a.py", "here/in/b.py", "elsewhere/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (here / "linked.py").symlink_to(elsewhere / "c.py")
    (elsewhere / "linked.py").symlink_to(here / "a.py")
    (elsewhere / "folder").symlink_to(here / "in")
    paths = [here / "linked.py", elsewhere / "linked.py", elsewhere / "folder/b.py"]
    for number, path in enumerate(paths):
        module = ModuleType(f"made_up_{number}")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(here)
    assert imports.team() == ["a.py", "in/b.py"]
