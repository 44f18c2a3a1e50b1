"""Every estimator of scikit-learn, and some compositions: fitted, exported, served.

    python -m machinery.estimators > docs/estimators.md

In the folder of a generated repository, with the folder `tests` of the template on
PYTHONPATH. XGBoost, LightGBM and CatBoost are measured where they are installed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import yaml
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.utils import all_estimators
from threadpoolctl import threadpool_limits

from mlgitops.judge import operators
from mlgitops.pipeline import convertible, data, fitting, golden, manifest, parity
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.settings import train
from mlgitops.pipeline.task import TASKS
from mlgitops.serving.model import Model
from model import estimator as choices
from model.features import for_linear, for_trees

CONTRACT = """\
name: estimators
task: binary
id: row
target: y
columns:
  color: {type: category, categories: [red, green, blue, grey], missing: false}
  shape: {type: category, categories: [disc, cube], missing: true}
  size: {type: number, min: -1000, max: 1000, missing: false}
  price: {type: number, min: 0, max: 100000, missing: true}
  count: {type: integer, min: 0, max: 50, missing: false}
  member: {type: boolean, missing: true}
  placed: {type: datetime, missing: false}
"""
LIMIT = 1e-5  # of the difference: float32 keeps seven digits, and trees add up hundreds
FITTED, COMPARED = 2_000, 10_000  # rows
KINDS = {"binary": "classifier", "multiclass": "classifier", "regression": "regressor"}
Features = Callable[[Contract, Sequence[str]], ColumnTransformer]


known_estimators = cache(all_estimators)  # each call imports all of scikit-learn


@cache
def contract(task: str) -> Contract:
    """Return a contract of all types of columns, for a task."""
    classes = {"classes": ["low", "middle", "high"]} if task == "multiclass" else {}
    return Contract.parse({**yaml.safe_load(CONTRACT), "task": task, **classes})


@cache
def rows(task: str, count: int, seed: int) -> pd.DataFrame:
    """Return labelled rows; a tenth of what may be missing is."""
    random = np.random.default_rng(seed)
    color, shape = random.integers(0, 4, count), random.integers(0, 2, count)
    size = random.normal(0, 100, count).round(2).clip(-1000, 1000)
    price = random.gamma(2, 500, count)
    number = random.integers(0, 51, count).astype(float)
    member = (random.random(count) < 0.4).astype(float)
    signal = size / 100 + color / 2 - shape + np.log1p(price) / 4 - number / 40 + member
    signal += random.normal(0, 0.7, count)
    shapes = np.array(["disc", "cube"], object)[shape]
    for values in (shapes, price, member):
        values[random.random(count) < 0.1] = None if values is shapes else np.nan
    seconds = random.integers(0, 10**8, count)
    table = pd.DataFrame(
        {
            "row": [f"row-{n:05}" for n in range(count)],
            "color": np.array(["red", "green", "blue", "grey"], object)[color],
            "shape": shapes,
            "size": size,
            "price": price,
            "count": number,
            "member": member,
            "placed": pd.Timestamp("2020-01-01", tz="UTC")
            + pd.to_timedelta(seconds, unit="s"),
        }
    )
    if task == "binary":
        table["y"] = (signal > np.median(signal)).astype("int8")
    elif task == "multiclass":
        third = np.searchsorted(np.quantile(signal, [1 / 3, 2 / 3]), signal)
        table["y"] = np.array(["low", "middle", "high"], object)[third]
    else:
        table["y"] = 10 + signal
    return data.check(table, contract(task))


def positive(terms: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """Return features from 0 to 1, as naive Bayes of counts needs them."""
    from sklearn.preprocessing import MinMaxScaler

    linear = for_linear(terms, columns)
    for _, transformer, _ in linear.transformers:
        if hasattr(transformer, "steps"):
            transformer.steps[-1] = ("scaler", MinMaxScaler(clip=True))
    return linear


def numbers(terms: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """Return the numbers only, filled and scaled: no feature follows from others."""
    linear = for_linear(terms, columns)
    return ColumnTransformer([t for t in linear.transformers if t[0] == "numbers"])


def codes(terms: Contract, columns: Sequence[str]) -> ColumnTransformer:
    """Return the codes of categories only; an unknown one is one more."""
    trees = for_trees(terms, columns)
    (name, encoder, names), *_ = trees.transformers
    return ColumnTransformer([(name, encoder.set_params(unknown_value=9), names)])


@dataclass(frozen=True)
class Entry:
    """An estimator to try: how it is written, on which features, for which tasks."""

    name: str
    text: str
    features: Features = for_linear
    tasks: tuple[str, ...] = ("binary", "multiclass")


@dataclass(frozen=True)
class Result:
    """What was found of an estimator for a task."""

    entry: Entry
    task: str
    difference: float = np.nan  # largest, on 10,000 rows and as many awkward ones
    decisions: int = 0  # that differ on the 10,000: the score is on the threshold
    kilobytes: int = 0
    microseconds: float = np.nan  # of one row, in the server's own code
    problem: str = ""
    file: bytes = field(default=b"", repr=False)

    @property
    def exact(self) -> bool:
        """Whether every prediction is the fitted estimator's."""
        return not self.problem and self.difference <= LIMIT


