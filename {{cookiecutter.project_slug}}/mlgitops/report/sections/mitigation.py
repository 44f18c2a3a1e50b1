"""What a mitigation of bias gains, and what it costs: both models on the same rows."""

from mlgitops.judgement import Effect, GapEffect, Mitigation
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import grouping, table, text

HEADER = ["Mitigation", "Without", "With", "Difference", "Interval"]


def mitigation(facts: Facts) -> str:
    """Say how bias was mitigated, then what that does to gaps and to performance."""
    found = facts.judgement.mitigation
    if found is None:
        return ""
    rows = [_row(effect) for effect in (*found.gaps, *found.price)]
    parts = [_method(found, facts), "\n".join(_sentences(found)), table(HEADER, rows)]
    return "\n\n".join(parts)


def plot(facts: Facts) -> str:
    """The difference of each gap, on one scale."""
    found = facts.judgement.mitigation
    rows = [
        plots.Interval(
            f"{gap.label} gap, {gap.column}",
            (gap.low, gap.difference, gap.high),
            f"{gap.difference:+.3f}",
            gap.low > 0,
        )
        for gap in (found.gaps if found else [])
        if gap.low is not None and gap.high is not None
    ]
    across = "gap with mitigation minus gap without; left is better"
    return plots.intervals(rows, across)


def _method(found: Mitigation, facts: Facts) -> str:
    """Say what was done, and how the two models are compared."""
    low, high = found.weights
    columns = " and ".join(text(name, 40) for name in found.columns)
    threshold = ""
    if found.threshold is not None:
        threshold = f", at the same threshold, {found.threshold:g}"
        if facts.judgement.chosen_threshold is not None:
            threshold += " (it was chosen for the model with them)"
    return (
        f"**Mitigation of bias: {text(found.method)} by {columns}.** The training rows "
        f"have weights from {low:.3g} to {high:.3g}; they tell as much as "
        f"{found.worth:.0%} of as many rows without weights. The build also sent, "
        "as the same model without them, a file that is only compared here: on the "
        "same rows"
        f"{threshold}. The {facts.judgement.confidence:.0%} intervals"
        f"{grouping(facts).rstrip(',')} are paired; those of the gaps are so wide that "
        "all of them hold together."
    )


def _sentences(found: Mitigation) -> list[str]:
    """Say of each gap, and of the price, what the intervals show."""
    lines = [f"- {_gained(gap)}" for gap in found.gaps]
    if not found.lowers:
        lines.append("- **No gap is shown to be lower with the mitigation.**")
    return lines + [f"- {_paid(effect)}" for effect in found.price]


def _gained(gap: GapEffect) -> str:
    """Say whether a gap is lower with the mitigation."""
    name = f"{text(gap.label, 40)} gap between groups of {text(gap.column, 40)}"
    moves = f"from {_value(gap, gap.unmitigated)} to {_value(gap, gap.mitigated)}"
    if gap.shown < 0:
        return f"Mitigation lowers the {name} by {_amount(gap)}, {moves}."
    if gap.shown > 0:
        return f"Mitigation **raises** the {name} by {_amount(gap)}, {moves}."
    return f"Mitigation is not shown to change the {name}: {moves} ({_interval(gap)})."


def _paid(effect: Effect) -> str:
    """Say what the mitigation does to a number of which more is better."""
    name = text(effect.unit or effect.label, 60)
    if effect.shown:
        verb = "costs" if effect.shown < 0 else "gains"
        return f"Mitigation {verb} {_amount(effect, name)}."
    change = f"{_value(effect, effect.difference, '+')} ({_interval(effect)})"
    return f"Mitigation is not shown to cost or gain {name}: {change}."


def _amount(effect: Effect, name: str = "") -> str:
    """Return the size of a difference that is shown, with its interval."""
    sizes = (effect.difference, effect.low or 0.0, effect.high or 0.0)
    size, *ends = (_value(effect, abs(each)) for each in sizes)
    nearest, farthest = ends if effect.shown > 0 else reversed(ends)
    return f"{size}{name and f' {name}'} ({nearest} to {farthest})"


def _value(effect: Effect, value: float, sign: str = "") -> str:
    """Return a number as precisely as its kind is worth."""
    digits = 0 if effect.unit else 3 if isinstance(effect, GapEffect) else 4
    return f"{value:{sign},.{digits}f}"


def _interval(effect: Effect) -> str:
    """Return the interval of the difference, or why there is none."""
    if effect.low is None or effect.high is None:
        return "no interval, as too few entities have rows"
    ends = (_value(effect, end, "+") for end in (effect.low, effect.high))
    return " to ".join(ends)


def _row(effect: Effect) -> list[str]:
    """Return the cells of a table's row."""
    name = text(effect.unit or effect.label, 60)
    if isinstance(effect, GapEffect):
        name = f"{name} gap, {text(effect.column, 40)}"
    pair = (_value(effect, v) for v in (effect.unmitigated, effect.mitigated))
    return [name, *pair, _value(effect, effect.difference, "+"), _interval(effect)]
