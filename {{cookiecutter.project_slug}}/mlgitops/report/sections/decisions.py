"""What is decided and what that is worth, on the holdout and in production."""

from mlgitops.judgement import (
    Business,
    ChosenThreshold,
    ClassMoves,
    DecisionValue,
    Matrix,
    NumberMoves,
    Replay,
)
from mlgitops.report.facts import Facts
from mlgitops.report.text import (
    NAMED_CLASSES,
    code,
    grouping,
    interval,
    rounded,
    shares,
    table,
    text,
)

MATRIX = 8  # classes up to which every cell of the matrix of decisions is shown


def decisions(facts: Facts) -> str:
    """What is decided at each model's threshold, and what that is worth."""
    matrices = facts.by_model(lambda curves: curves.matrix)
    parts = [_matrix(name, matrix) for name, matrix in matrices.items()]
    rows = []
    for name, counts in facts.by_model(lambda curves: curves.confusion).items():
        positive = (counts.true_positive, counts.false_positive)
        negative = (counts.false_negative, counts.true_negative)
        cells = (f"{count:,}" for count in (*positive, *negative))
        rows.append([name, f"{counts.threshold:g}", *cells])
    header = ["Model", "Threshold", "True positive", "False positive"]
    parts.append(table([*header, "False negative", "True negative"], rows))
    if test := facts.judgement.mcnemar:
        significance = "a difference" if test.p < 0.05 else "no significant difference"
        parts.append(
            f"Only the champion is right on {test.only_champion_right:,} rows, only "
            f"the challenger on {test.only_challenger_right:,}: {significance} "
            f"(McNemar's exact test{grouping(facts).rstrip(',')}, p = {test.p:.2g})."
        )
    if chosen := facts.judgement.chosen_threshold:
        parts.append(_chosen(chosen))
    if worth := facts.judgement.business:
        parts.append(_worth(worth))
    if share := facts.judgement.decision_value:
        parts.append(_decision_value(share))
    stated = facts.judgement.intervals
    if stated and stated.challenger and stated.challenger.abstention:
        parts.append(
            "The challenger abstains on some rows. They count here as what it would "
            "decide; see Intervals for the rows that it decides."
        )
    return "\n\n".join(part for part in parts if part)


def _chosen(chosen: ChosenThreshold) -> str:
    """By what the challenger's threshold was chosen."""
    return (
        f"The challenger's threshold {chosen.threshold:g} was chosen by the build "
        "(`threshold: best`), by what the proposal's section business says: it was "
        f"worth most of all on {chosen.rows:,} training rows, each predicted by a "
        f"model that was not fitted on it, {chosen.worth:,.0f} {text(chosen.unit, 30)} "
        f"per {chosen.per:,} decisions. The holdout had no part in the choice."
    )


def _worth(worth: Business) -> str:
    """What the decisions are worth, and what another threshold would bring."""
    unit, best = text(worth.unit, 30), worth.best
    sentence = f"Worth {worth.challenger:,.0f} {unit} per {worth.per:,} decisions"
    if worth.champion is not None:
        sentence += (
            f" (champion {worth.champion:,.0f}, difference "
            f"{worth.difference:+,.0f}, interval {interval(worth, 0)})"
        )
    elif worth.nothing is not None and worth.difference is not None:
        sentence += (
            f" (doing nothing {worth.nothing:,.0f}, difference "
            f"{worth.difference:+,.0f}, interval {interval(worth, 0)})"
        )
    if best.shift is not None:
        return (
            f"{sentence}. On these rows, adding {best.shift:+.4g} to every prediction "
            f"would be worth most, {best.best:,.0f}."
        )
    if best.expected:
        return (
            f"{sentence}. Deciding by expected worth, not by the likeliest class, "
            f"would be worth {best.best:,.0f}."
        )
    return (
        f"{sentence}. The threshold is {best.threshold:g}; on these rows "
        f"{best.best_threshold:.3f} would be worth most, {best.best:,.0f}."
    )


