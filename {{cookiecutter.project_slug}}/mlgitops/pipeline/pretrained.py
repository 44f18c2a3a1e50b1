"""A pretrained file in training: as the model itself, or as features of an estimator.

The file is read from the repository, and is the one whose sha256 params.yaml names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from mlgitops.pipeline import adaptation
from mlgitops.pipeline.contract import Column, Contract, ContractError
from mlgitops.pipeline.foreign import Foreign, feeds, read
from mlgitops.pipeline.provenance import KEY, Pretrained
from mlgitops.pipeline.settings import Train
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlgitops.pipeline.tracing import Derived

NAME = "pretrained"  # of its feature, or NAME_0, NAME_1, ...
ALONE = 12  # rows that are computed alone and together
NEAR = 1e-4  # how near these are, in float32
SLACK = 1e-3  # of the sum of a row's probabilities, in the file's own float32


class Frozen(BaseEstimator):  # type: ignore[misc]  # it has no types
    """The file as an estimator that learns nothing; `exported` is what is served.

    It predicts with the file as it came, so that what is exported is compared with it.
    """

    def __init__(self, foreign: Foreign, places: list[int], exported: bytes) -> None:
        self.foreign, self.places, self.exported = foreign, places, exported

    def fit(self, X: pd.DataFrame, y: object = None) -> Self:
        """Return the estimator, as nothing is trained."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that there is nothing to fit."""
        return True

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Return P of each class, [n, classes]."""
        table = outputs(self.foreign, _arrays(X))[:, self.places]
        table = np.minimum(table, np.float32(1))  # as `fitting.limit`
        return np.hstack([1 - table, table]) if table.shape[1] == 1 else table

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """Return the values, [n]."""
        return outputs(self.foreign, _arrays(X))[:, 0]


def load(recipe: Train) -> bytes:
    """Return the file that params.yaml names.

    Raises:
        ContractError: it is not there, or another.
    """
    pretrained = section(recipe)
    file = Path(pretrained.file)
    if not file.is_file():
        raise KEY.key("file").error(
            f"is {file}, which is missing: copy it there and commit it (or type make "
            "pull, if DVC tracks it)"
        )
    data = file.read_bytes()
    demand_hash(pretrained, data)
    return data


def files(recipe: Train) -> list[str]:
    """Return the files, beside the table, that a recipe reads."""
    return [recipe.pretrained.file] if recipe.pretrained else []


def demand_hash(pretrained: Pretrained, data: bytes) -> None:
    """Refuse a file that is not the one whose sha256 is given.

    Raises:
        ContractError: with both.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != pretrained.sha256:
        raise KEY.key("sha256").error(
            f"is {pretrained.sha256}, and {pretrained.file} has {found}: restore the "
            "file, or name the new one here, with its licence and its source"
        )


def model(recipe: Train, contract: Contract, data: bytes) -> Frozen:
    """Return the estimator of `train.estimator: pretrained`, of the file's bytes.

    Raises:
        ContractError: the file cannot be this project's model.
    """
    pretrained, columns = section(recipe), recipe.columns
    foreign = read(data, pretrained, contract, columns)
    width = probed(foreign, contract)
    places = adaptation.order(foreign, pretrained, contract, width)
    exported = adaptation.predictor(foreign, pretrained, contract, columns, width)
    return Frozen(foreign, places, exported)


def refuse_features(contract: Contract, columns: Sequence[str]) -> None:
    """Refuse features where the file is the model, and takes columns as they are."""
    from mlgitops.pipeline import tracing

    if tracing.load(contract, columns) is not None:
        raise KEY.error(
            "is the model itself, which takes the columns as they are, and features() "
            "of model/features.py makes others of them: return them unchanged there, "
            "or train an estimator on top of the file"
        )


def features(recipe: Train, contract: Contract) -> Derived:
    """Return what puts the file's outputs in place of the columns that it takes.

    Raises:
        ContractError: the file cannot compute features of these columns.
    """
    from mlgitops.pipeline.tracing import KINDS, TYPES, Derived

    pretrained, columns = section(recipe), list(recipe.columns)
    foreign = read(load(recipe), pretrained, contract, columns)
    width = probed(foreign, contract)
    if width > adaptation.LARGEST_WIDTH:
        raise ContractError(
            f"{pretrained.file} gives {width:,} numbers a row, and at most "
            f"{adaptation.LARGEST_WIDTH:,} can be features"
        )
    taken = () if pretrained.keep else pretrained.columns or tuple(columns)
    kept = {name: name for name in columns if name not in taken}
    made = [NAME] if width == 1 else [f"{NAME}_{number}" for number in range(width)]
    if clash := sorted({*made} & {*contract.columns}):
        raise ContractError(
            f"contract.yaml has a column {clash[0]}, which is what an output of "
            f"{pretrained.file} is called: rename the column"
        )
    types = {n: TYPES[KINDS.get(contract.columns[n].type, "number")] for n in columns}
    graph = adaptation.extractor(foreign, contract, width)
    return Derived(graph, types, kept | dict.fromkeys(made, ""))


