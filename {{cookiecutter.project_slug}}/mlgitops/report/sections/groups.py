"""Where the challenger does worse, and how alike groups are treated."""

from mlgitops.judgement import Fairness
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, interval, number, signed, table, text

ODDS = "true positive rate"  # where it is held alike, the equalized odds are


def slices(facts: Facts) -> str:
    """Where the challenger does worst, of all that was looked at."""
    found = facts.found.slices
    if not found or not found.rows:
        return ""
    rows = [
        [
            f"{text(r.column)}: {text(r.value)}",
            f"{r.rows:,}",
            number(r.champion),
            number(r.challenger),
            signed(r.difference),
            ("⛔ surely worse, " if r.failed else "") + interval(r),
        ]
        for r in found.rows
    ]
    words = (
        f"The worst {len(rows)} of {found.looked_at} slices by "
        f"{text(found.metric)} (lower is better).\n\n"
    )
    header = ["Slice", "Rows", "Champion", "Challenger", "Difference", "Interval"]
    return words + table(header, rows)


def slices_plot(facts: Facts) -> str:
    """The difference in every slice that is listed, on one scale."""
    found = facts.found.slices
    rows = [
        plots.Interval(
            f"{r.column}: {r.value}",
            r.low,
            r.difference,
            r.high,
            f"{r.difference:+.4f}, {r.rows:,} rows",
            r.failed,
        )
        for r in (found.rows if found else [])
        if r.low is not None and r.difference is not None and r.high is not None
    ]
    metric = found.metric if found else ""
    return plots.intervals(rows, f"{metric}: challenger minus champion; right is worse")


def fairness(facts: Facts) -> str:
    """How alike groups are treated, column by column."""
    parts = [part for column in facts.found.fairness for part in _column(column)]
    if any(gap.rate == ODDS for c in facts.found.fairness for gap in c.gaps):
        parts.append(
            "The equalized odds difference is the larger gap of the true and the false "
            "positive rate."
        )
    return "\n\n".join(parts)


def _column(column: Fairness) -> list[str]:
    """Return the rates of a column's groups, and the gaps between them."""
    alone = column.groups[0].champion is None
    first, *rest = map(text, column.rates)
    header = ["Group", "Rows"]
    for who in ("challenger",) if alone else ("champion", "challenger"):
        header += [f"{who}: {first}", *rest]
    groups = [
        [
            code(group.group),
            f"{group.rows:,}",
            *map(number, [*(group.champion or []), *group.challenger]),
        ]
        for group in column.groups
    ]
    gaps = [
        [
            text(gap.rate),
            number(gap.champion),
            number(gap.challenger),
            interval(gap),
            f"{gap.limit:g}",
            " above ".join(map(code, gap.pair)),
        ]
        for gap in column.gaps
    ]
    columns = ["Gap", "Champion", "Challenger", "Interval", "Limit", "Widest"]
    return [f"{code(column.column)}\n\n{table(header, groups)}", table(columns, gaps)]
