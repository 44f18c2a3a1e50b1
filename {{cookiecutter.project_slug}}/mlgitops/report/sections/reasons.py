"""What the models look at, and why some rows are decided otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops.report.text import answer, code, label, table

Facts = Mapping[str, Any]


def importance(facts: Facts) -> str:
    """How much the headline falls when a column is shuffled, largest first."""
    rows = [
        [
            code(row["column"]),
            *(_fall(row.get(who)) for who in ("champion", "challenger")),
        ]
        for row in facts.get("importance") or []
    ]
    if not rows:
        return ""
    words = f"Fall of {label(facts)} when a column is shuffled: "
    words += "mean, least to most.\n\n"
    return words + table(["Column", "Champion", "Challenger"], rows)


def _fall(values: Sequence[float] | None) -> str:
    """Return a column's importance, or that the model does not have it."""
    if values is None:
        return "not used"
    mean, least, most = values
    return f"{mean:.4f} ({least:.4f} to {most:.4f})"


def dependence(found: Sequence[Facts] | None) -> str:
    """The mean answer with a column set to each of a few values."""
    parts = []
    for row in found or []:
        sides = [who for who in ("champion", "challenger") if row.get(who)]
        cells = [
            [code(place), *(answer(row[who][n]) for who in sides)]
            for n, place in enumerate(row["places"])
        ]
        of = [f"{who}: {code(row['of'])}" for who in sides] if "of" in row else sides
        parts.append(table([code(row["column"]), *of], cells))
    words = "Mean answer with the column set to a value, all else as it is.\n\n"
    return words + "\n\n".join(parts) if parts else ""


def flips(found: Sequence[Facts] | None) -> str:
    """A few rows that the models decide differently, with what moved the challenger."""
    rows = [
        [
            answer(flip["champion"]),
            answer(flip["challenger"]),
            _truth(flip["truth"]),
            ", ".join(f"{code(f'{n} = {v}')} {m:+.3f}" for n, v, m in flip["reasons"]),
        ]
        for flip in found or []
    ]
    header = ["Champion", "Challenger", "Truth", "What moved the challenger"]
    return table(header, rows) if rows else ""


def _truth(value: Any) -> str:
    """Return a truth for people: 0 or 1, a class, or a number."""
    if isinstance(value, str):
        return code(value)
    return str(value) if isinstance(value, int) else answer(value)
