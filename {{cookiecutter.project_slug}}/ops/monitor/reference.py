"""The reference: the rows that the serving version was trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ops import git, lock, storage
from pipeline.contract import Contract
from pipeline.data import inputs
from serving import verify

if TYPE_CHECKING:
    import pandas as pd

FILES = ("train.parquet", "holdout.parquet", "model.onnx", "manifest.json")


@dataclass(frozen=True)
class Reference:
    """A version's rows, with P(target = 1) of every row of its holdout."""

    version: str
    manifest_sha256: str
    manifest: dict[str, Any]
    contract: Contract
    train: pd.DataFrame
    holdout: pd.DataFrame

    @property
    def rows(self) -> pd.DataFrame:
        """Train and holdout, oldest first."""
        import pandas as pd

        return pd.concat([self.train, self.holdout], ignore_index=True)


def fetch(release: dict[str, Any], into: Path) -> Path:
    """Bring a release's files from storage into a folder and return it.

    Raises:
        StorageError, LockError, GitError: the files are not to be had.
    """
    commit = str(release["commit"])
    known = git.run("cat-file", "-t", f"{commit}^{{commit}}", check=False)
    if known != "commit":
        git.remote_run("fetch", "-q", "--no-tags", "--depth=1", "origin", commit)
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
    import pandas as pd

    manifest = verify.verify(folder, manifest_sha256)
    train, holdout = (folder / f"{name}.parquet" for name in ("train", "holdout"))
    verify.read_verified(train, manifest["data"]["train_sha256"])
    text = verify.contract_path(folder).read_text(encoding="utf-8")
    contract = Contract.parse(yaml.safe_load(text))
    judged = pd.read_parquet(holdout)
    columns = list(manifest["columns"])
    judged["probability"] = score(folder / "model.onnx", judged, contract, columns)
    digest = verify.sha256_file(folder / verify.MANIFEST)
    shown = {n: c for n, c in contract.columns.items() if n not in contract.sensitive}
    logged = replace(contract, columns=shown)  # the log never holds sensitive columns
    train_rows = pd.read_parquet(train)
    return Reference(version, digest, manifest, logged, train_rows, judged)


def score(
    model: Path, frame: pd.DataFrame, contract: Contract, columns: list[str]
) -> NDArray[np.float64]:
    """Return P(target = 1), float64 (rows,), of a version that passed `verify`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )
    (answer,) = session.run(["probability"], inputs(frame, contract, columns))
    return np.asarray(answer, dtype=np.float64).reshape(-1)
