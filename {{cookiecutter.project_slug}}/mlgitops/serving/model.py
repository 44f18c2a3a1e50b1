"""The exported model: verified bytes in, predictions out; onnxruntime and numpy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from mlgitops.prediction_log import metadata
from mlgitops.serving.predictions import TASKS, Prediction, Scores
from mlgitops.serving.reasons import Reason
from mlgitops.serving.rows import (
    Column,
    RowError,
    Rows,
    arrays,
    columns,
    inputs,
)
from mlgitops.serving.rowwise import rowwise
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

if TYPE_CHECKING:
    from mlgitops.serving.typed import Typed

TENSORS = {"category": "string", "datetime": "double", "text": "string"}  # or float
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
        self.task: str = self.manifest["task"]
        self.output = OUTPUTS[self.task]  # float32, one per row, or one per class
        self.threshold: float | None = self.manifest.get("threshold")
        self.classes: list[str] | None = self.manifest.get("classes")
        self.inputs: list[str] = self.manifest["columns"]
        contract_sha256 = self.manifest["contract"]["sha256"]
        text = read_verified(contract_path(folder), contract_sha256)
        self.contract = _parse(text) if contract is None else dict(contract)
        try:
            self.columns = columns(self.contract)
        except (KeyError, TypeError, ValueError) as error:
            raise VerifyError(f"contract.yaml is not a contract: {error}.") from None
        model = self.manifest["model"]
        data = read_verified(folder / model["file"], model["sha256"])
        self._session = session(data, threads)
        self.rowwise = threads == 1 and rowwise(data)  # a row alone or among others
        self._names = input_names(self._session, self.inputs)
        self._check_inputs()
        self.sensitive = frozenset(self.contract.get("sensitive") or ())
        # What a request calls a row's id and its time; "" where it has none.
        self.id, self.time = metadata(self.columns, bool(self.contract.get("time")))
        self.typed = _typed(self.columns, self.inputs, (self.id, self.time))

    def predict(self, rows: Rows) -> Scores:
        """Return the model's output, float32 [n] or [n, k] of k classes.

        Raises RowError when a row is refused.
        """
        checked = self.typed.inputs(rows) if self.typed else None
        if checked is None:  # this says why not, if there is a reason
            checked = inputs(rows, self.columns, self.inputs, bool(self.time))
        return self._scores(checked, len(rows))

    def predict_columns(self, values: Mapping[str, Sequence[Any]]) -> Scores:
        """Return what `predict` does, for rows that come as columns: name to values.

        Each column of the contract has as many values as there are rows.
        """
        checked = arrays(values, self.columns, self.inputs)
        return self._scores(checked, len(next(iter(values.values()))))

    def predict_arrays(self, checked: Mapping[str, Any], count: int) -> Scores:
        """Return what `predict` does, for arrays as `rows.arrays` returns them."""
        return self._scores(checked, count)

    def _scores(self, feeds: Mapping[str, Any], count: int) -> Scores:
        """Run the model on checked arrays of so many rows, and check what it says."""
        try:
            feed = dict(zip(self._names, feeds.values(), strict=True))
            (output,) = self._session.run([self.output], feed)
        except Exception as error:
            raise ModelError(f"the model failed: {str(error)[:200]}.") from None
        scores: Scores = np.asarray(output)
        shape: tuple[int, ...] = (count, len(self.classes or ()))
        if self.classes is None:
            scores, shape = scores.reshape(-1), shape[:1]
        if scores.shape != shape or scores.dtype != np.float32:
            width = 1 if self.classes is None else shape[1]
            raise ModelError(f"the model did not return {width} float32 per row.")
        task = TASKS[self.task]
        if not task.accepts(scores):
            index = int(np.flatnonzero(~task.valid(scores))[0])
            sentence = f"row {index}: the model has no {task.output} for it."
            raise RowError(Reason.NO_PREDICTION, sentence)
        return scores

    def scores(self, feeds: Mapping[str, Any]) -> Scores:
        """Return what `predict` does, for arrays that `rows.inputs` has checked."""
        return self._scores(feeds, len(next(iter(feeds.values()))))

    def predictions(self, rows: Rows, ids: Sequence[object]) -> list[Prediction]:
        """Return each row's id and prediction by name; RowError if one is refused."""
        fields = TASKS[self.task].predictions(self.predict(rows), self.manifest)
        return [{"id": i, **named} for i, named in zip(ids, fields, strict=True)]

    def check_golden(self, tolerance: float = TOLERANCE) -> float:
        """Return the largest difference to the golden rows; ModelError beyond it."""
        golden = self.manifest["golden"]
        try:
            rows = [entry["row"] for entry in golden]
            difference = distance(golden, self.predictions(rows, range(len(golden))))
        except RowError as error:
            raise ModelError(f"a golden row is refused: {error}") from None
        if not difference <= tolerance:
            raise ModelError(
                f"the predictions of the golden rows differ by {difference:.3g}, "
                f"limit {tolerance:g}."
            )
        return difference

    def _check_inputs(self) -> None:
        """Refuse a file whose inputs and output are not those of the manifest."""
        types = [node.type for node in self._session.get_inputs()]
        actual, expected = dict(zip(self.inputs, types, strict=True)), {}
        for name in self.inputs:
            if name not in self.columns:
                raise ModelError(f"the contract has no column '{name}'.")
            kind = TENSORS.get(self.columns[name].type, "float")
            expected[name] = f"tensor({kind})"
        if actual != expected:
            raise ModelError(f"the model's inputs are {actual}, expected {expected}.")
        if self.output not in [node.name for node in self._session.get_outputs()]:
            raise ModelError(f"the model has no output '{self.output}'.")


def _typed(
    schema: Mapping[str, Column], names: Sequence[str], metadata: Sequence[str]
) -> "Typed | None":
    """Return the faster checker of rows; none in the edge bundle, without msgspec."""
    try:
        from mlgitops.serving.typed import Typed

        return Typed(schema, names, [name for name in metadata if name])
    except (ImportError, ValueError):  # or a name with a quote, which msgspec refuses
        return None


def input_names(
    session: onnxruntime.InferenceSession, columns: Sequence[str]
) -> list[str]:
    """Return the names of the file's inputs: the first is the first column, and so on.

    Raises ModelError where they are others in number, or the columns in another order.
    """
    names = [node.name for node in session.get_inputs()]
    if len(names) != len(columns) or (
        names != list(columns) and sorted(names) == sorted(columns)
    ):
        raise ModelError(
            f"the model's inputs are {', '.join(names)}, expected one for each of "
            f"{', '.join(columns)}, in this order."
        )
    return names


def _parse(text: bytes) -> dict[str, Any]:
    """Parse the contract's YAML."""
    import yaml  # not at the top: the edge bundle has no YAML library

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C it takes a tenth
    try:
        return dict(yaml.load(text, loader))  # noqa: S506
    except (yaml.YAMLError, TypeError, ValueError):
        raise VerifyError("contract.yaml is not a YAML mapping.") from None


def session(data: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load a model from bytes, on the CPU, with a fixed number of threads.

    They are read as ONNX, as the judge read them: the runtime's own format could be
    other operators in the same file.
    """
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ModelError(f"the model cannot be loaded: {str(error)[:200]}.") from None
