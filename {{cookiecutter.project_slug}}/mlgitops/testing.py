"""What the tests of a repository build on: its files, made-up rows, a copy to run.

    from mlgitops.testing import Project

A `Project` reads contract.yaml, params.yaml and dvc.yaml of the folder that it is given
and calls what is in `model/` as the stages do. It writes nothing but copies.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgitops.pipeline import data, fitting, folds, parity, settings
from mlgitops.pipeline.contract import Column, Contract
from mlgitops.pipeline.schema import mapping
from mlgitops.pipeline.settings import Prepare, Train
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*")
DVC_CONFIG = "[core]\n    no_scm = True\n    analytics = false\n"
WORDS = (  # of made-up texts: in each other, so that rows share them
    "the order came late again Straße café naïve 漢字 🚀 don't ÉCOLE refund twice."
).split()
ANY: dict[str, Any] = {  # what any estimator of a task can be fitted with
    "weights": None,
    "mitigation": None,
    "monotonic": {},
    "early_stopping": None,
}
WIDE = 1_000.0  # the width of a made-up range where the contract gives one end, or none


class StageError(Exception):
    """A stage of dvc.yaml failed: what it printed."""


@dataclass(frozen=True)
class Project:
    """A repository as its tests see it."""

    root: Path = field(default_factory=Path.cwd)

    @cached_property
    def contract(self) -> Contract:
        """What contract.yaml says; ContractError where it is wrong."""
        return Contract.parse(self._yaml("contract.yaml"))

    @cached_property
    def params(self) -> dict[str, Any]:
        """What params.yaml says, as it stands."""
        return self._yaml("params.yaml")

    @cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The stages of dvc.yaml by name."""
        return dict(self._yaml("dvc.yaml")["stages"])

    @property
    def source(self) -> Path:
        """The table of labelled rows that the stage `prepare` reads."""
        arguments = shlex.split(self.stages["prepare"]["cmd"])
        return self.root / arguments[arguments.index("prepare") + 1]

    @property
    def estimators(self) -> list[str]:
        """The names in model/estimator.py for the contract's task."""
        from model import estimator

        classifier = TASKS[self.contract.task].kind == "classifier"
        return list(estimator.CLASSIFIERS if classifier else estimator.REGRESSORS)

    @property
    def prepare(self) -> Prepare:
        """The section of the stage `prepare`; SettingsError where it is wrong."""
        return settings.prepare(self.params)

    @property
    def train(self) -> Train:
        """The section of the stage `train`; SettingsError where it is wrong."""
        return settings.train(self.params, self.contract.task)

    def labelled_rows(self) -> pd.DataFrame:
        """Return the labelled rows as the stage `prepare` leaves them, checked."""
        import pandas as pd

        from model.prepare import prepare

        return data.check(prepare(pd.read_parquet(self.source)), self.contract)

    def made_up_rows(self, count: int = 2000, days: int = 120) -> pd.DataFrame:
        """Return rows that the contract allows, with a target that can be learnt.

        A tenth is missing where the contract lets values be missing. The same count
        and days give the same rows.
        """
        import pandas as pd

        rng, contract = np.random.default_rng(7), self.contract
        seconds = np.sort(rng.integers(0, days * 86_400, count))
        start = pd.Timestamp("2020-01-01", tz="UTC").as_unit("us")
        table: dict[str, Any] = {
            contract.id: [f"row-{number:06}" for number in range(count)],
        }
        if contract.time:
            elapsed = pd.to_timedelta(seconds, unit="s").as_unit("us")
            table[contract.time] = start + elapsed
        for name in contract.labelled_only:
            table[name] = [f"group-{number}" for number in rng.integers(0, 99, count)]
        if contract.part in contract.labelled_only:
            parts = [*self.prepare.holdout, "train"]
            table[contract.part] = rng.choice(np.array(parts, dtype=object), count)
        signal = np.zeros(count)
        for name, column in contract.columns.items():
            share = rng.random(count)  # from the lowest to the highest value
            absent = (rng.random(count) < 0.1) & column.missing
            table[name] = _values(column, share, absent)
            signal += share
        noisy = signal + rng.normal(0, 0.3 * signal.std() + 1e-9, count)
        table[contract.target] = _target(contract, noisy)
        return data.check(pd.DataFrame(table), contract)

    def sample(self, rows: pd.DataFrame, size: int = 2000) -> pd.DataFrame:
        """Return about `size` rows of each part, evenly over time and classes."""
        import pandas as pd

        chosen = []
        for part in data.split(rows, self.contract, self.prepare):
            classes = part[self.contract.target]
            if self.contract.task == "regression":
                classes = pd.Series(0, part.index)
            for _, members in part.groupby(classes, sort=True):
                count = max(20, round(size * len(members) / len(part)))
                evenly = np.linspace(0, len(members) - 1, min(count, len(members)))
                chosen.append(members.iloc[evenly.round().astype(int)])
        order = self.contract.time or self.contract.id
        return pd.concat(chosen).sort_values(order, ignore_index=True)

    def inputs(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that the model takes, as features and estimator get them.

        Missing numbers are NaN, missing categories the empty string.
        """
        return fitting.table(self._arrays(rows))

    def awkward(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the inputs, each row with one value missing or of a new category."""
        return fitting.table(parity.awkward(self._arrays(rows), self.contract))

    def features(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return what `features` of model/features.py makes of checked rows.

        It is computed as in training and in production, by the exported graph.
        """
        from mlgitops.pipeline import tracing

        derived = tracing.load(self.contract, self.train.columns)
        inputs = self.inputs(rows)
        return inputs if derived is None else derived.transform(inputs)

    def fit(self, rows: pd.DataFrame, estimator: str) -> Pipeline:
        """Return features and estimator, fitted on one thread as in the stage `train`.

        `fitted[:-1]` are the features, `fitted[-1]` is the estimator. One that
        params.yaml does not name is fitted without the settings of `train` that not
        every estimator takes: weights, mitigation, constraints and a stop.
        """
        from threadpoolctl import threadpool_limits

        recipe = self.train
        if estimator != recipe.estimator:
            recipe = replace(recipe, estimator=estimator, **ANY)
        rows = rows.copy(deep=False)
        if "prepare" in self.params:
            rows.attrs[folds.SPLIT] = self.prepare.split
        with threadpool_limits(1):
            return fitting.fit(rows, self.contract, recipe)

    def predict(self, fitted: Pipeline, inputs: pd.DataFrame) -> np.ndarray:
        """Return P(1) [n], P of each class [n, k], or the value [n], by the task."""
        return TASKS[self.contract.task].fitted(fitted, inputs)

    def export(self, fitted: Pipeline) -> bytes:
        """Return the ONNX file of a fitted pipeline."""
        return fitting.export(fitted, self.contract, self.train.columns)

    def difference(self, fitted: Pipeline, onnx: bytes, rows: pd.DataFrame) -> float:
        """Return how far the file's predictions are from the fitted pipeline's.

        On these rows, and on the awkward ones made of them.
        """
        proof = parity.parity(fitted, onnx, self._arrays(rows), self.contract)
        return float(proof["max_difference"])

    def build(self, rows: pd.DataFrame, folder: Path) -> dict[str, bytes]:
        """Run `dvc repro` in a copy of the repository; return the files of build/.

        Raises:
            StageError: a stage failed.
        """
        self._copy(folder)
        programs = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            "PATH": programs + os.pathsep + os.environ.get("PATH", ""),
            "PYTHONPATH": str(Path(__file__).parent.parent),  # this machinery
            "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        }
        source = folder / self.source.relative_to(self.root)
        source.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(source, index=False)
        (folder / ".dvc").mkdir()
        (folder / ".dvc" / "config").write_text(DVC_CONFIG)
        run = subprocess.run(
            (sys.executable, "-m", "dvc", "repro", "--no-run-cache"),
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if run.returncode:
            raise StageError(f"dvc repro failed:\n{run.stdout}")
        outs = sorted((folder / "build").iterdir())
        return {file.name: file.read_bytes() for file in outs}

    def _arrays(self, rows: pd.DataFrame) -> fitting.Inputs:
        """Return the inputs as the exported file takes them."""
        return data.inputs(rows, self.contract, self.train.columns)

    def _yaml(self, name: str) -> dict[str, Any]:
        """Return the entries of a YAML file."""
        return mapping((self.root / name).read_bytes(), name)

    def _copy(self, folder: Path) -> None:
        """Copy every file and folder that a stage reads and no stage writes."""
        stages = self.stages.values()
        deps = {str(path) for stage in stages for path in stage.get("deps", ())}
        for name in {"model", "contract.yaml", "params.yaml", "dvc.yaml", *deps}:
            path = self.root / name
            if path.is_dir():
                shutil.copytree(
                    path, folder / name, ignore=NOT_COPIED, dirs_exist_ok=True
                )
            elif path.exists() and path != self.source and "build" not in path.parts:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)


def _values(column: Column, share: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """Return values of a column: `share` says where each lies between its ends."""
    if column.type == "category":
        indices = (share * len(column.categories)).astype(int)
        texts: np.ndarray = np.array(column.categories, dtype=object)[indices]
        texts[absent] = None
        return texts
    if column.type == "text":
        counts = 1 + (share * len(WORDS)).astype(int)
        made = [" ".join(WORDS[:n])[: column.max_length] for n in counts]
        free: np.ndarray = np.array(made, dtype=object)
        free[absent] = None
        return free
    if column.type == "boolean":
        return np.where(absent, np.nan, share >= 0.5)
    if column.type == "datetime":
        micro = (column.min + share * (column.max - column.min)) * 1e6
        times = micro.astype(np.int64).astype("datetime64[us]")
        return np.where(absent, np.datetime64("NaT"), times)
    low, high = column.min, column.max
    if not np.isfinite(low):
        low = high - WIDE if np.isfinite(high) else -WIDE
    if not np.isfinite(high):
        high = low + WIDE
    numbers: np.ndarray = np.clip(
        (low + share * (high - low)).astype("float32"), low, high
    )
    if column.type == "integer":
        numbers = np.round(numbers)
    numbers[absent] = np.nan
    return numbers.astype("float32")


def _target(contract: Contract, signal: np.ndarray) -> np.ndarray:
    """Return a target of the contract's task that follows the signal."""
    if contract.task == "binary":
        return np.asarray(signal > np.median(signal), dtype="int8")
    if contract.task == "multiclass":
        names = np.array(contract.classes, dtype=object)
        edges = np.quantile(signal, np.linspace(0, 1, len(names) + 1)[1:-1])
        return np.asarray(names[np.searchsorted(edges, signal)])
    return 50 + 100 * signal
