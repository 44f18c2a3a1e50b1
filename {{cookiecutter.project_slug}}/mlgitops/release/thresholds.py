"""Which thresholds held for what served, and with which values: by the ledger alone.

A release names the verdict that allowed it, and the verdict holds every check as
numbers: what was compared, with which operator, with which limit, by which machinery.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlgitops import report
from mlgitops.judgement import Check, checks
from mlgitops.ledger import Ledger
from mlgitops.machinery import Machinery
from mlgitops.release import Record, ReleaseError, facts
from mlgitops.release.facts import Period

PERIOD = ("environment", "version", "manifest_sha256", "began", "until", "verdict")
NUMBERS = ("metric", "statistic", "value", "operator", "limit", "unit")


@dataclass(frozen=True)
class Threshold:
    """One check of what served in a period."""

    period: Period
    check: Check
    rules_sha: str  # the commit of main whose rules they are
    machinery: str
    overruled_by: str

    def columns(self) -> dict[str, object]:
        """Return it as columns of a file, numbers as they were compared."""
        low, high = self.check.interval or (None, None)
        return {
            **{name: getattr(self.period, name) for name in PERIOD},
            "rules_sha": self.rules_sha,
            "machinery": self.machinery,
            "check": self.check.id,
            **{name: getattr(self.check, name) for name in NUMBERS},
            "low": low,
            "high": high,
            "passed": self.check.passed,
            "overruled_by": self.overruled_by,
        }


def held(ledger: Ledger, date: str | None) -> list[Threshold]:
    """Return the thresholds of all that served, or served on a day or in a month.

    Raises:
        ReleaseError: nothing served then, or its verdict cannot be read.
    """
    periods = [
        period
        for environment in ledger.environments()
        for period in facts.served(ledger.history(environment))
        if not date or facts.covers(period, date)
    ]
    if not periods:
        raise ReleaseError(f"nothing was deployed {f'in {date}' if date else 'yet'}")
    numbers, there = defaultdict[str, list[int]](list), set(ledger.paths("verdicts/"))
    for number, period in enumerate(periods):
        numbers[period.verdict or ""].append(number)
    by_number = dict[int, list[Threshold]]()
    for path, data in ledger.each(path for path in numbers if path in there):
        verdict = json.loads(data)
        by_number |= {n: list(of(periods[n], verdict)) for n in numbers[path]}
    unread = (n for n in range(len(periods)) if n not in by_number)
    by_number |= {n: list(of(periods[n], None)) for n in unread}
    return [threshold for n in range(len(periods)) for threshold in by_number[n]]


def of(period: Period, verdict: Record | None) -> Iterator[Threshold]:
    """Give the checks of the verdict that allowed a deployment.

    Raises:
        ReleaseError: there is none, or it cannot be read.
    """
    if verdict is None:
        raise ReleaseError(
            f"the ledger lacks the verdict of {period.version} in {period.environment}"
        )
    try:
        judged = checks(verdict["checks"])
    except (KeyError, ValueError) as error:
        raise ReleaseError(f"{period.verdict} cannot be read: {error}") from error
    judge, override = verdict.get("machinery"), verdict.get("override") or {}
    machinery = Machinery(judge["version"], tuple(judge["modified"])) if judge else None
    for check in judged:
        overruled = check.id in override.get("checks", ())
        yield Threshold(
            period,
            check,
            rules_sha=str(verdict.get("rules_sha") or ""),
            machinery=str(machinery or "unknown"),
            overruled_by=str(override["by"]) if overruled else "",
        )


def write(thresholds: Sequence[Threshold], file: Path) -> None:
    """Write every number with all its digits, for a spreadsheet."""
    rows = [threshold.columns() for threshold in thresholds]
    file.parent.mkdir(exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0] if rows else ())
        writer.writeheader()
        writer.writerows(rows)


def table(thresholds: Sequence[Threshold]) -> str:
    """Return the thresholds that are numbers, as Markdown; what served once a row."""
    rows = []
    for threshold in thresholds:
        period, check = threshold.period, threshold.check
        if check.limit is None:
            continue
        passed = "yes" if check.passed else "no"
        if threshold.overruled_by:
            passed = f"overruled by {report.text(threshold.overruled_by)}"
        metric = f" of {report.text(check.metric)}" if check.metric else ""
        rows.append(
            [
                period.environment,
                period.version,
                f"{period.began[:16]} to {(period.until or 'now')[:16]}",
                report.code(check.id, 100),
                f"{check.statistic}{metric}",
                "none" if check.value is None else f"{check.value:.6g}",
                f"{check.operator} {check.limit:.6g} {report.text(check.unit)}".strip(),
                passed,
                report.text(threshold.machinery),
            ]
        )
    header = ["where", "version", "served", "check", "compared", "value", "limit"]
    return report.table([*header, "passed", "judged by"], rows)
