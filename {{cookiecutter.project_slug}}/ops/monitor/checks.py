"""Asks Evidently how far a window is from its reference; the one place that does.

Methods and thresholds are always given: Evidently's own choices depend on the number
of rows and call drift in windows that have none. Its JSON says a column's distance
and, only in ``config``, by which method; what is not recognised is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

# Evidently's methods whose value is a distance; of the others small means drift.
DISTANCES = {"psi", "wasserstein", "jensenshannon", "hellinger", "kl_div"}
KIND = "evidently:metric_v2:ValueDrift"


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


Rules = Mapping[str, Mapping[str, Any]]  # column -> {"method", "threshold"}


def drift(
    current: pd.DataFrame, reference: pd.DataFrame, numbers: list[str], rules: Rules
) -> tuple[list[Drift], str]:
    """Return the drift of every column in ``rules``, and Evidently's HTML.

    ``numbers`` names the numeric columns, the others are categories. Columns whose
    values are all missing on one side must be left out.

    Raises:
        CheckError: a method is not a distance, or the answer lacks a column.
    """
    for column, rule in rules.items():
        if rule["method"] not in DISTANCES:
            raise CheckError(
                f"params.yaml: monitor's method for {column} is {rule['method']}; type "
                f"one of {', '.join(sorted(DISTANCES))}"
            )
    # Its import takes seconds, so it waits until there is a window to check.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(
        numerical_columns=[name for name in rules if name in numbers],
        categorical_columns=[name for name in rules if name not in numbers],
    )
    sides = [
        Dataset.from_pandas(side[list(rules)], data_definition=definition)
        for side in (current, reference)
    ]
    metrics = [ValueDrift(column=name, **rule) for name, rule in rules.items()]
    snapshot = Report(metrics).run(*sides)
    return parse(json.loads(snapshot.json()), rules), snapshot.get_html_str(False)


def parse(document: Mapping[str, Any], rules: Rules) -> list[Drift]:
    """Return the drifts in Evidently's JSON, in the order of ``rules``.

    Raises:
        CheckError: nothing is recognised, a column of ``rules`` is missing or comes
            with another method, or a value is no number.
    """
    found: dict[str, Drift] = {}
    for metric in document.get("metrics") or []:
        config = metric.get("config") or {}
        column, value = str(config.get("column")), metric.get("value")
        if config.get("type") != KIND or column not in rules:
            continue
        if config.get("method") != rules[column]["method"]:
            raise CheckError(f"Evidently used another method for {column} than asked")
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise CheckError(
                f"Evidently's value for {column} is not a distance: {value}"
            )
        limit = float(rules[column]["threshold"])
        found[column] = Drift(column, config["method"], float(value), limit)
    lacking = [column for column in rules if column not in found]
    if lacking:
        raise CheckError(
            f"Evidently's answer has no drift of {lacking[0]}: this version of it is "
            "not known here, so nothing was decided"
        )
    return [found[column] for column in rules]
