"""What is said beside a prediction: how often it holds, and how much it says."""

from mlgitops.judgement import Abstention, Covered, Intervals
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import rounded, table, text


def intervals(facts: Facts) -> str:
    """Coverage and size on the holdout, of both models and of parts of the rows."""
    both = facts.judgement.intervals
    models = {n: m for n, m in both.items() if m is not None} if both else {}
    if not models:
        return ""
    sets = any(found.sets for found in models.values())
    rows = [
        [name, *_cells(found.every, found.promised)] for name, found in models.items()
    ]
    if mine := models.get("challenger"):
        rows += [
            [text(part.group, 80), *_cells(part, mine.promised)] for part in mine.groups
        ]
    size = "Mean classes in a set" if sets else "Mean width"
    header = ["Of", "Rows", "Promised", "Inside", "Interval", size]
    parts = [table(header, rows)]
    if mine:
        parts += [_how(facts, mine), _abstention(facts, mine.abstention)]
    return "\n\n".join(part for part in parts if part)


def _cells(part: Covered, promised: float) -> list[str]:
    """Return the cells of one row."""
    ends = f"{part.low:.1%} to {part.high:.1%}"
    cells = [f"{part.rows:,}", f"{promised:.4g}", f"{part.coverage:.1%}", ends]
    return [*cells, rounded(part.size)]


def _how(facts: Facts, found: Intervals) -> str:
    """Say how they are made, and what they do not promise."""
    said = "the set of each row" if found.sets else "the interval of each row"
    parts = "each class" if found.sets else "each part of the rows"
    over = f"over all rows: nothing is promised for {parts}"
    if found.by_class:
        over = "for the rows of each class"
    return (
        f"The truth is to be in {said} with the chance {found.promised:.6g}, "
        f"{over}. Split conformal, "
        f"{text(found.method)}, calibrated on {found.calibrated:,} training rows that "
        f"the build left out of the fit. Interval of the share inside: "
        f"{facts.judgement.confidence:.0%}."
    )


def _abstention(facts: Facts, found: Abstention | None) -> str:
    """Say what is decided, and how well, apart from what is not."""
    if found is None:
        return ""
    share = (found.rows - found.decided) / found.rows
    sentence = (
        f"**It abstains on {share:.1%}** of the rows, whose set has not exactly one "
        "class. "
    )
    if found.right_decided is None:
        return f"{sentence}It decides no row."
    sentence += (
        f"Of its decisions on the other {found.decided:,} rows "
        f"{found.right_decided:.1%} are right; if it decided every row, "
        f"{found.right:.1%} would be."
    )
    business = facts.judgement.business
    if found.worth is not None and business:
        sentence += (
            f" The decisions that it makes are worth {found.worth:,.0f} "
            f"{text(business.unit, 30)} per {business.per:,}. What an abstention is "
            "worth nobody has said: it is in no number here."
        )
    return sentence


def intervals_plot(facts: Facts) -> str:
    """The share inside, of all rows and of parts, beside what is promised."""
    both = facts.judgement.intervals
    found = both.challenger if both else None
    if found is None:
        return ""
    rows = [
        plots.Interval(
            part.group or "all rows",
            (
                part.low - found.promised,
                part.coverage - found.promised,
                part.high - found.promised,
            ),
            f"{part.coverage:.1%}",
            part.high < found.promised,
        )
        for part in (found.every, *found.groups)
    ]
    return plots.intervals(rows, "share inside minus the promised share")
