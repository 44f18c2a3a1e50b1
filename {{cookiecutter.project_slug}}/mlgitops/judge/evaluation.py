"""What a challenger is judged on: rows, their target, and one or two models.

Each part of the judge has `add(evaluation)`, which adds to `evaluation.judgement`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops import settings
from mlgitops.judge import columns, large, sandbox
from mlgitops.judge.artifact import TRAINED
from mlgitops.judge.compare import Array, Codes
from mlgitops.judge.gates import Gates, Rules
from mlgitops.judge.large import Table
from mlgitops.judge.tasks import TASKS, Task
from mlgitops.judgement import Judgement, Refused
from mlgitops.pipeline import data, sides, task
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.repeated import hashes
from mlgitops.serving import predictions as serving
from mlgitops.serving.verify import distance

T = TypeVar("T")
Inputs = dict[str, Array]  # what a model reads, per column [rows, 1]


@dataclass
class Model:
    """One model: its folder, its manifest, its predictions for the holdout."""

    folder: Path
    manifest: dict[str, Any]
    predictions: Array = field(default_factory=lambda: np.empty(0))  # [rows, ...]
    latency: Array = field(default_factory=lambda: np.empty(0))  # ms of one row
    golden: float = 0.0  # the largest difference to the manifest's golden rows

    @property
    def columns(self) -> list[str]:
        """The columns that the model reads."""
        return list(self.manifest["columns"])

    @property
    def data(self) -> dict[str, Any]:
        """What the manifest says of the model's data."""
        return dict(self.manifest["data"])

    @property
    def task(self) -> str:
        """What the model is for, in words."""
        return task_name(self.manifest.get("task"), self.manifest.get("classes") or ())

    @property
    def decisions(self) -> Array:
        """What the model decides on each row of the holdout."""
        return TASKS[self.manifest["task"]].decide(self.predictions, self.manifest)


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a server of the challenger predicts; or which check it failed, and why."""

    predictions: list[Any] = field(default_factory=list)  # of a sample of the holdout
    difference: float = 0.0  # the largest of a prediction in a batch to that alone
    asked: int = 0  # rows, of the holdout and of the contract's edges
    slowest: tuple[float, str] = (0.0, "")  # ms of a row that is always slow; which
    check: str = ""
    reason: str = ""


@dataclass(kw_only=True)
class Evaluation:
    """All that a part may look at; `gates` and `params` are main's."""

    contract: Contract
    params: settings.Params
    gates: Gates
    holdout: pd.DataFrame  # rows that neither model was trained on
    challenger: Model
    champion: Model | None
    rows: Table  # all of the proposed data
    champion_rows: Table | None = None  # the champion's, where it is other data
    same_data: bool = True
    removed: frozenset[str] = frozenset()  # columns of main's contract
    served: Served = field(default_factory=Served)
    judgement: Judgement = field(default_factory=Judgement)

    @property
    def rules(self) -> Rules:
        """The rules that are not of one metric."""
        return self.gates.rules

    @property
    def split(self) -> settings.Prepare:
        """How main splits the rows."""
        return settings.prepare(self.params)

    @property
    def y(self) -> Array:
        """The target of the holdout, as the metrics take it."""
        return data.truth(self.holdout, self.contract)

    @cached_property
    def groups(self) -> Codes | None:
        """The number of each row's entity, or None where rows are independent."""
        name = self.contract.entity
        return np.asarray(pd.factorize(self.holdout[name])[0]) if name else None

    @property
    def task(self) -> Task:
        """What the judge asks of this task."""
        return TASKS[self.contract.task]

    def each(self, function: Callable[[Model], T]) -> dict[str, T]:
        """Return what a function says of each model, by the model's name."""
        return {name: function(model) for name, model in self.models.items()}

    def sample(self, count: int, seed: int) -> Array:
        """Return the indices of so many random rows of the holdout, in order."""
        random, rows = np.random.default_rng(seed), len(self.holdout)
        return np.sort(random.choice(rows, min(count, rows), replace=False))

    @property
    def models(self) -> dict[str, Model]:
        """The models by name, the champion first where there is one."""
        models = {"champion": self.champion, "challenger": self.challenger}
        return {name: model for name, model in models.items() if model is not None}


def task_name(task: object, classes: Sequence[str]) -> str:
    """Return what a contract or a model is for, in words."""
    return f"the task {task}" + (f" of {', '.join(classes)}" if classes else "")


