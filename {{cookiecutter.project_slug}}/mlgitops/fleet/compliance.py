"""Which thresholds were in force for each model at any date, and whether they were met.

Of two kinds: those of the verdict that let a version into an environment, while it
served there, and those that the monitor held production to, until its next run.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from io import StringIO

from mlgitops.fleet.records import Gate, Records, Run
from mlgitops.ledger import CHAMPION, Record
from mlgitops.release import ReleaseError, facts
from mlgitops.release import thresholds as held
from mlgitops.release.facts import Period

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a text a spreadsheet would compute
Cell = str | float | bool | None


@dataclass(frozen=True)
class Row:
    """One threshold in force from ``began`` to ``until``; None is unknown, or now."""

    kind: str  # validation, monitoring, or unknown with the reason in ``check``
    environment: str
    version: str
    manifest_sha256: str
    began: str
    until: str | None
    record: str  # of the ledger
    check: str
    metric: str = ""
    statistic: str = ""
    value: float | None = None
    operator: str = ""
    limit: float | None = None
    unit: str = ""
    met: bool | None = None
    overruled_by: str = ""
    rules_sha: str = ""
    machinery: str = ""

    def covers(self, date: str) -> bool:
        """Tell whether it was in force on a day, in a month or at a time, in UTC."""
        began, until = self.began[: len(date)], (self.until or "9")[: len(date)]
        return began <= date <= until


TITLES = ("model", "repository", "owner", "risk", *(f.name for f in fields(Row)))


def periods(records: Records) -> tuple[list[Period], list[str]]:
    """Return when which version served where, and why that is not known somewhere."""
    in_force, problems = list[Period](), list[str]()
    for name in sorted({release.environment for release in records.releases}):
        try:
            in_force += facts.served([each.raw for each in records.history(name)])
        except (ReleaseError, KeyError, TypeError, ValueError) as error:
            problems.append(f"what served in {name} cannot be told: {error}")
    return in_force, problems


def rows(records: Records, served: Sequence[Period]) -> list[Row]:
    """Return every threshold of a model, oldest first; what is unknown has a row."""
    in_force = [row for period in served for row in _validated(period, records)]
    ends = [*(run.time for run in records.runs[1:]), None]
    for run, until in zip(records.runs, ends, strict=False):
        in_force += [_monitored(run, until, gate) for gate in run.gates]
    return in_force


def _validated(period: Period, records: Records) -> Iterator[Row]:
    """Give the thresholds of the verdict that allowed a deployment.

    Where it found the model unchanged, those follow that were held against its bytes.
    """
    verdict = records.verdict(period.verdict)
    yield from _of(period, verdict.raw if verdict else None)
    if verdict and not verdict.metrics:
        if earlier := records.measured(period.manifest_sha256):
            yield from _of(replace(period, verdict=earlier.path), earlier.raw)


def _of(period: Period, verdict: Record | None) -> Iterator[Row]:
    """Give the thresholds of one verdict, or why they are not known."""
    identity = (
        period.environment,
        period.version,
        period.manifest_sha256,
        period.began,
        period.until,
        period.verdict or "",
    )
    try:
        thresholds = list(held.of(period, verdict))
    except ReleaseError as error:
        yield Row("unknown", *identity, check=str(error))
        return
    for each in thresholds:
        check = each.check
        yield Row(
            "validation",
            *identity,
            check.id,
            check.metric,
            check.statistic,
            check.value,
            check.operator,
            check.limit,
            check.unit,
            check.passed,
            each.overruled_by,
            each.rules_sha,
            each.machinery,
        )


def _monitored(run: Run, until: str | None, gate: Gate) -> Row:
    """Return what production was held to: the end of the interval that is kinder."""
    least = gate.operator == ">="
    return Row(
        "monitoring",
        CHAMPION,
        run.version,
        run.manifest_sha256 or "",
        run.time,
        until,
        run.path,
        gate.id,
        gate.id,
        "upper bound" if least else "lower bound",
        gate.high if least else gate.low,
        gate.operator,
        gate.limit,
        met=gate.passed,
    )


def text(rows: Iterable[Sequence[Cell]]) -> str:
    """Return rows as CSV with every digit; no text in it is a formula."""
    stream = StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(TITLES)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _inert(cell: Cell) -> Cell:
    """Return a cell that a spreadsheet shows as it is (OWASP: CSV injection)."""
    if isinstance(cell, str) and cell.startswith(FORMULA):
        return f"'{cell}"
    return cell
