"""Which thresholds held for what served, and with which values: by the ledger alone.

A release names the verdict that allowed it, and the verdict holds every check as
numbers: what was compared, with which operator, with which limit, by which machinery.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mlgitops import report
from mlgitops.judgement import Check, checks
from mlgitops.ledger import Ledger
from mlgitops.machinery import Machinery
from mlgitops.release import Record, ReleaseError, facts
from mlgitops.release.facts import Period


@dataclass(frozen=True)
class Threshold:
    """One check of what served in a period; numbers as they were compared."""

    environment: str
    version: str
    manifest_sha256: str
    began: str
    until: str | None
    verdict: str  # where it is in the ledger
    rules_sha: str  # the commit of main whose rules they are
    machinery: str
    check: str
    metric: str
    statistic: str
    value: float | None
    operator: str
    limit: float | None
    unit: str
    low: float | None
    high: float | None
    passed: bool
    overruled_by: str


def held(ledger: Ledger, date: str | None) -> list[Threshold]:
    """Return the thresholds of all that served, or served on a day or in a month.

    Raises:
        ReleaseError: nothing served then, or its verdict cannot be read.
    """
    records = [ledger.history(name) for name in ledger.environments()]
    periods = [
        period
        for history in records
        for period in facts.served(history)
        if not date or facts.covers(period, date)
    ]
    if not periods:
        raise ReleaseError(f"nothing was deployed {f'in {date}' if date else 'yet'}")
    return [row for period in periods for row in _of(ledger, period)]


def _of(ledger: Ledger, period: Period) -> Iterator[Threshold]:
    """Give the checks of the verdict that allowed a deployment."""
    verdict = ledger.read(period.verdict) if period.verdict else None
    if verdict is None:
        raise ReleaseError(
            f"the ledger lacks the verdict of {period.version} in {period.environment}"
        )
    try:
        judged = checks(verdict["checks"])
    except (KeyError, ValueError) as error:
        raise ReleaseError(f"{period.verdict} cannot be read: {error}") from error
    yield from (_row(period, verdict, check) for check in judged)


def _row(period: Period, verdict: Record, check: Check) -> Threshold:
    """Return one check of a period."""
    by, override = verdict.get("machinery"), verdict.get("override") or {}
    judge = Machinery(by["version"], tuple(by["modified"])) if by else None
    low, high = check.interval or (None, None)
    overruled = check.id in override.get("checks", ())
    return Threshold(
        environment=period.environment,
        version=period.version,
        manifest_sha256=period.manifest_sha256,
        began=period.began,
        until=period.until,
        verdict=str(period.verdict),
        rules_sha=str(verdict.get("rules_sha") or ""),
        machinery=str(judge or "unknown"),
        check=check.id,
        metric=check.metric,
        statistic=check.statistic,
        value=check.value,
        operator=check.operator,
        limit=check.limit,
        unit=check.unit,
        low=low,
        high=high,
        passed=check.passed,
        overruled_by=str(override["by"]) if overruled else "",
    )


def write(rows: Sequence[Threshold], file: Path) -> None:
    """Write every number with all its digits, for a spreadsheet."""
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([field.name for field in fields(Threshold)])
        writer.writerows(map(astuple, rows))


def table(rows: Sequence[Threshold]) -> str:
    """Return the thresholds that are numbers, as Markdown; what served once a row."""
    lines = []
    for row in rows:
        if row.limit is None:
            continue
        passed = "yes" if row.passed else "no"
        if row.overruled_by:
            passed = f"overruled by {report.text(row.overruled_by)}"
        metric = f" of {report.text(row.metric)}" if row.metric else ""
        lines.append(
            [
                row.environment,
                row.version,
                f"{row.began[:16]} to {(row.until or 'now')[:16]}",
                report.code(row.check, 100),
                f"{row.statistic}{metric}",
                "none" if row.value is None else f"{row.value:.6g}",
                f"{row.operator} {row.limit:.6g} {report.text(row.unit)}".strip(),
                passed,
                report.text(row.machinery),
            ]
        )
    header = ["where", "version", "served", "check", "compared", "value", "limit"]
    return report.table([*header, "passed", "judged by"], lines)