TREES = ("DecisionTree", "ExtraTree", "ExtraTrees", "RandomForest", "Bagging")
TREES += ("HistGradientBoosting",)
WRITTEN = {  # what needs arguments
    "CategoricalNB": "CategoricalNB(min_categories=10)",
    "SGDClassifier": 'SGDClassifier(loss="log_loss")',
    "OneVsRestClassifier": "OneVsRestClassifier(LogisticRegression())",
    "PLSRegression": "PLSRegression(n_components=1)",
    "CCA": "CCA(n_components=1)",
    "PLSCanonical": "PLSCanonical(n_components=1)",
    "RadiusNeighborsClassifier": "RadiusNeighborsClassifier(9, "
    'outlier_label="most_frequent")',
    "RadiusNeighborsRegressor": "RadiusNeighborsRegressor(9)",
    "TunedThresholdClassifierCV": "TunedThresholdClassifierCV(LogisticRegression())",
    "StackingClassifier": 'StackingClassifier([("forest", RandomForestClassifier(20)), '
    '("linear", LogisticRegression())])',
    "StackingRegressor": 'StackingRegressor([("forest", RandomForestRegressor(20)), '
    '("linear", Ridge())])',
    "VotingClassifier": 'VotingClassifier([("forest", RandomForestClassifier(20)), '
    '("linear", LogisticRegression())], voting="soft", flatten_transform=False)',
    "VotingRegressor": 'VotingRegressor([("forest", RandomForestRegressor(20)), '
    '("linear", Ridge())])',
}
INNER = {  # of which one in `convertible.REFUSED` is made
    **dict.fromkeys(("MultiOutputRegressor", "RegressorChain"), "(Ridge())"),
    **dict.fromkeys(
        ("ClassifierChain", "MultiOutputClassifier"), "(LogisticRegression())"
    ),
    **dict.fromkeys(
        ("FixedThresholdClassifier", "OneVsOneClassifier", "OutputCodeClassifier"),
        "(LogisticRegression())",
    ),
    "SelfTrainingClassifier": "(LogisticRegression())",
}
ON = {
    "BernoulliNB": for_linear,
    "CategoricalNB": codes,
    "ComplementNB": positive,
    "MultinomialNB": positive,
    "QuadraticDiscriminantAnalysis": numbers,
}
BOTH, REGRESSION = ("binary", "multiclass"), ("regression",)
COMPOSED = (
    Entry(
        "feature selection, by a test",
        "make_pipeline(SelectKBest(k=5), LogisticRegression())",
    ),
    Entry(
        "feature selection, by a model",
        "make_pipeline(SelectFromModel(RandomForestClassifier(20)), "
        "LogisticRegression())",
    ),
    Entry(
        "recursive feature selection",
        "make_pipeline(RFE(Ridge()), HistGradientBoostingRegressor())",
        tasks=REGRESSION,
    ),
    Entry("principal components", "make_pipeline(PCA(4), LogisticRegression())"),
    Entry(
        "polynomials", "make_pipeline(PolynomialFeatures(2), Ridge())", tasks=REGRESSION
    ),
    Entry(
        "calibrated boosting",
        'CalibratedClassifierCV(HistGradientBoostingClassifier(), method="sigmoid")',
        for_trees,
    ),
    Entry(
        "calibrated forest",
        'CalibratedClassifierCV(RandomForestClassifier(20), method="isotonic")',
        for_trees,
    ),
    Entry("calibrated support vectors", "CalibratedClassifierCV(SVC())"),
    Entry("calibrated linear support vectors", "CalibratedClassifierCV(LinearSVC())"),
    Entry("bagged linear model", "BaggingClassifier(LogisticRegression())"),
)
LIBRARIES = {
    "xgboost": ("XGB", "n_jobs=1"),
    "lightgbm": ("LGBM", "n_jobs=1, verbose=-1"),
    "catboost": (
        "CatBoost",
        "iterations=100, thread_count=1, verbose=0, allow_writing_files=False",
    ),
}


