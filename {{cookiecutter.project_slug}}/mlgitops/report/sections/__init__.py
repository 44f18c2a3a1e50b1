"""The collapsed sections of the report: facts in, Markdown out, or nothing."""

from collections.abc import Mapping
from typing import Any

from mlgitops.report.sections import (
    changes,
    decisions,
    groups,
    performance,
    reasons,
    record,
)

Facts = Mapping[str, Any]


def sections(facts: Facts) -> list[tuple[str, str]]:
    """Return title and body of every section, in order; a body may be empty."""
    return [
        ("More to look at", record.more(facts.get("cautions"))),
        ("Metrics", performance.measures(facts)),
        ("Calibration", performance.calibration(facts.get("calibration"))),
        ("ROC curve", performance.roc(facts.get("roc"))),
        ("What is left over", performance.residuals(facts.get("residuals"))),
        ("Decisions", decisions.decisions(facts)),
        ("Slices", groups.slices(facts.get("slices"))),
        ("Fairness", groups.fairness(facts.get("fairness"))),
        ("What the models look at", reasons.importance(facts)),
        ("How answers depend on it", reasons.dependence(facts.get("dependence"))),
        ("Decisions that would flip, and why", reasons.flips(facts.get("flips"))),
        ("Production's newest requests, decided again", decisions.replay(facts)),
        ("Latency and size", record.footprint(facts.get("footprint"))),
        ("Data changes since the champion", changes.changes(facts.get("changes"))),
        ("Checks", record.all_checks(facts.get("checks"))),
        ("Data", record.pairs(facts.get("rows"))),
        (
            "Settings that differ from the champion's",
            record.params(facts.get("params")),
        ),
        ("How it was built", record.pairs(facts.get("build"))),
        (record.last(facts), record.reproduce(facts)),
    ]
