"""What a model of each task answers, and how that is told; numpy only.

`TASKS[manifest["task"]]` is looked up by whoever answers: the server and the edge
bundle. The names are those of `mlgitops.serving.verify.OUTPUTS`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Answer = dict[str, Any]
Ids = Sequence[Any]


class Task(NamedTuple):
    """A task: which answers are possible, and what is said of them."""

    possible: Callable[[Array], Array]  # float32 [n] or [n, k] -> bool [n]
    tell: Callable[[Array, Mapping[str, Any], Ids], list[Answer]]  # with the manifest
    lacking: str  # what the model does not have for a row that is refused


def _shares(answer: Array) -> Array:
    """Tell which rows hold probabilities and nothing else."""
    good = (answer >= 0) & (answer <= 1)
    return np.asarray(good if good.ndim == 1 else good.all(axis=1))


def _binary(answer: Array, manifest: Mapping[str, Any], ids: Ids) -> list[Answer]:
    """P(target = 1), and whether that is enough."""
    least = manifest["threshold"]
    return [
        {"id": key, "probability": p, "decision": p >= least}
        for key, p in zip(ids, answer.tolist(), strict=True)
    ]


def _multiclass(answer: Array, manifest: Mapping[str, Any], ids: Ids) -> list[Answer]:
    """The probability of each class by its name, and the likeliest."""
    classes, likeliest = manifest["classes"], answer.argmax(axis=1).tolist()
    return [
        {
            "id": key,
            "probabilities": dict(zip(classes, row, strict=True)),
            "class": classes[best],
        }
        for key, row, best in zip(ids, answer.tolist(), likeliest, strict=True)
    ]


def _regression(answer: Array, manifest: Mapping[str, Any], ids: Ids) -> list[Answer]:
    """The predicted number."""
    return [
        {"id": key, "value": value}
        for key, value in zip(ids, answer.tolist(), strict=True)
    ]


TASKS = {
    "binary": Task(_shares, _binary, "probability"),
    "multiclass": Task(_shares, _multiclass, "probabilities"),
    "regression": Task(np.isfinite, _regression, "finite value"),
}