@cache
def classes() -> dict[str, type]:
    """Return every class that an entry may name."""
    from sklearn import decomposition, feature_selection, preprocessing

    known = dict(known_estimators())
    for module in (decomposition, feature_selection, preprocessing):
        known |= {name: getattr(module, name) for name in module.__all__}
    for name, (prefix, _) in LIBRARIES.items():
        if find_spec(name):
            module = import_module(name)
            for kind in ("Classifier", "Regressor"):
                known[prefix + kind] = getattr(module, prefix + kind)
    return known


def make(text: str) -> BaseEstimator:
    """Return the estimator that a text writes."""
    return eval(text, {"make_pipeline": make_pipeline, **classes()})


def entries() -> Iterator[Entry]:
    """Yield every estimator that is not refused by its name."""
    for kind, tasks in (("classifier", BOTH), ("regressor", REGRESSION)):
        for name, _ in known_estimators(type_filter=kind):
            if name in convertible.REFUSED or name in ("SVC",):
                continue
            trees = name.removesuffix(kind.capitalize()) in TREES
            text = WRITTEN.get(name, f"{name}()")
            yield Entry(
                name, text, ON.get(name, for_trees if trees else for_linear), tasks
            )
    yield from COMPOSED
    for name, (prefix, arguments) in LIBRARIES.items():
        if find_spec(name):
            for kind, tasks in (("Classifier", BOTH), ("Regressor", REGRESSION)):
                yield Entry(
                    f"{prefix}{kind}", f"{prefix}{kind}({arguments})", for_trees, tasks
                )


def refused() -> Iterator[tuple[str, str, str]]:
    """Yield each that is refused by name: as it is written, and for which task."""
    for name in convertible.REFUSED:
        known = dict(known_estimators(type_filter="classifier"))
        text = WRITTEN.get(name, f"{name}{INNER.get(name, '()')}")
        yield name, text, "binary" if name in known else "regression"
    for task, name in convertible.OF_TASK:
        yield name, WRITTEN.get(name, f"{name}()"), task
    yield "SVC", "SVC()", "binary"