def read_model(folder: Path) -> Model | None:
    """Return the model in a folder, if there is one."""
    file = folder / "manifest.json"
    return Model(folder, json.loads(file.read_bytes())) if file.is_file() else None


def new_to(
    champion: Model,
    table: Table,
    contract: Contract,
    split: str,
    size: int | None = None,
) -> NDArray[np.bool_] | None:
    """Return which rows the champion was not trained on, [n]; None if nobody knows.

    Where its training table is here, those whose id, and whose entity where main splits
    by it, is not in it; else, by time, those newer than all that it was trained on.
    """
    if (file := champion.folder / TRAINED).is_file():
        trained: pd.DataFrame | large.File
        trained = large.File(file, size) if size else pd.read_parquet(file)
        if contract.id not in list(trained.columns):
            return None
        seen = _shared(table, trained, contract.id)
        if split == "group" and contract.entity in list(trained.columns):
            seen = seen | _shared(table, trained, contract.entity)
        return ~seen
    until = champion.data.get("train_until")
    if not (contract.time and until):
        return None
    return np.asarray(table[contract.time] > pd.Timestamp(until))


def _shared(table: Table, other: Table, name: str) -> NDArray[np.bool_]:
    """Return whose value in a column another table has, [n], whatever its type.

    Of a large table 64 bits of each are held.
    """

    def texts(rows: pd.DataFrame) -> pd.Series:
        return rows[name].astype(object).map(sides.text).astype(object)

    def seen(rows: pd.DataFrame) -> NDArray[np.bool_]:
        return np.isin(hashes(texts(rows)), known)

    if isinstance(other, pd.DataFrame):
        values = set(texts(other))
        return large.by_row(table, lambda rows: texts(rows).isin(values), [name])
    known = large.by_row(other, lambda rows: hashes(texts(rows)), [name])
    return large.by_row(table, seen, [name])


def score(model: Model, rows: pd.DataFrame, contract: Contract) -> None:
    """Fill in the model's predictions for the rows, its golden rows and its latency.

    Raises:
        Refused: the file cannot be scored, or a prediction is invalid.
    """
    golden = model.manifest["golden"]
    golden_rows = pd.DataFrame([entry["row"] for entry in golden], dtype=object)
    clock = model.folder / "clock.npy"
    tables = [inputs(model, table, contract) for table in (rows, golden_rows)]
    predictions = predict(model, tables, contract, clock)
    model.predictions = predictions[: len(rows)]
    serve = serving.TASKS[contract.task].predictions
    repeated = serve(predictions[len(rows) :], model.manifest)
    model.golden = distance(golden, repeated)
    model.latency = np.load(clock, allow_pickle=False)


def inputs(model: Model, table: pd.DataFrame, contract: Contract) -> Inputs:
    """Return a table's rows as the model reads them.

    Raises:
        Refused: the contract does not have the columns that the model needs.
    """
    try:
        return data.inputs(table, contract, model.columns)
    except (ContractError, KeyError, TypeError, ValueError) as error:
        reason = f"main's contract does not give what the model needs: {error}"
        raise Refused("model_columns", reason) from error


def predict(
    model: Model,
    tables: list[Inputs],
    contract: Contract,
    *clock: Path,
    changes: Sequence[columns.Change] = (),
) -> Array:
    """Return the predictions, float64, for the rows of all tables, from one child.

    With changes, only the rows of each change are predicted, in order.

    Raises:
        Refused: the file cannot be scored, or a prediction is invalid.
    """
    whole = {n: np.concatenate([table[n] for table in tables]) for n in model.columns}
    rows, result = model.folder / "inputs.npz", model.folder / "scores.npy"
    columns.write(rows, whole, changes)
    file = model.folder / model.manifest["model"]["file"]
    output, k = task.TASKS[contract.task].output, len(contract.classes)
    arguments = (file, rows, result, output, str(max(k, 1)), *clock)
    sandbox.run("model_file", "mlgitops.judge.score", *arguments)
    predictions = np.load(result, allow_pickle=False)
    count = sum(len(change.rows) for change in changes)
    count = count or sum(len(table[model.columns[0]]) for table in tables)
    shape = (count, *([k] if k else []))
    if predictions.shape != shape or predictions.dtype != np.float64:
        raise Refused("predictions", f"the model does not give one {output} a row")
    rules = TASKS[contract.task]
    if invalid := int((~rules.valid(predictions)).sum()):
        raise Refused(
            "predictions",
            rules.invalid,
            value=invalid,
            operator="<=",
            limit=0,
            unit="rows",
        )
    return np.asarray(predictions)
