"""What the server returns for each row, by task; numpy only.

The server and the edge bundle look up `TASKS[manifest["task"]]`. The names are those of
`mlgitops.serving.verify.OUTPUTS`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlgitops.serving.verify import Manifest

Scores = npt.NDArray[np.float32]  # [n], or [n, k] of k classes
Prediction = dict[str, object]


class Task(NamedTuple):
    """How a task's model output is checked and returned."""

    valid: Callable[[Scores], npt.NDArray[np.bool_]]  # -> [n]
    predictions: Callable[[Scores, Manifest], list[Prediction]]
    output: str  # what the model lacks for a row that is refused


def _probabilities(scores: Scores) -> npt.NDArray[np.bool_]:
    """Return which rows hold probabilities only."""
    valid = (scores >= 0) & (scores <= 1)
    return valid if valid.ndim == 1 else np.all(valid, axis=1)


def _binary(scores: Scores, manifest: Manifest) -> list[Prediction]:
    """Return P(target = 1) and whether it reaches the threshold, as the judge does.

    Both are float32: a forest's 0.7 is below the float64 0.7, and reaches it here.
    """
    threshold = float(np.float32(manifest["threshold"]))
    return [{"probability": p, "decision": p >= threshold} for p in scores.tolist()]


def _multiclass(scores: Scores, manifest: Manifest) -> list[Prediction]:
    """Return the probability of each class by its name, and the most probable class."""
    classes, best = manifest["classes"], scores.argmax(axis=1).tolist()
    return [
        {"probabilities": dict(zip(classes, row, strict=True)), "class": classes[index]}
        for row, index in zip(scores.tolist(), best, strict=True)
    ]


def _regression(scores: Scores, manifest: Manifest) -> list[Prediction]:
    """Return the predicted number."""
    return [{"value": number} for number in scores.tolist()]


TASKS: Mapping[str, Task] = {
    "binary": Task(_probabilities, _binary, "probability"),
    "multiclass": Task(_probabilities, _multiclass, "probabilities"),
    "regression": Task(np.isfinite, _regression, "finite value"),
}