def measure(entry: Entry, task: str, fast: bool = False) -> Result:
    """Fit, export and serve an estimator, and compare what it predicts.

    With `fast` an ensemble has ten members.
    """
    terms, columns = contract(task), list(contract(task).columns)
    model = make(entry.text)
    few = {n: 10 for n in ("n_estimators", "max_iter") if n in model.get_params()}
    if fast and "n_estimators" in few:
        model.set_params(n_estimators=few["n_estimators"])
    kind = choices.CLASSIFIERS if KINDS[task] == "classifier" else choices.REGRESSORS
    section = {"seed": 1, "estimator": "tried", "columns": columns, "parity": LIMIT}
    section |= {"threshold": 0.5} if task == "binary" else {}
    recipe, result = train({"train": section}, task), Result(entry, task)
    kind["tried"] = (entry.features, model)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = fitting.fit(rows(task, FITTED, 3), terms, recipe)
            exported = fitting.export(fitted, terms, columns)
            operators.check(operators.read(exported))
            arrays = data.inputs(rows(task, COMPARED, 4), terms, columns)
            parity.check_features(fitted, arrays, terms)
            proof = parity.parity(fitted, exported, arrays, terms)
            found = replace(result, difference=proof["max_difference"], file=exported)
            if not found.exact:
                return found
            expected = TASKS[task].fitted(fitted, fitting.table(arrays))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return replace(result, problem=reason[:200])
    finally:
        del kind["tried"]
    return _serve(found, expected)


def _serve(found: Result, expected: np.ndarray) -> Result:
    """Return the result with what the server's own code answers to JSON rows."""
    task, terms = found.task, contract(found.task)
    table = rows(task, COMPARED, 4)
    requests = golden.requests(table, terms)
    section = {"seed": 1, "estimator": "tried", "columns": list(terms.columns)}
    section |= {"parity": LIMIT} | ({"threshold": 0.5} if task == "binary" else {})
    agreed = yaml.safe_dump(
        {
            **yaml.safe_load(CONTRACT),
            "task": task,
            **({"classes": list(terms.classes)} if terms.classes else {}),
        },
        sort_keys=False,
    ).encode()
    text = manifest.manifest(
        terms,
        train({"train": section}, task),
        ("model.onnx", found.file),
        contract={
            "sha256": hashlib.sha256(agreed).hexdigest(),
            "json_sha256": manifest.sha256(
                manifest_plain(agreed),
            ),
        },
        code={"sha256": "0" * 64},
        requirements={"sha256": "1" * 64},
        golden=parity.golden(found.file, table, terms, list(terms.columns)),
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "contract.yaml").write_bytes(agreed)
        (folder / "model.onnx").write_bytes(found.file)
        (folder / "manifest.json").write_text(text)
        served = Model(folder)
        served.check_golden()
        scores = served.predict(requests)
        times = []
        for row in requests[:200]:
            start = time.perf_counter()
            served.predict([row])
            times.append(time.perf_counter() - start)
    gap = float(np.abs(scores - expected).max()) / TASKS[task].scale(expected)
    return replace(
        found,
        difference=max(found.difference, gap),
        decisions=int((decided(task, scores) != decided(task, expected)).sum()),
        kilobytes=len(found.file) // 1024,
        microseconds=1e6 * float(np.median(times)),
        file=b"",
    )


def manifest_plain(agreed: bytes) -> bytes:
    """Return a contract as the JSON that a machine without YAML reads."""
    return json.dumps(yaml.safe_load(agreed), indent=1, default=str).encode()


def decided(task: str, scores: np.ndarray) -> np.ndarray:
    """Return the decision on each row; of a regression there is none."""
    if task == "binary":
        return np.asarray(scores >= 0.5)
    return scores.argmax(axis=1) if task == "multiclass" else np.zeros(len(scores))


HEAD = """\
# Estimators

What `model/estimator.py` may hold. Each estimator below is fitted on {fitted:,} rows,
exported to ONNX, checked against the judge's list of operators, compared with what
was fitted on {compared:,} rows and as many awkward ones (blank where the contract
allows it, new categories, times before 1970), and served to {compared:,} rows by the
server's own code. An estimator *converts* if no prediction differs by more than
{limit:g} of a probability (of the largest value, in a regression): float32 keeps seven
digits, and an ensemble adds up hundreds of numbers.

The columns of the tasks say the largest difference; (n) are decisions of the
{compared:,} that differ, as their score is on the threshold to seven digits: there the
file decides, and the file is what is judged and served. KB is the size of the file, µs
the time for one row in the server's process on one core, both for the first task.

This file is generated; a test compares it with what it finds:

```
cd A-GENERATED-REPOSITORY
PYTHONPATH=TEMPLATE/tests python -m machinery.estimators > TEMPLATE/docs/estimators.md
```

{versions}.

Features: `for_trees` and `for_linear` are those of `model/features.py`; `positive`
scales to 0 to 1, `numbers` and `codes` take these only.

Isotonic calibration of several classes is the exception: its steps can be so steep that
the seventh digit of a score moves a probability. Take `method="sigmoid"`.
"""


