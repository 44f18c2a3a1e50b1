"""`train.batch`: boosting on a table of which one batch is held at a time.

The stage `train` runs with and without it, in a folder of its own. What needs XGBoost
is skipped where it is not installed; the template's own test installs it by a lock.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from machinery.orders import COLUMNS, INPUTS, WORTH, Choose, choosing, table
from mlgitops.pipeline import (
    out_of_core,
    row_groups,
    settings,
    train,
    training_rows,
)
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.schema import ContractError, SettingsError
from model import estimator as choices
from model.features import for_linear, for_trees

installed = pytest.mark.skipif(
    not find_spec("xgboost"), reason="xgboost is not installed"
)
ROOT = Path.cwd()
BATCH = 700  # neither a row group nor a part of one
RATIO = """
def features(columns):
    return {**columns, "inverse": 1 / columns["twin"]}
"""
CLASSES = {"binary": [], "multiclass": ["low", "mid", "high"], "regression": []}


def boosting(kind: str = "Classifier", **arguments: Any) -> Any:
    """Return an unfitted estimator of XGBoost."""
    of = getattr(import_module("xgboost"), f"XGB{kind}")
    return of(**{"n_estimators": 8, "max_depth": 3, "n_jobs": 1, **arguments})


class Stage:
    """The stage `train` in a folder of its own, on rows in row groups of 1,000."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch, self.count = folder, monkeypatch, 0
        self.source = folder / "train.parquet"
        (folder / "requirements").mkdir()
        (folder / "requirements/pipeline.txt").write_text("")
        shutil.copytree(ROOT / "model", folder / "model")
        monkeypatch.chdir(folder)

    def write(self, frame: pd.DataFrame, rows: int = 1000) -> None:
        """Write the training rows as `prepare` does."""
        frame.attrs = {**frame.attrs, "source_sha256": "0" * 64}
        frame.to_parquet(self.source, index=False, row_group_size=rows)

    def describe(self, model: Any, task: str, features: Any, **more: Any) -> None:
        """Write the settings and the contract; `added` are more columns."""
        kind = "REGRESSORS" if task == "regression" else "CLASSIFIERS"
        self.patch.setattr(choices, kind, {"mine": (features, model)})
        added, inputs = more.pop("added", {}), more.pop("inputs", INPUTS)
        section = {"seed": 7, "estimator": "mine", "parity": 1e-5, "columns": inputs}
        section |= {"threshold": 0.5} if task == "binary" else {}
        params = {"train": section | more, "business": WORTH}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        document = {"name": "orders", "task": task, "columns": {**COLUMNS, **added}}
        document |= {"target": "y", "id": "row", "time": "at"}
        document |= {"classes": CLASSES[task]} if CLASSES[task] else {}
        Path("contract.yaml").write_text(yaml.safe_dump(document))

    def run(
        self,
        model: Any,
        task: str = "binary",
        features: Any = for_trees,
        **more: Any,
    ) -> tuple[bytes, dict[str, Any]]:
        """Run the stage; return the model file and the manifest."""
        self.describe(model, task, features, **more)
        self.count += 1
        folder = self.folder / f"build{self.count}"
        folder.mkdir()
        onnx, out = folder / "model.onnx", folder / "manifest.json"
        train.train(self.source, onnx, out)
        assert sorted(folder.iterdir()) == [out, onnx]
        version = json.loads(out.read_text())
        version["params"].pop("batch", None)
        return onnx.read_bytes(), version


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


@installed
@pytest.mark.parametrize(
    ("kind", "task", "arguments", "more"),
    [
        (
            "Classifier",
            "binary",
            {"subsample": 0.7, "colsample_bytree": 0.7},
            {"weights": "share", "monotonic": {"size": "increasing"}},
        ),
        ("Classifier", "multiclass", {"max_bin": 64}, {"weights": "balanced"}),
        ("Regressor", "regression", {"objective": "reg:absoluteerror"}, {}),
        (
            "Classifier",
            "binary",
            {"grow_policy": "lossguide", "max_leaves": 6, "gamma": 0.1},
            {},
        ),
    ],
)
def test_batches_give_the_bytes_of_all_rows(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    task: str,
    arguments: dict[str, Any],
    more: dict[str, Any],
) -> None:
    """Of the model, and the rest of the manifest: golden rows, parity, hashes, window.

    With a computed feature, and a column that is missing in all of the first batch.
    """
    monkeypatch.setattr(training_rows, "PARITY_ROWS", 130)  # each 23rd row
    made_of: dict[str, Any] = {}
    exec(RATIO, made_of)  # a file of its own, which asks for nothing
    monkeypatch.setattr("model.features.features", made_of["features"])
    frame = table(task, 3000).assign(share=lambda f: np.arange(len(f)) % 5 + 0.5)
    if more.get("weights") != "share":
        frame.loc[: BATCH + 50, "share"] = np.nan
        more = {**more, "inputs": [*INPUTS, "share"]}
    stage.write(frame.astype({"share": "float32"}))
    made = boosting(kind, **arguments)
    whole, of_whole = stage.run(made, task, **more)
    assert b"TreeEnsemble" in whole
    for batch in (BATCH, 10**6):
        found, version = stage.run(made, task, batch=batch, **more)
        assert version == of_whole
        assert found == whole


