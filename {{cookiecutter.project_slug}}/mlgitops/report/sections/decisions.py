"""What is decided and what that is worth, on the holdout and in production."""

from collections.abc import Mapping
from typing import Any

from mlgitops.report.text import MIXED, answer, by, code, interval, table, text

Facts = Mapping[str, Any]
MATRIX = 8  # classes up to which every cell of the matrix of decisions is shown


def decisions(facts: Facts) -> str:
    """What is decided at each model's threshold, and what that is worth."""
    parts = _matrix(facts.get("matrix"))
    rows = [
        [
            who,
            f"{c['threshold']:g}",
            f"{c['true_positive']:,}",
            f"{c['false_positive']:,}",
            f"{c['false_negative']:,}",
            f"{c['true_negative']:,}",
        ]
        for who, c in (facts.get("confusion") or {}).items()
    ]
    if rows:
        header = ["Model", "Threshold", "True positive", "False positive"]
        parts.append(table([*header, "False negative", "True negative"], rows))
    if test := facts.get("mcnemar"):
        surely = "a difference" if test["p"] < 0.05 else "no significant difference"
        parts.append(
            f"Only the champion is right on {test['only_champion_right']:,} rows, only "
            f"the challenger on {test['only_challenger_right']:,}: {surely} "
            f"({_test(facts)}, p = {test['p']:.2g})."
        )
    if worth := facts.get("business"):
        parts.append(_worth(worth))
    return "\n\n".join(parts)


def _test(facts: Facts) -> str:
    """Name the test; by entity it is of what each won and lost."""
    return f"McNemar's exact test{by(facts).rstrip(',')}"


def _worth(worth: Facts) -> str:
    """What the decisions are worth, and what another threshold would bring."""
    unit = text(worth["unit"], 30)
    words = f"Worth {worth['challenger']:,.0f} {unit} per {worth['per']:,} decisions"
    if worth.get("champion") is not None:
        words += (
            f" (champion {worth['champion']:,.0f}, difference "
            f"{worth['difference']:+,.0f}, interval {interval(worth, 0)})"
        )
    best = f"{worth['best']:,.0f}"
    if "shift" in worth:
        return (
            f"{words}. On these rows, {worth['shift']:+.4g} to every answer would be "
            f"worth most, {best}."
        )
    if "expected" in worth:
        return (
            f"{words}. Deciding by the worth that is expected, not by the likeliest "
            f"class, would be worth {best}."
        )
    return (
        f"{words}. On these rows the threshold {worth['best_threshold']:.3f} would be "
        f"worth most, {best}; it is {worth['threshold']:g}."
    )


def _matrix(found: Mapping[str, Facts] | None) -> list[str]:
    """What is decided for each true class; of many classes, what is mixed up most."""
    parts = []
    for who, matrix in (found or {}).items():
        classes, cells = matrix["classes"], matrix["cells"]
        if len(classes) <= MATRIX:
            rows = [
                [code(name), *(f"{count:,}" for count in row)]
                for name, row in zip(classes, cells, strict=True)
            ]
            head = [f"{who}: true class", *(f"→ {code(name)}" for name in classes)]
            parts.append(table(head, rows))
            continue
        mixed = sorted(
            (-count, classes[a], classes[b])
            for a, row in enumerate(cells)
            for b, count in enumerate(row)
            if a != b and count
        )
        rows = [[code(a), code(b), f"{-n:,}"] for n, a, b in mixed[:MIXED]]
        head = [f"{who}: true class", "decided", "Rows"]
        parts.append(f"Mixed up most:\n\n{table(head, rows)}")
    return parts


def replay(facts: Facts) -> str:
    """How many decisions would flip, which way, for whom."""
    found = facts.get("replay")
    if found is None or "why" in found:
        why = found["why"] if found else facts.get("unplayed")
        return f"Not known: {text(why, 300)}." if why else ""
    words = (
        f"Of the newest {found['requests']:,} requests (until {text(found['until'])}), "
        f"{_moved(found)}"
    )
    moved = "change" in found
    rows = [
        [
            f"{code(g['column'])} {code(g['value'])}",
            f"{g['requests']:,}",
            *([] if moved else [f"{g['flips']:,.0f}"]),
            answer(g["flips"] / g["requests"])
            if moved
            else f"{g['flips'] / g['requests']:.1%}",
        ]
        for g in found["groups"]
    ]
    header = ["Who is affected most", "Requests"]
    header += ["Mean change, either way"] if moved else ["Flips", "Share"]
    return f"{words}\n\n{table(header, rows)}" if rows else words


def _moved(found: Facts) -> str:
    """How the two models' decisions on the same requests differ."""
    count = found["requests"]
    if "change" in found:
        (mean, middle, most), (old, new) = found["change"], found["mean"]
        return (
            f"{found['up']:,} would be answered higher and {found['down']:,} lower: by "
            f"{mean:+.4g} on average, half of them by more than {middle:.4g}, one in "
            f"ten by more than {most:.4g}. The mean answer goes {old:.4g} → {new:.4g}."
        )
    if "moves" in found:
        flips, moves = found["flips"], found["moves"]
        which = ", ".join(f"{n:,} from {code(a)} to {code(b)}" for a, b, n in moves)
        shares = ", ".join(
            f"{code(name)} {old:.1%} → {new:.1%}"
            for name, old, new in found["shares"][:MIXED]
        )
        return (
            f"{flips:,} ({flips / count:.1%}) would be decided otherwise"
            f"{': ' if moves else ''}{which}. Decided are {shares}."
        )
    flips, (old, new) = found["to_yes"] + found["to_no"], found["yes"]
    return (
        f"{flips:,} ({flips / count:.1%}) would be decided otherwise: "
        f"{found['to_yes']:,} from no to yes, {found['to_no']:,} from yes to no. Yes "
        f"is said to {old:.1%} → {new:.1%}."
    )