def cell(result: Result | None) -> str:
    """Return a result as a cell of the table."""
    if result is None:
        return "refused"
    if not result.exact:
        return "**no**"
    flips = f" ({result.decisions})" if result.decisions else ""
    return f"{result.difference:.0e}{flips}" if result.difference else f"0{flips}"


def line(entry: Entry, results: Sequence[Result]) -> str:
    """Return an estimator's line of the table."""
    by_task = {result.task: result for result in results}
    first = next((r for r in results if r.exact), None)
    numbers = (
        (f"{first.kilobytes:,}", f"{first.microseconds:,.0f}") if first else ("", "")
    )
    written = entry.text if entry.text != f"{entry.name}()" else entry.name
    label = (
        f"`{written}`"
        if entry.text.startswith(entry.name)
        else f"{entry.name}: `{written}`"
    )
    cells = [label, f"`{entry.features.__name__}`"]
    cells += [cell(by_task.get(task)) for task in entry.tasks]
    return f"| {' | '.join([*cells, *numbers])} |"


def measured(entry: Entry) -> Iterator[Result]:
    """Yield what is found of an estimator, for each task that it is for."""
    for task in entry.tasks:
        if (task, entry.name) not in convertible.OF_TASK:
            result = measure(entry, task)
            if not result.exact:
                why = result.problem or f"differs by {result.difference:g}"
                print(entry.name, task, why, file=sys.stderr)
            yield result


def document(only: Sequence[str] = ()) -> str:
    """Return docs/estimators.md, or the lines of some estimators."""
    packages = ("scikit-learn", "skl2onnx", "onnxruntime", "xgboost-cpu", "lightgbm")
    found = []
    for name in (*packages, "catboost"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    text = HEAD.format(
        fitted=FITTED, compared=COMPARED, limit=LIMIT, versions=", ".join(found)
    )
    for tasks, title in {BOTH: "Classifiers", REGRESSION: "Regressors"}.items():
        head = f"| estimator | features | {' | '.join(tasks)} | KB | µs |"
        text += f"\n## {title}\n\n{head}\n|---|---|{'---|' * (len(tasks) + 2)}\n"
        for entry in entries():
            if entry.tasks == tasks and (not only or entry.name in only):
                text += line(entry, list(measured(entry))) + "\n"
    text += "\n## Refused by name, before anything is fitted\n\n"
    text += "| estimator | why | take |\n|---|---|---|\n"
    for name, (why, nearest) in sorted(convertible.REFUSED.items()):
        text += f"| `{name}` | {why} | {nearest} |\n"
    for (task, name), (why, nearest) in convertible.OF_TASK.items():
        text += f"| `{name}`, task {task} | {why} | {nearest} |\n"
    return text + "".join(f"{each}\n" for each in refused_arguments())


def refused_arguments() -> list[str]:
    """Return the lines of what else than some values of an argument is refused."""
    lists = {"": convertible.ARGUMENTS, ", for classes": convertible.OF_CLASSES}
    return [
        f"| `{name}` with `{argument}` other than {_listed(allowed)}{tasks} "
        f"| {convertible.WRONG} | {nearest} |"
        for tasks, arguments in lists.items()
        for (name, argument), (allowed, nearest) in arguments.items()
    ]


def _listed(values: Sequence[object]) -> str:
    """Return values as words."""
    return " or ".join(f"`{value!r}`" for value in values if value is not None)


if __name__ == "__main__":
    print(document(sys.argv[1:]), end="")
