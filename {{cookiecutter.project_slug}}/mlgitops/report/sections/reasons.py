"""What the models look at, and why some rows are decided otherwise."""

from mlgitops.judgement import Dependence, Fall
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import answer, code, label, size, table


def importance(facts: Facts) -> str:
    """How much the primary metric falls when a column is shuffled, largest first."""
    rows = [
        [code(row.column), _fall(row.champion), _fall(row.challenger)]
        for row in facts.found.importance
    ]
    if not rows:
        return ""
    words = f"Fall of {label(facts)} when a column is shuffled: "
    words += "mean, least to most.\n\n"
    return words + table(["Column", "Champion", "Challenger"], rows)


def _fall(values: Fall | None) -> str:
    """Return a column's importance, or that the model does not have it."""
    if values is None:
        return "not used"
    mean, least, most = values
    return f"{mean:.4f} ({least:.4f} to {most:.4f})"


def dependence(facts: Facts) -> str:
    """The mean answer with a column set to each of a few values."""
    parts = []
    for row in facts.found.dependence:
        sides = _sides(row)
        cells = [
            [code(place), *(size(values[n]) for values in sides.values())]
            for n, place in enumerate(row.places)
        ]
        of = [f"{who}: {code(row.of)}" if row.of else who for who in sides]
        parts.append(table([code(row.column), *of], cells))
    words = "Mean answer with the column set to a value, all else as it is.\n\n"
    return words + "\n\n".join(parts) if parts else ""


def dependence_plot(facts: Facts) -> str:
    """The mean answer by the value of a column."""
    return "".join(
        plots.lines(
            row.column,
            "mean answer",
            {who: list(enumerate(values)) for who, values in _sides(row).items()},
            row.places,
        )
        for row in facts.found.dependence
    )


def _sides(row: Dependence) -> dict[str, list[float]]:
    """Return the mean answers of the models that have the column."""
    both = {"champion": row.champion, "challenger": row.challenger}
    return {who: values for who, values in both.items() if values}


def flips(facts: Facts) -> str:
    """A few rows that the models decide differently, with what moved the challenger."""
    rows = [
        [
            answer(flip.champion),
            answer(flip.challenger),
            _truth(flip.truth),
            ", ".join(
                f"{code(f'{r.column} = {r.value}')} {r.moved:+.3f}"
                for r in flip.reasons
            ),
        ]
        for flip in facts.found.flips
    ]
    header = ["Champion", "Challenger", "Truth", "What moved the challenger"]
    return table(header, rows) if rows else ""


def _truth(value: int | float | str) -> str:
    """Return a truth for people: 0 or 1, a class, or a number."""
    if isinstance(value, str):
        return code(value)
    return str(value) if isinstance(value, int) else size(value)