def section(recipe: Train) -> Pretrained:
    """Return the section, which `settings.train` has checked."""
    if recipe.pretrained is None:
        raise KEY.error("is missing")
    return recipe.pretrained


def outputs(foreign: Foreign, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return what the file as it came gives for rows, float32 [n, width].

    Raises:
        ContractError: it cannot be run on them, or does not give each row as much.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # an error is raised
    data, inputs = foreign.model.SerializeToString(), feeds(foreign, arrays)
    rows = len(next(iter(inputs.values())))
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
        (values,) = session.run([foreign.output], inputs)
    except Exception as error:  # the runtime's errors have no common class
        problem = " ".join(str(error).split())[:200]
        raise ContractError(
            f"{foreign.file} cannot be run on {rows:,} rows, such as requests may have "
            f"(also new categories): {problem}"
        ) from error
    table = np.asarray(values, np.float32)
    if table.ndim not in (1, 2) or len(table) != rows:
        shape = list(table.shape)
        raise ContractError(
            f"{foreign.file} gives {shape} numbers for {rows} rows, and must give each "
            "row one or some: [n] or [n, numbers]"
        )
    return table.reshape(rows, -1)


def probed(foreign: Foreign, contract: Contract) -> int:
    """Return how many numbers the file gives a row, by asking it with two."""
    arrays = {}
    for source in foreign.sources:
        for name in source.columns:
            value = _example(contract.columns[name])
            kind: Any = object if isinstance(value, str) else np.float64
            arrays[name] = np.array([[value]] * 2, kind)
    return int(outputs(foreign, arrays).shape[1])


def _example(column: Column) -> str | float:
    """Return a value that a column may have."""
    if column.type in ("category", "text"):
        return column.categories[0] if column.categories else "a"
    return float(np.clip(0.0, column.min, column.max))


def _arrays(X: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return a table as arrays [n, 1] by column."""
    return {name: X[name].to_numpy()[:, None] for name in X}


def _check_predictions(
    predictions: np.ndarray, X: pd.DataFrame, contract: Contract, file: str
) -> None:
    """Refuse predictions that are no numbers, or no probabilities.

    Raises:
        ContractError: with the first row, and what the file should give.
    """
    table = predictions.reshape(len(X), -1)
    invalid = ~np.isfinite(table).all(axis=1)
    if invalid.any():
        row = X.iloc[int(invalid.argmax())]
        blank = [f'"{name}"' for name, v in row.items() if v != v or v == ""]
        where = f" where {' and '.join(blank)} is missing" if blank else ""
        raise ContractError(
            f"{file} predicts no number{where}: say missing: false of the columns that "
            "it needs, in contract.yaml"
        )
    if TASKS[contract.task].kind == "regressor":
        return
    low, high = float(table.min()), float(table.max())
    sums = table.sum(axis=1)
    wrong = len(contract.classes) and float(np.abs(sums - 1).max()) > SLACK
    if low < 0 or high > 1 or wrong:
        problem = "which do not add up to 1" if 0 <= low <= high <= 1 else ""
        raise ContractError(
            f"{file} gives numbers from {low:g} to {high:g}, "
            f"{problem or 'which are no probabilities'}: export it with its softmax or "
            "sigmoid, or name another output in train.pretrained.output"
        )


def demand_sound(
    pipeline: Pipeline, X: pd.DataFrame, blank: pd.DataFrame, contract: Contract
) -> None:
    """Refuse a file whose outputs for these rows cannot be trained on, or served.

    `blank` are rows with an optional column missing each.

    Raises:
        ContractError: an output depends on other rows, or is no prediction.
    """
    first = pipeline[0]
    if isinstance(first, Frozen):
        task, file = TASKS[contract.task], first.foreign.file
        for rows in (X, blank):
            predictions = np.asarray(task.fitted(pipeline, rows))
            _check_predictions(predictions, rows, contract, file)
        _check_alone(lambda rows: task.fitted(pipeline, rows), X, file)
    else:
        _check_alone(first.transform, X, "the pretrained file")


def _check_alone(
    compute: Callable[[pd.DataFrame], Any], X: pd.DataFrame, file: str
) -> None:
    """Refuse a file that gives a row another output alone than among others.

    As one does that takes the mean over words, and pads each text to the longest.
    """
    chosen = X.iloc[np.linspace(0, len(X) - 1, ALONE).astype(int)]
    together = _numbers(compute(chosen))
    for index in range(len(chosen)):
        alone = _numbers(compute(chosen.iloc[[index]]))[0]
        gap = np.abs(alone - together[index])
        if not np.all((gap <= NEAR * np.maximum(1, np.abs(alone))) | np.isnan(alone)):
            raise ContractError(
                f"{file} gives a row other numbers alone than among {ALONE}: by up to "
                f"{np.nanmax(gap):.3g}; in production rows come alone, so export it so "
                "that no row depends on others, or on their padding"
            )


def _numbers(outputs: Any) -> np.ndarray:
    """Return the numbers among predictions or features, [n, width]."""
    table = outputs.select_dtypes("number") if hasattr(outputs, "columns") else outputs
    array = np.asarray(table, np.float64)
    return array.reshape(len(array), -1)
