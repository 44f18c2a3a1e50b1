"""What the server returns for each row, by task; numpy only.

The server and the edge bundle look up `TASKS[manifest["task"]]`. The names are those of
`mlgitops.serving.verify.OUTPUTS`.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlgitops.serving.verify import Manifest

Scores = npt.NDArray[np.float32]  # [n], or [n, k] of k classes
Prediction = dict[str, object]


class Task(NamedTuple):
    """How a task's model output is checked and returned."""

    valid: Callable[[Scores], npt.NDArray[np.bool_]]  # -> [n]
    named: Callable[[Scores, Manifest], list[Prediction]]
    holds: Callable[[float], bool]  # `valid` of one number, without numpy's overhead
    output: str  # what the model lacks for a row that is refused
    beside: Callable[[Prediction, Manifest], None]  # adds an interval or a set

    def accepts(self, scores: Scores) -> bool:
        """Return whether the output of every row is valid."""
        if scores.size == 1:
            return self.holds(scores.item())
        return bool(self.valid(scores).all())

    def predictions(self, scores: Scores, manifest: Manifest) -> list[Prediction]:
        """Return what the server says of each row."""
        rows = self.named(scores, manifest)
        if "intervals" in manifest:
            for row in rows:
                self.beside(row, manifest)
        return rows


def _probabilities(scores: Scores) -> npt.NDArray[np.bool_]:
    """Return which rows hold probabilities only."""
    valid = (scores >= 0) & (scores <= 1)
    return valid if valid.ndim == 1 else np.all(valid, axis=1)


def _probable(number: float) -> bool:
    """Return whether a number is a probability."""
    return 0 <= number <= 1


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


def _beside_binary(row: Prediction, manifest: Manifest) -> None:
    """Add which of 0 and 1 the target may be; perhaps take the decision back."""
    one: float = row["probability"]  # type: ignore[assignment]
    _add_set(row, {0: 1 - one, 1: one}, "decision", manifest["intervals"])


def _beside_multiclass(row: Prediction, manifest: Manifest) -> None:
    """Add which classes the target may be; perhaps take the decision back."""
    by_class: dict[object, float] = row["probabilities"]  # type: ignore[assignment]
    _add_set(row, by_class, "class", manifest["intervals"])


def _add_set(
    row: Prediction, by_class: Mapping[object, float], decision: str, entry: Manifest
) -> None:
    """Add the classes that are probable enough: least ambiguous sets.

    Sadinle et al. (2019), JASA 114(525). Without exactly one, a version that abstains
    decides nothing.
    """
    bounds = zip(by_class.items(), entry["quantile"], strict=True)
    members = [name for (name, p), bound in bounds if p >= bound]
    row["set"] = members
    if entry["abstain"] and len(members) != 1:
        row[decision] = None


def _beside_regression(row: Prediction, manifest: Manifest) -> None:
    """Add between which numbers the target is."""
    number: float = row["value"]  # type: ignore[assignment]
    reach = manifest["intervals"]["quantile"]
    row["interval"] = [number - reach, number + reach]


TASKS: Mapping[str, Task] = {
    "binary": Task(_probabilities, _binary, _probable, "probability", _beside_binary),
    "multiclass": Task(
        _probabilities, _multiclass, _probable, "probabilities", _beside_multiclass
    ),
    "regression": Task(
        np.isfinite, _regression, isfinite, "finite value", _beside_regression
    ),
}
