"""What is decided and what that is worth, on the holdout and in production."""

from mlgitops.judgement import (
    Affected,
    Business,
    ClassMoves,
    Matrix,
    NumberMoves,
    Replay,
)
from mlgitops.report.facts import Facts
from mlgitops.report.text import MIXED, by, code, interval, size, table, text

MATRIX = 8  # classes up to which every cell of the matrix of decisions is shown


def decisions(facts: Facts) -> str:
    """What is decided at each model's threshold, and what that is worth."""
    curves = list(facts.found.curves.items()) if facts.found.curves else []
    parts = [_matrix(who, each.matrix) for who, each in curves if each.matrix]
    rows = [
        [
            who,
            f"{c.threshold:g}",
            f"{c.true_positive:,}",
            f"{c.false_positive:,}",
            f"{c.false_negative:,}",
            f"{c.true_negative:,}",
        ]
        for who, each in curves
        if (c := each.confusion)
    ]
    if rows:
        header = ["Model", "Threshold", "True positive", "False positive"]
        parts.append(table([*header, "False negative", "True negative"], rows))
    if test := facts.found.mcnemar:
        surely = "a difference" if test.p < 0.05 else "no significant difference"
        parts.append(
            f"Only the champion is right on {test.only_champion_right:,} rows, only "
            f"the challenger on {test.only_challenger_right:,}: {surely} "
            f"(McNemar's exact test{by(facts).rstrip(',')}, p = {test.p:.2g})."
        )
    if worth := facts.found.business:
        parts.append(_worth(worth))
    return "\n\n".join(parts)


def _worth(worth: Business) -> str:
    """What the decisions are worth, and what another threshold would bring."""
    unit, best = text(worth.unit, 30), worth.best
    words = f"Worth {worth.challenger:,.0f} {unit} per {worth.per:,} decisions"
    if worth.champion is not None:
        words += (
            f" (champion {worth.champion:,.0f}, difference "
            f"{worth.difference:+,.0f}, interval {interval(worth, 0)})"
        )
    most = f"{best.best:,.0f}"
    if best.shift is not None:
        return (
            f"{words}. On these rows, {best.shift:+.4g} to every answer would be "
            f"worth most, {most}."
        )
    if best.expected:
        return (
            f"{words}. Deciding by the worth that is expected, not by the likeliest "
            f"class, would be worth {most}."
        )
    return (
        f"{words}. On these rows the threshold {best.best_threshold:.3f} would be "
        f"worth most, {most}; it is {best.threshold:g}."
    )


def _matrix(who: str, matrix: Matrix) -> str:
    """What is decided for each true class; of many classes, what is mixed up most."""
    classes, cells = matrix.classes, matrix.cells
    if len(classes) <= MATRIX:
        rows = [
            [code(name), *(f"{count:,}" for count in row)]
            for name, row in zip(classes, cells, strict=True)
        ]
        head = [f"{who}: true class", *(f"→ {code(name)}" for name in classes)]
        return table(head, rows)
    mixed = sorted(
        (-count, classes[a], classes[b])
        for a, row in enumerate(cells)
        for b, count in enumerate(row)
        if a != b and count
    )
    rows = [[code(a), code(b), f"{-n:,}"] for n, a, b in mixed[:MIXED]]
    return f"Mixed up most:\n\n{table([f'{who}: true class', 'decided', 'Rows'], rows)}"


def replay(facts: Facts) -> str:
    """How many decisions would flip, which way, for whom."""
    found = facts.found.replay
    if found is None or found.moves is None:
        why = found.why if found else facts.unplayed
        return f"Not known: {text(why, 300)}." if why else ""
    words = (
        f"Of the newest {found.requests:,} requests (until {text(found.until)}), "
        f"{_moved(found)}"
    )
    moved = isinstance(found.moves, NumberMoves)
    rows = [_affected(group, moved) for group in found.groups]
    header = ["Who is affected most", "Requests"]
    header += ["Mean change, either way"] if moved else ["Flips", "Share"]
    return f"{words}\n\n{table(header, rows)}" if rows else words


def _affected(group: Affected, moved: bool) -> list[str]:
    """Return the row of a category whose requests flip, or move."""
    who, share = (
        f"{code(group.column)} {code(group.value)}",
        group.flips / group.requests,
    )
    if moved:
        return [who, f"{group.requests:,}", size(share)]
    return [who, f"{group.requests:,}", f"{group.flips:,.0f}", f"{share:.1%}"]


def _moved(found: Replay) -> str:
    """How the two models' decisions on the same requests differ."""
    count, moves = found.requests, found.moves
    assert moves is not None
    if isinstance(moves, NumberMoves):
        (mean, middle, most), (old, new) = moves.change, moves.mean
        return (
            f"{moves.up:,} would be answered higher and {moves.down:,} lower: by "
            f"{mean:+.4g} on average, half of them by more than {middle:.4g}, one in "
            f"ten by more than {most:.4g}. The mean answer goes {old:.4g} → {new:.4g}."
        )
    if isinstance(moves, ClassMoves):
        which = ", ".join(
            f"{n:,} from {code(a)} to {code(b)}" for a, b, n in moves.moves
        )
        shares = ", ".join(
            f"{code(name)} {old:.1%} → {new:.1%}"
            for name, old, new in moves.shares[:MIXED]
        )
        return (
            f"{moves.flips:,} ({moves.flips / count:.1%}) would be decided otherwise"
            f"{': ' if which else ''}{which}. Decided are {shares}."
        )
    flips, (old, new) = moves.to_yes + moves.to_no, moves.yes
    return (
        f"{flips:,} ({flips / count:.1%}) would be decided otherwise: "
        f"{moves.to_yes:,} from no to yes, {moves.to_no:,} from yes to no. Yes "
        f"is said to {old:.1%} → {new:.1%}."
    )