def _decision_value(value: DecisionValue) -> str:
    """What share of their worth the decisions have, and what a mistake costs."""
    compared = f"interval {interval(value, 3)}"
    if value.champion is not None:
        compared = (
            f"champion {value.champion:.3f}, difference {value.difference:+.3f}, "
            f"{compared}"
        )
    costs = "Every mistake costs the same"
    if value.stated:
        costs = "What decisions are worth is that of the section business"
    elif value.threshold is not None:
        costs = (
            f"Main's threshold {value.threshold:g} says what mistakes cost: "
            f"{value.threshold:g} a false positive, {1 - value.threshold:g} a false "
            "negative"
        )
    return (
        f"Decision value {value.challenger:.3f} ({compared}): 0 is deciding "
        f"{code(value.constant)} for every row, 1 is the best decision on each. "
        f"{costs}."
    )


def _matrix(model: str, matrix: Matrix) -> str:
    """What is decided for each true class; of many classes, the commonest mistakes."""
    classes, cells = matrix.classes, matrix.cells
    if len(classes) <= MATRIX:
        rows = (
            [code(name), *(f"{count:,}" for count in row)]
            for name, row in zip(classes, cells, strict=True)
        )
        header = [f"{model}: true class", *(f"→ {code(name)}" for name in classes)]
        return table(header, rows)
    mistakes = sorted(
        (-count, classes[true], classes[decided])
        for true, row in enumerate(cells)
        for decided, count in enumerate(row)
        if true != decided and count
    )
    rows = ([code(a), code(b), f"{-n:,}"] for n, a, b in mistakes[:NAMED_CLASSES])
    header = [f"{model}: true class", "decided", "Rows"]
    return f"Most frequent mistakes:\n\n{table(header, rows)}"


def replay(facts: Facts) -> str:
    """How many decisions would flip, which way, for whom."""
    replay = facts.judgement.replay
    if replay is None or replay.moves is None:
        reason = replay.why if replay else facts.no_replay
        return f"Not known: {text(reason, 300)}." if reason else ""
    numbers, rows = isinstance(replay.moves, NumberMoves), []
    for group in replay.groups:
        share = group.flips / group.requests
        moved = [rounded(share)] if numbers else [f"{group.flips:,.0f}", f"{share:.1%}"]
        name = f"{code(group.column)} {code(group.value)}"
        rows.append([name, f"{group.requests:,}", *moved])
    header = ["Most affected", "Requests"]
    header += ["Mean change, either way"] if numbers else ["Flips", "Share"]
    unreadable = ""
    if (count := replay.unreadable) > 0:
        lines = "1 more line" if count == 1 else f"{count:,} more lines"
        unreadable = f" {lines} of the log cannot be used."
    return (
        f"Of the newest {replay.requests:,} requests (until {text(replay.until)}), "
        f"{_moved(replay)}{unreadable}\n\n{table(header, rows)}"
    ).rstrip()


def _moved(replay: Replay) -> str:
    """How the two models' decisions on the same requests differ."""
    count, moves = replay.requests, replay.moves
    assert moves is not None
    if isinstance(moves, NumberMoves):
        (mean, median, upper), (champion, challenger) = moves.change, moves.mean
        return (
            f"{moves.up:,} would be predicted higher and {moves.down:,} lower: by "
            f"{mean:+.4g} on average, half of them by more than {median:.4g}, one in "
            f"ten by more than {upper:.4g}. The mean prediction goes "
            f"{champion:.4g} → {challenger:.4g}."
        )
    if isinstance(moves, ClassMoves):
        ways = ", ".join(
            f"{n:,} from {code(a)} to {code(b)}" for a, b, n in moves.moves
        )
        return (
            f"{moves.flips:,} ({moves.flips / count:.1%}) would be decided otherwise"
            f"{': ' if ways else ''}{ways}. Decided are {shares(moves.shares)}."
        )
    flips, (champion, challenger) = moves.to_yes + moves.to_no, moves.yes
    return (
        f"{flips:,} ({flips / count:.1%}) would be decided otherwise: "
        f"{moves.to_yes:,} from no to yes, {moves.to_no:,} from yes to no. The share "
        f"decided yes goes {champion:.1%} → {challenger:.1%}."
    )
