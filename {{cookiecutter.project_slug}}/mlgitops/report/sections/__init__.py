"""The sections of the report, each with its plot: one entry for each."""

from collections.abc import Callable
from typing import NamedTuple

from mlgitops.report.facts import Facts
from mlgitops.report.sections import (
    changes,
    decisions,
    groups,
    intervals,
    mitigation,
    performance,
    reasons,
    record,
    shadow,
)


class Section(NamedTuple):
    """A section: Markdown of the facts, or nothing; and what the page draws of it."""

    id: str
    title: str
    body: Callable[[Facts], str]
    plot: Callable[[Facts], str] | None = None
    open: bool = False


SECTIONS = (
    Section("cautions", "More cautions", record.more),
    Section("metrics", "Metrics", performance.metrics, performance.metrics_plot, True),
    Section(
        "calibration",
        "Calibration",
        performance.calibration,
        performance.calibration_plot,
        True,
    ),
    Section("roc", "ROC curve", performance.roc, performance.roc_plot),
    Section(
        "residuals",
        "Residuals",
        performance.residuals,
        performance.residuals_plot,
        True,
    ),
    Section("decisions", "Decisions", decisions.decisions),
    Section(
        "intervals", "Intervals", intervals.intervals, intervals.intervals_plot, True
    ),
    Section("slices", "Slices", groups.slices, groups.slices_plot),
    Section("fairness", "Fairness", groups.fairness, mitigation.plot),
    Section("importance", "Feature importance", reasons.importance),
    Section(
        "dependence",
        "Partial dependence",
        reasons.dependence,
        reasons.dependence_plot,
    ),
    Section("flips", "Decisions that would flip, and why", reasons.flips),
    Section("replay", "Production's newest requests, decided again", decisions.replay),
    Section("shadow", "A shadow on production's requests", shadow.shadow),
    Section("footprint", "Latency and size", record.footprint),
    Section("changes", "Data changes since the champion", changes.changes),
    Section("checks", "Checks", lambda facts: record.all_checks(facts.checks)),
    Section("rows", "Data", record.rows),
    Section("params", "Settings that differ from the champion's", record.params),
    Section("build", "How it was built", record.build),
    Section("reproduce", "Reproduce this", record.reproduce),
    Section("override", "Overrule this", record.overrule),
)