@installed
def test_the_order_of_row_groups_counts(stage: Stage) -> None:
    """The same rows the other way round: other sums, so other bytes, and same twice."""
    frame, seen = table(count=20_000), []
    parts = [frame.iloc[start : start + 2000] for start in range(0, len(frame), 2000)]
    for order in (parts, parts, parts[::-1]):
        stage.write(pd.concat(order, ignore_index=True), rows=2000)
        seen.append(stage.run(boosting(), batch=2000))
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0], "the control"
    assert seen[0][1]["data"] != seen[2][1]["data"]


@installed
def test_no_more_than_a_batch_is_held(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are counted; the memory of all that is read and fitted is a batch's."""
    monkeypatch.setattr(training_rows, "PARITY_ROWS", 100)
    held: list[int] = []
    read = training_rows.Batches.read

    def counted(self: Any, columns: Any = None) -> Iterator[pd.DataFrame]:
        for part in read(self, columns):
            held.append(len(part))
            yield part

    monkeypatch.setattr(training_rows.Batches, "read", counted)
    few, peaks = table(count=10_000), {}
    stage.describe(boosting(n_estimators=1), "binary", for_trees)
    contract = Contract.read(Path("contract.yaml").read_bytes())
    recipe = settings.train(settings.load(Path("params.yaml").read_bytes()), "binary")
    for times in (1, 4):
        stage.write(pd.concat([few] * times, ignore_index=True))
        for batch in (None, 2000):
            batched = replace(recipe, batch=batch)
            gc.collect()
            tracemalloc.start()
            train._learn(stage.source, contract, batched, stage.folder)
            peaks[times, batch] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert max(held) == 2000 and sum(held) >= 2 * 50_000
    assert peaks[4, 2000] < 1.1 * peaks[1, 2000]
    assert peaks[4, None] > 2 * peaks[1, None], "the control"


def test_a_file_is_not_kept_in_memory_as_it_is_read(tmp_path: Path) -> None:
    """pyarrow alone keeps the bytes of every row group up to the last."""
    numbers = np.random.default_rng(0).normal(size=(200_000, 2))
    path = tmp_path / "train.parquet"
    frame = pd.DataFrame(numbers, columns=["a", "b"])
    frame.to_parquet(path, row_group_size=5_000)
    pool, kept = pa.default_memory_pool(), {}
    start = pool.bytes_allocated()
    readers = (
        (lambda n: training_rows.Batches(path, n).read()),
        (lambda n: row_groups.Rows(path, n).batches()),
    )
    for size, (place, reader) in product((4_000, 5_000, 12_000), enumerate(readers)):
        seen, parts = [], []
        for part in reader(size):
            parts.append(len(part))
            seen.append(pool.bytes_allocated() - start)
        assert max(parts) <= size and sum(parts) == len(frame)
        kept[size, place] = max(seen)
    file = parquet.ParquetFile(path)
    alone = max(pool.bytes_allocated() - start for _ in file.iter_batches(5_000))
    assert max(kept.values()) < 1_000_000 < 2_000_000 < alone


@installed
def test_a_killed_fit_leaves_no_model(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cache stays, is no model, and goes with the next fit, which is the same."""
    stage.write(table(count=3000))
    whole, _ = stage.run(boosting(), batch=BATCH)
    build = stage.folder / "build"
    build.mkdir()
    words = stage.source, build / "model.onnx", build / "manifest.json"
    child = os.fork()
    if not child:
        signal.alarm(300)  # a fork of threads that OpenMP has would wait for ever
        own = import_module("xgboost").train

        def killed(*args: Any, **more: Any) -> Any:
            own(args[0], args[1], 1)
            os.kill(os.getpid(), signal.SIGKILL)

        try:
            monkeypatch.setattr("xgboost.train", killed)
            train.train(*words)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [path.name for path in build.iterdir()] == [out_of_core.CACHE]
    assert any((build / out_of_core.CACHE).iterdir())
    train.train(*words)
    assert words[1].read_bytes() == whole
    assert len(list(build.iterdir())) == 2
    (build / out_of_core.CACHE).mkdir()
    stage.describe(boosting(), "binary", for_trees)  # also one of all rows at once
    train.train(*words)
    assert words[1].read_bytes() == whole
    assert len(list(build.iterdir())) == 2


@installed
def test_who_interrupts_a_fit_is_told_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XGBoost drops an interrupt, then misses rows, and params.yaml was blamed."""
    stage.write(table(count=2000))
    read = training_rows.Batches.read

    def stopped(self: Any, columns: Any = None) -> Iterator[pd.DataFrame]:
        for number, part in enumerate(read(self, columns)):
            if columns and number:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(training_rows.Batches, "read", stopped)
    with pytest.raises(InterruptedError, match="stopped before .*: run it again"):
        stage.run(boosting(), batch=BATCH)
    assert not list((stage.folder / f"build{stage.count}").iterdir())


def scaled(contract: Any, columns: Any) -> Any:
    """Return features of which one learns the mean of all rows."""
    transformers = for_trees(contract, columns)
    transformers.transformers[1] = ("numbers", StandardScaler(), ["size", "twin"])
    return transformers


def counted(contract: Any, columns: Any) -> Any:
    """Return features of which one learns which categories there are."""
    transformers = for_trees(contract, columns)
    transformers.transformers[0] = ("categories", OneHotEncoder(), ["color"])
    return transformers


def scaled_rest(contract: Any, columns: Any) -> Any:
    """Return features that scale the columns which no step names."""
    transformers = for_trees(contract, columns)
    del transformers.transformers[1]
    return transformers.set_params(remainder=StandardScaler())


@installed
@pytest.mark.parametrize(
    ("arguments", "features", "more", "words"),
    [
        ({}, scaled, {}, "StandardScaler, the step 'numbers'"),
        ({}, counted, {}, "OneHotEncoder, the step 'categories'"),
        ({}, scaled_rest, {}, "StandardScaler, the step 'remainder'"),
        ({}, for_linear, {}, "SimpleImputer"),
        ({"tree_method": "exact"}, for_trees, {}, "tree_method"),
        ({"early_stopping_rounds": 3}, for_trees, {}, "early_stopping_rounds"),
        ({"objective": lambda y, p: (p, p)}, for_trees, {}, "objective"),
        (
            {},
            for_trees,
            {"added": {"note": {"type": "text", "max_length": 9, "missing": True}}},
            "note of contract.yaml is a text",
        ),
    ],
)
def test_what_needs_all_rows_is_refused(
    stage: Stage,
    arguments: dict[str, Any],
    features: Any,
    more: dict[str, Any],
    words: str,
) -> None:
    """By its name, before a row is read: there is no file."""
    with pytest.raises(ContractError, match=words) as refusal:
        stage.run(boosting(**arguments), features=features, batch=BATCH, **more)
    assert "train.batch is set" in str(refusal.value)


def test_another_estimator_is_refused(stage: Stage) -> None:
    for model in (HistGradientBoostingClassifier(), LogisticRegression()):
        with pytest.raises(ContractError, match=f"{type(model).__name__}.*XGBClassif"):
            stage.run(model, batch=BATCH)


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Return what makes an estimator the only choice, and reads its settings."""
    return choosing(monkeypatch)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("calibration", {"calibration": "sigmoid"}),
        ("early_stopping", {"early_stopping": {"share": 0.1, "rounds": 3}}),
        ("intervals", {"intervals": {"coverage": 0.9}}),
        ("mitigation", {"mitigation": {"method": "reweighing", "columns": ["color"]}}),
        ("threshold is best, which", {"threshold": "best"}),
    ],
)
def test_a_setting_that_needs_all_rows_is_refused(
    name: str, more: dict[str, Any], choose: Choose
) -> None:
    """Beside it; alone it is taken."""
    model = HistGradientBoostingClassifier()
    assert choose(model, **more).batch is None
    assert choose(model, batch=BATCH).batch == BATCH
    with pytest.raises(SettingsError, match=f"train.{name}.*train.batch"):
        choose(model, batch=BATCH, **more)
    with pytest.raises(SettingsError, match="train.batch"):
        choose(model, batch=0)


Change = Callable[[pd.DataFrame], pd.DataFrame]


@installed
@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (
            lambda f: f.assign(share=f["share"].mask(f.index % 1000 == 999)),
            {"weights": "share"},
            "missing in 2 of 2,000 rows, the first is r0-999",
        ),
        (lambda f: f.assign(share=0.0), {"weights": "share"}, "0 in all 2,000 rows"),
        (
            lambda f: f.assign(size=np.nan),
            {},
            '"size" is missing in all 2,000 rows',
        ),
        (lambda f: f.assign(y=0), {}, 'no row of "y" 1'),
        (lambda f: f.iloc[:0], {}, "no rows"),
    ],
)
def test_a_fault_of_all_rows_is_seen_over_all_batches(
    stage: Stage, change: Change, more: dict[str, Any], words: str
) -> None:
    """And not only in the batch that has it."""
    stage.write(change(table(count=2000)))
    with pytest.raises(ContractError, match=words):
        stage.run(boosting(), batch=BATCH, **more)
    folder = stage.folder / f"build{stage.count}"
    assert not list(folder.iterdir())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        training_rows.Batches(tmp_path / "train.parquet", BATCH)
    assert str(error.value.filename).endswith("train.parquet")
