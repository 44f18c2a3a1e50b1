"""The exported model: verified bytes in, answers out; onnxruntime and numpy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from mlgitops.serving import rows as strict
from mlgitops.serving.answers import TASKS, Answer, Ids
from mlgitops.serving.verify import (
    MANIFEST,
    OUTPUTS,
    VerifyError,
    contract_path,
    distance,
    read_verified,
    sha256_file,
    verify,
)

TOLERANCE = 1e-5  # float32 noise between CPU types; a golden row may move this much


class ModelError(Exception):
    """The verified file does not behave as its manifest says: one sentence."""


class Model:
    """A version, verified and loaded from the very bytes that were hashed."""

    def __init__(
        self,
        folder: Path | str,
        expected_sha256: str | None = None,
        contract: Mapping[str, Any] | None = None,
        threads: int = 1,
    ) -> None:
        """Verify and load; VerifyError or ModelError says what is wrong.

        `contract` is the parsed contract, where no YAML library is at hand.
        """
        folder = Path(folder)
        self.manifest = verify(folder, expected_sha256)
        self.manifest_sha256 = sha256_file(folder / MANIFEST)
        self.name: str = self.manifest["name"]
        self.task: str = self.manifest.get("task", "binary")
        self.output = OUTPUTS[self.task]  # float32, one per row, or one per class
        self.threshold: float | None = self.manifest.get("threshold")
        self.classes: list[str] | None = self.manifest.get("classes")
        self.inputs: list[str] = self.manifest["columns"]
        read = self.manifest["contract"]["sha256"]
        text = read_verified(contract_path(folder), read)
        self.contract = _parse(text) if contract is None else dict(contract)
        try:
            self.columns = strict.columns(self.contract)
        except (KeyError, TypeError, ValueError) as error:
            raise VerifyError(f"contract.yaml is not a contract: {error}.") from None
        model = self.manifest["model"]
        data = read_verified(folder / model["file"], model["sha256"])
        self._session = _session(data, threads)
        self._check_inputs()

    def predict(self, rows: strict.Rows) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the model's output, float32 [n] or [n, k] of k classes.

        Raises RowError when a row is refused.
        """
        feeds = strict.feeds(rows, self.columns, self.inputs)
        try:
            (found,) = self._session.run([self.output], feeds)
        except Exception as error:
            raise ModelError(f"the model failed: {str(error)[:200]}.") from None
        answer: np.ndarray[Any, np.dtype[np.float32]] = np.asarray(found)
        shape: tuple[int, ...] = (len(rows), len(self.classes or ()))
        if self.classes is None:
            answer, shape = answer.reshape(-1), shape[:1]
        if answer.shape != shape or answer.dtype != np.float32:
            what = "one float32" if self.classes is None else f"{shape[1]} float32"
            raise ModelError(f"the model did not answer {what} per row.")
        possible = TASKS[self.task].possible(answer)
        if not possible.all():
            at, what = int(np.flatnonzero(~possible)[0]), TASKS[self.task].lacking
            raise strict.RowError(f"row {at}: the model has no {what} for it.")
        return answer

    def answers(self, rows: strict.Rows, ids: Ids) -> list[Answer]:
        """Return what is said of each row and its id; RowError if one is refused."""
        return TASKS[self.task].tell(self.predict(rows), self.manifest, ids)

    def check_golden(self, tolerance: float = TOLERANCE) -> float:
        """Return the largest difference to the golden rows; ModelError beyond it."""
        golden = self.manifest["golden"]
        try:
            given = self.answers([item["row"] for item in golden], range(len(golden)))
        except strict.RowError as error:
            raise ModelError(f"the golden rows are not answered: {error}") from None
        worst = distance(golden, given)
        if not worst <= tolerance:
            raise ModelError(
                f"the golden rows are answered wrongly: off by {worst:.3g}, "
                f"allowed is {tolerance:g}."
            )
        return worst

    def _check_inputs(self) -> None:
        """Refuse a file whose inputs and output are not those of the manifest."""
        kinds = {item.name: item.type for item in self._session.get_inputs()}
        wanted = {}
        for name in self.inputs:
            if name not in self.columns:
                raise ModelError(f"the contract has no column '{name}'.")
            number = self.columns[name].number
            wanted[name] = "tensor(float)" if number else "tensor(string)"
        if kinds != wanted:
            raise ModelError(f"the model's inputs are {kinds}, expected {wanted}.")
        if self.output not in [item.name for item in self._session.get_outputs()]:
            raise ModelError(f"the model has no output '{self.output}'.")


def _parse(text: bytes) -> dict[str, Any]:
    """Parse the contract's YAML."""
    import yaml  # not at the top: the edge bundle has no YAML library

    try:
        return dict(yaml.safe_load(text))
    except (yaml.YAMLError, TypeError, ValueError):
        raise VerifyError("contract.yaml is not a YAML mapping.") from None


def _session(data: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Load a model from bytes, on the CPU, with a fixed number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ModelError(f"the model cannot be loaded: {str(error)[:200]}.") from None
