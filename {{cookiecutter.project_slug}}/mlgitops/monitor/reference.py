"""The reference: the rows that the serving version was trained and judged on.

Of a table of more than `sample.MAX_ROWS` rows, a seeded sample stands for it. Which
rows of a window were trained on is looked up among all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlgitops import git, lock, storage
from mlgitops.monitor import sample
from mlgitops.pipeline.contract import Contract
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.fitting import feed, run
from mlgitops.pipeline.task import TASKS
from mlgitops.pipeline.words import is_of_texts
from mlgitops.serving import verify

if TYPE_CHECKING:
    import pandas as pd

# By task, the name of a prediction in ONNX and in the log, and as a column here.
OUTPUTS = {task.name: (task.output, task.output) for task in TASKS.values()}
OUTPUTS["multiclass"] = (TASKS["multiclass"].output, "class")
IMPORTANCE_ROWS = 2000  # rows on which the importance of columns is measured
FILES = ("train.parquet", "holdout.parquet", "model.onnx", "manifest.json")


@dataclass(frozen=True)
class Reference:
    """A version's rows, with its prediction for every row of its holdout.

    ``importance`` is each column's part in the predictions; together they are 1.
    """

    version: str
    manifest_sha256: str
    manifest: dict[str, Any]
    contract: Contract
    train: pd.DataFrame
    holdout: pd.DataFrame
    importance: dict[str, float] = field(default_factory=dict)
    sensitive: tuple[str, ...] = ()  # never logged; labels may carry them
    train_file: Path | None = None  # of all training rows, where `train` is a sample
    counts: tuple[int, int] = (0, 0)  # of rows trained on and held out, samples or not

    @property
    def full_contract(self) -> Contract:
        """The contract, with the sensitive columns that a log never holds."""
        return replace(self.contract, sensitive=self.sensitive)

    @property
    def prediction(self) -> str:
        """The name of the column with the model's predictions."""
        return outputs(self.contract)[1]

    @property
    def rows(self) -> pd.DataFrame:
        """Train and holdout, oldest first."""
        import pandas as pd

        return pd.concat([self.train, self.holdout], ignore_index=True)

    def trained(self, ids: Iterable[object]) -> set[object]:
        """Return which of these ids are of training rows, whatever the sample has."""
        wanted, name = set(ids), self.contract.id
        if self.train_file is None:
            return wanted.intersection(self.train[name])
        parts = sample.values(self.train_file, name)
        return set().union(*(wanted.intersection(values) for values in parts))


def outputs(contract: Contract) -> tuple[str, str]:
    """Return the columns of a table with predictions: as put out, and as compared.

    They are named as in ``OUTPUTS``, unless rows have such a column of their own.
    """
    raw, shown = OUTPUTS[contract.task]
    return free(raw, contract), free(shown, contract)


def free(name: str, contract: Contract) -> str:
    """Return a column's name, with an addition where the contract has it already."""
    roles = contract.id, contract.time, contract.target, *contract.labelled_only
    while name in contract.columns or name in roles:
        name = f"{name} (monitor)"
    return name


def fetch(release: dict[str, Any], into: Path) -> Path:
    """Bring a release's files from storage into a folder and return it.

    Raises:
        StorageError, LockError, GitError: the files cannot be fetched.
    """
    commit = str(release["commit"])
    git.bring(commit)
    locked = lock.at(commit)
    if locked is None:
        raise lock.LockError(f"commit {commit} of the serving version has no dvc.lock")
    storage.pull([locked.out(name) for name in FILES], into)
    (into / "contract.yaml").write_bytes(git.show(commit, "contract.yaml") or b"")
    return into


def load(folder: Path, version: str, manifest_sha256: str | None = None) -> Reference:
    """Return the reference in a folder, after checking it against its manifest.

    Raises:
        VerifyError: a file is not the one that the manifest names.
    """
    manifest = verify.verify(folder, manifest_sha256)
    train, holdout = (folder / f"{name}.parquet" for name in ("train", "holdout"))
    if verify.sha256_file(train) != manifest["data"]["train_sha256"]:
        raise verify.VerifyError(f"{train} is not the reviewed file.")
    path = verify.contract_path(folder)
    contract = Contract.read(path.read_text(encoding="utf-8"))
    counts = sample.count(train), sample.count(holdout)
    holdout_rows = sample.table(holdout, sample.MAX_ROWS)
    model = Model(folder / "model.onnx", contract, list(manifest["columns"]))
    sensitive = contract.sensitive  # never in the log
    columns = {n: c for n, c in contract.columns.items() if n not in sensitive}
    raw, shown = outputs(logged := replace(contract, columns=columns))
    holdout_rows[shown] = model.predictions(holdout_rows)
    if contract.task == "multiclass":
        holdout_rows[raw] = list(model.score(holdout_rows))
    return Reference(
        version,
        verify.sha256_file(folder / verify.MANIFEST),
        manifest,
        logged,
        sample.table(train, sample.MAX_ROWS),
        holdout_rows,
        model.importance(holdout_rows),
        sensitive,
        train if counts[0] > sample.MAX_ROWS else None,
        counts,
    )


class Model:
    """The exported model of a version that passed `verify`."""

    def __init__(self, path: Path, contract: Contract, columns: list[str]) -> None:
        """Load the file; one thread, as predictions must not depend on the machine."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # no warnings about its nodes
        self.contract, self.columns = contract, columns
        data = path.read_bytes()
        self.texts = is_of_texts(data)
        self.session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return what the model puts out: float64 [rows], or [rows, k] of k classes."""
        return self._run(inputs(frame, self.contract, self.columns))

    def predictions(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return the predictions as they are compared: of k classes, the likeliest."""
        scores = self.score(frame)
        if self.contract.task != "multiclass":
            return scores
        return np.array(class_names(self.contract, scores.argmax(1)), dtype=object)

    def importance(self, frame: pd.DataFrame) -> dict[str, float]:
        """Return each column's part in the predictions: how far they move without it.

        Breiman (2001), Machine Learning 45(1), on predictions instead of errors: no
        label is needed.
        """
        rows = frame.head(IMPORTANCE_ROWS)
        columns = inputs(rows, self.contract, self.columns)
        scores = self._run(columns)
        order = np.random.default_rng(0).permutation(len(rows))

        def moved(name: str) -> float:
            shuffled = {**columns, name: columns[name][order]}
            return float(np.abs(self._run(shuffled) - scores).mean())

        changes = {name: moved(name) for name in self.columns}
        total = sum(changes.values())
        return {n: c / total if total else 1 / len(changes) for n, c in changes.items()}

    def _run(self, columns: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        arrays = feed(self.session, columns)
        name = OUTPUTS[self.contract.task][0]
        output = run(self.session, arrays, name, self.texts)
        scores = np.asarray(output, dtype=np.float64)
        return scores if self.contract.task == "multiclass" else scores.reshape(-1)


def class_names(contract: Contract, indices: NDArray[Any]) -> list[str]:
    """Return the names of classes by their indices in the contract's list."""
    classes = contract.classes
    return [str(classes[i]) if i < len(classes) else str(i) for i in indices]
