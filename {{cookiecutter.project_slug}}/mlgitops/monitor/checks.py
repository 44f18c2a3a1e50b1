"""What a check of drift found, and Evidently's report on the same rows.

Evidently gets explicit methods and our thresholds: its own choices depend on the
number of rows and call drift in windows that have none. Its JSON says a column's
distance and, only in ``config``, by which method; what is not recognised, or is not
the number that we found ourselves, is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

METHODS = {"number": "wasserstein", "category": "jensenshannon"}  # both are distances
KIND = "evidently:metric_v2:ValueDrift"
SAME = 1e-6  # Evidently adds in another order


class CheckError(Exception):
    """Evidently's answer is not one that we understand."""


class Drift(NamedTuple):
    """How far one column has moved, and from where on that counts as drift."""

    column: str
    method: str
    distance: float
    threshold: float

    @property
    def found(self) -> bool:
        """The distance is at the threshold or beyond."""
        return self.distance >= self.threshold


def report(
    current: pd.DataFrame, reference: pd.DataFrame, drifts: Sequence[Drift]
) -> str:
    """Return Evidently's HTML on the columns of ``drifts``, at their thresholds.

    Raises:
        CheckError: Evidently's numbers are not ours.
    """
    # Its import takes seconds, so it waits until there is a window to show.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    names = [drift.column for drift in drifts]
    numbers = [d.column for d in drifts if d.method == METHODS["number"]]
    definition = DataDefinition(
        numerical_columns=numbers,
        categorical_columns=[name for name in names if name not in numbers],
    )
    sides = [
        Dataset.from_pandas(side[names], data_definition=definition)
        for side in (current, reference)
    ]
    metrics = [
        ValueDrift(column=d.column, method=d.method, threshold=d.threshold)
        for d in drifts
    ]
    snapshot = Report(metrics).run(*sides)
    agree(parse(json.loads(snapshot.json()), drifts), drifts)
    return str(snapshot.get_html_str(False))


def parse(document: Mapping[str, Any], drifts: Sequence[Drift]) -> list[Drift]:
    """Return the drifts in Evidently's JSON, in the order of those that we know.

    Raises:
        CheckError: nothing is recognised, a column is missing or comes with another
            method, or a value is no number.
    """
    known = {drift.column: drift for drift in drifts}
    found: dict[str, Drift] = {}
    for metric in document.get("metrics") or []:
        config = metric.get("config") or {}
        column, value = str(config.get("column")), metric.get("value")
        if config.get("type") != KIND or column not in known:
            continue
        if config.get("method") != known[column].method:
            raise CheckError(f"Evidently used another method for {column} than asked")
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise CheckError(
                f"Evidently's value for {column} is not a distance: {value}"
            )
        found[column] = known[column]._replace(distance=float(value))
    lacking = [column for column in known if column not in found]
    if lacking:
        raise CheckError(
            f"Evidently's answer has no drift of {lacking[0]}: this version of it is "
            "not known here, so nothing was decided"
        )
    return [found[column] for column in known]


def agree(theirs: Sequence[Drift], ours: Sequence[Drift]) -> None:
    """Refuse to decide when Evidently's distances are not ours.

    Raises:
        CheckError: names the column.
    """
    for their, our in zip(theirs, ours, strict=True):
        if abs(their.distance - our.distance) > SAME * max(our.distance, 1):
            raise CheckError(
                f"Evidently says {their.distance:.6g} for {our.column}, the monitor "
                f"{our.distance:.6g}: this version of Evidently counts differently"
            )
