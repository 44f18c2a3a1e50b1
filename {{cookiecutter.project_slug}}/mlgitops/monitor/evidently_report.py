"""Evidently's report on the rows that were compared, at the monitor's thresholds.

Evidently gets explicit methods and our thresholds: its own choices depend on the
number of rows and call drift in windows that have none. Its JSON says a column's
distance and, only in ``config``, by which method; what is not recognised, or is not
the number that we found ourselves, is an error.

Evidently writes names and values as they are into a script of its page. So what it is
given is escaped before (`inert`), and the page's policy names the scripts that may run
by their hashes: Evidently's own, as many as it always has.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from mlgitops.monitor.drift import METHODS
from mlgitops.monitor.evidence import Drift
from mlgitops.report.document import meta

if TYPE_CHECKING:
    import pandas as pd

KIND = "evidently:metric_v2:ValueDrift"
TOLERANCE = 1e-6  # Evidently adds in another order
SCRIPTS = 4  # of Evidently's page: its data, its library and two lines that start it
POLICY = (
    "default-src 'none'; script-src {}; style-src 'unsafe-inline'; font-src data:; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


class EvidentlyError(Exception):
    """Evidently's result is not one that the monitor knows, or differs from its own."""


def report(
    current: pd.DataFrame, reference: pd.DataFrame, drifts: Sequence[Drift]
) -> str:
    """Return Evidently's HTML on the columns of ``drifts``, at their thresholds.

    Raises:
        EvidentlyError: Evidently's numbers are not the monitor's.
    """
    # Its import takes seconds, so it waits until there is a window to show.
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    drifts = [drift._replace(column=escape(drift.column)) for drift in drifts]
    names = [drift.column for drift in drifts]
    numbers = [d.column for d in drifts if d.method == METHODS["number"]]
    definition = DataDefinition(
        numerical_columns=numbers,
        categorical_columns=[name for name in names if name not in numbers],
    )
    data_sets = [
        Dataset.from_pandas(inert(table)[names], data_definition=definition)
        for table in (current, reference)
    ]
    metrics = [
        ValueDrift(column=d.column, method=d.method, threshold=d.threshold)
        for d in drifts
    ]
    snapshot = Report(metrics).run(*data_sets)
    agree(parse(json.loads(snapshot.json()), drifts), drifts)
    return with_policy(str(snapshot.get_html_str(False)))


def inert(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names and texts are escaped: no markup can be in them."""
    escaped = {
        str(name): column
        if column.dtype.kind in "biuf"
        else column.map({value: _escaped(value) for value in column.dropna().unique()})
        for name, column in table.items()
    }
    return table.assign(**escaped).rename(columns=escape)


def with_policy(html: str) -> str:
    """Return Evidently's page with a policy that lets only its own scripts run.

    Raises:
        EvidentlyError: the page has another number of scripts than it always has.
    """
    parser = _Scripts()
    parser.feed(html)
    if len(parser.scripts) != SCRIPTS:
        raise EvidentlyError(
            f"Evidently's page has {len(parser.scripts)} scripts instead of {SCRIPTS}: "
            "this version of Evidently is not supported"
        )
    hashes = [
        b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in parser.scripts
    ]
    sources = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return html.replace("<head>", f"<head>{meta(POLICY.format(sources))}", 1)


class _Scripts(HTMLParser):
    """Collects the text of each script of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Begin a script."""
        if tag == "script":
            self._inside = True
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        """End one."""
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        """Add to the one that has begun."""
        if self._inside:
            self.scripts[-1] += data


def _escaped(value: object) -> object:
    """Return text escaped, and anything else as it is."""
    return escape(value) if isinstance(value, str) else value


def parse(document: Mapping[str, Any], drifts: Sequence[Drift]) -> list[Drift]:
    """Return the drifts in Evidently's JSON, in the order of the monitor's.

    Raises:
        EvidentlyError: nothing is recognised, a column is missing or comes with another
            method, or a value is not a number.
    """
    expected = {drift.column: drift for drift in drifts}
    reported_drifts: dict[str, Drift] = {}
    for metric in document.get("metrics") or []:
        config = metric.get("config") or {}
        column, value = str(config.get("column")), metric.get("value")
        if config.get("type") != KIND or column not in expected:
            continue
        if config.get("method") != expected[column].method:
            raise EvidentlyError(
                f"Evidently used another method for {column} than it was given"
            )
        if type(value) not in (int, float) or not 0 <= value < float("inf"):
            raise EvidentlyError(
                f"Evidently's value for {column} is not a distance: {value}"
            )
        reported_drifts[column] = expected[column]._replace(distance=float(value))
    missing_columns = [column for column in expected if column not in reported_drifts]
    if missing_columns:
        raise EvidentlyError(
            f"Evidently's result has no drift of {missing_columns[0]}: this version of "
            "Evidently is not supported, so nothing was decided"
        )
    return [reported_drifts[column] for column in expected]


def agree(evidently: Sequence[Drift], monitor: Sequence[Drift]) -> None:
    """Refuse to decide when Evidently's distances are not the monitor's.

    Raises:
        EvidentlyError: names the column.
    """
    for reported, drift in zip(evidently, monitor, strict=True):
        if abs(reported.distance - drift.distance) > TOLERANCE * max(drift.distance, 1):
            raise EvidentlyError(
                f"Evidently computes {reported.distance:.6g} for {drift.column}, the "
                f"monitor {drift.distance:.6g}: this version of Evidently differs"
            )
