"""Fits boosting on a table that memory does not hold: `train.batch`; pure.

XGBoost takes the rows a batch at a time and keeps what it made of them on disk: for
each value one of 256 bins, cut by the same sketch as of all rows at once. Chen and
Guestrin (2016), KDD, section 4.2. One thread adds up the rows in their order, so that
the batches change nothing: the model has the bytes of a fit on all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops.pipeline import conversion, convertible, fitting, monotonic, weights
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs, truth
from mlgitops.pipeline.learning import Learned
from mlgitops.pipeline.settings import FILE, Train
from mlgitops.pipeline.task import TASKS
from mlgitops.pipeline.training_rows import Batches, Survey

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

KEY = FILE.key("train").key("batch")
TAKES = "XGBClassifier", "XGBRegressor"
ADVICE = (
    "take XGBClassifier or XGBRegressor (the group xgboost of pyproject.toml), or "
    "remove the line"
)
ARGUMENTS = {  # of XGBoost, with the values by which it can
    "tree_method": (None, "auto", "hist"),
    "device": (None, "cpu"),
    **dict.fromkeys(("early_stopping_rounds", "feature_types", "feature_weights")),
}
ENCODERS = "OneHotEncoder", "OrdinalEncoder"  # learn nothing but their categories
COUNTED = "min_frequency", "max_categories"  # by which those depend on all rows
CACHE = "train.cache"  # the folder beside the model file, while it is fitted
STOPPED = "it was stopped before it had read all training rows: run it again"


class Part(NamedTuple):
    """Features, targets and weights of a batch of rows."""

    X: np.ndarray
    y: np.ndarray
    weights: weights.Weights | None


def learn(
    rows: Batches, seen: Survey, contract: Contract, recipe: Train, folder: Path
) -> Learned:
    """Return what the training rows give, in their order; `folder` holds the cache.

    Raises:
        ContractError: it cannot be fitted.
    """
    pipeline = fitting.build(contract, recipe)
    few = fitting.table(inputs(seen.sample, contract, recipe.columns))
    columns = pipeline[:-2].transform(few) if len(pipeline) > 2 else few
    try:
        pipeline[-2].fit_on(columns)  # which learns nothing of them
        monotonic.constrain(pipeline, contract, recipe)
        parts = _Parts(rows, seen.classes, pipeline, contract, recipe)
        _boost(pipeline[-1], parts, contract, folder / CACHE)
        TASKS[contract.task].fitted(pipeline, few.iloc[:1])
    except ValueError as error:
        reason = convertible.reason(error, pipeline[-1], contract, recipe.columns)
        raise FILE.error(f"the model cannot be fitted: {reason}") from error
    return Learned(pipeline, recipe, {})


def clear(folder: Path) -> None:
    """Remove the cache of a fit that was killed."""
    rmtree(folder / CACHE, ignore_errors=True)


def refuse(contract: Contract, recipe: Train) -> None:
    """Refuse a recipe or a contract that needs all rows at once.

    Raises:
        SettingsError: by the name of the estimator, argument, step or column.
    """
    pipeline = fitting.build(contract, recipe)
    model = pipeline[-1]
    name, package = type(model).__name__, type(model).__module__.split(".")[0]
    if package != "xgboost" or name not in TAKES:
        raise KEY.error(
            f"is set, and {name}, which train.estimator names, takes all rows at once: "
            f"{ADVICE}"
        )
    for argument, value in model.get_params().items():
        allowed = ARGUMENTS.get(argument, (value,)) or (None,)
        if value not in allowed or (argument == "objective" and callable(value)):
            raise KEY.error(
                f"is set, and {argument} of {name} ({value}) needs all rows at once: "
                "remove one of them"
            )
    for step, transformer in _learning(pipeline[-2].features):
        raise KEY.error(
            f"is set, and {transformer}, the step '{step}' in model/features.py, "
            "learns from all rows: take features that learn nothing, as for_trees does"
        )
    for column in contract.kind("text", list(contract.columns)):
        raise KEY.error(
            f"is set, and {column} of contract.yaml is a text, whose words are counted "
            "in all rows: remove the line, or make it another column in "
            "model/prepare.py"
        )


def _learning(step: Any, name: str = "features") -> Iterator[tuple[str, str]]:
    """Yield the name and type of each transformer that learns from rows."""
    from sklearn.utils import get_tags

    if isinstance(step, str):  # passthrough or drop
        return
    inner = getattr(step, "transformers", None) or getattr(step, "steps", None)
    if inner is not None:
        rest = ("remainder", getattr(step, "remainder", "drop"))
        for part in [*inner, rest]:
            if len(part) == 2 or part[2] != []:
                yield from _learning(part[1], part[0])
        return
    kind = type(step).__name__
    if kind in ENCODERS and not isinstance(step.categories, str):
        if all(getattr(step, argument) is None for argument in COUNTED):
            return
    if kind != "Datetimes" and get_tags(step).requires_fit:
        yield name, kind


class _Parts:
    """Batches as XGBoost takes them; each call reads them again."""

    def __init__(
        self,
        rows: Batches,
        classes: weights.Weights,
        pipeline: Pipeline,
        contract: Contract,
        recipe: Train,
    ) -> None:
        """`classes` has how many rows of each class there are."""
        self.rows, self.classes, self.pipeline = rows, classes, pipeline
        self.contract, self.recipe = contract, recipe
        weighed = [n for n in [recipe.weights] if n in contract.columns]
        self.columns = [*recipe.columns, contract.target, *weighed]
        self.missing: dict[str, bool] = {}  # by feature: whether in all rows so far

    def __call__(self) -> Iterator[Part]:
        """Yield the batches in their order.

        Raises:
            ContractError: a column is missing in all of them.
        """
        for frame in self.rows.read(self.columns):
            X = fitting.table(inputs(frame, self.contract, self.recipe.columns))
            if len(self.pipeline) > 2:
                X = self.pipeline[:-2].transform(X)
            for name in X:
                self.missing[name] = self.missing.get(name, True) and bool(
                    X[name].isna().all()
                )
            yield Part(
                np.asarray(self.pipeline[-2].transform(X), np.float32),  # as it is
                truth(frame, self.contract),
                weights.of_part(frame, self.contract, self.recipe, self.classes),
            )
        conversion.refuse_missing(self.missing, self.rows.count)


def _boost(model: Any, parts: _Parts, contract: Contract, cache: Path) -> None:
    """Fit an unfitted XGBClassifier or XGBRegressor on one thread.

    Raises:
        InterruptedError: somebody stopped it while rows were read.
    """
    import xgboost

    params = {**model.get_xgb_params(), "n_jobs": 1}
    params.pop("eval_metric", None)  # there are no rows to evaluate on
    if len(contract.classes) > 2:
        params["num_class"] = len(contract.classes)
        if params.get("objective") != "multi:softmax":
            params["objective"] = "multi:softprob"
    rounds = model.get_num_boosting_rounds()
    with _folder(cache):
        matrix = xgboost.ExtMemQuantileDMatrix(
            _pages(parts, str(cache / "bins")),
            missing=model.missing,
            nthread=1,
            max_bin=params.get("max_bin"),
        )
        booster = xgboost.train(params, matrix, rounds, callbacks=model.callbacks)
        del matrix  # it removes its files by itself
    model.load_model(booster.save_raw("ubj"))


def _pages(parts: Callable[[], Iterator[Part]], prefix: str) -> Any:
    """Return the batches as XGBoost's own iterator, with the prefix of its files."""
    import xgboost

    class Pages(xgboost.DataIter):  # type: ignore[misc]  # no types
        """Hands on one batch after the other."""

        def __init__(self) -> None:
            super().__init__(cache_prefix=prefix)
            self.parts: Iterator[Part] = iter(())

        def reset(self) -> None:
            """Begin again."""
            self.parts = parts()

        def next(self, input_data: Callable[..., None]) -> bool:
            """Hand on the next batch; say whether there was one."""
            try:
                part = next(self.parts, None)
                if part is not None:
                    input_data(data=part.X, label=part.y, weight=part.weights)
            except KeyboardInterrupt as error:  # XGBoost heeds an Exception only
                raise InterruptedError(STOPPED) from error
            return part is not None

    return Pages()


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make an empty folder, which is gone afterwards; a killed fit's goes first."""
    rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield
    finally:
        rmtree(path, ignore_errors=True)
