"""What the models look at, and why some rows are decided otherwise."""

from mlgitops.judgement import Dependence, Fall
from mlgitops.report import plots
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, prediction, primary_label, rounded, table

SHOWN = 30  # columns whose importance is shown


def importance(facts: Facts) -> str:
    """How much the primary metric falls when a column is shuffled, largest first."""
    columns, more = facts.judgement.importance[:SHOWN], ""
    rest = facts.judgement.importance[SHOWN:]
    if rest:
        mean = max((row.challenger[0] for row in rest if row.challenger), default=0.0)
        more = f"\n\n{len(rest):,} more columns: {mean:.4f} at most."
    if texts := [name for name in facts.judgement.texts if name in shown(facts)]:
        listed = ", ".join(map(code, texts))
        more += (
            f"\n\nFree text ({listed}) is shuffled whole. It has no partial dependence "
            "and no slices, as hardly two texts are alike."
        )
    alone = all(row.champion is None for row in columns)
    header = ["Column", *(() if alone else ("Champion",)), "Challenger"]
    rows = [
        [
            code(row.column),
            *(() if alone else (_fall(row.champion),)),
            _fall(row.challenger),
        ]
        for row in columns
    ]
    metric = primary_label(facts)
    intro = (
        f"How much {metric} falls when a column is shuffled: mean (smallest to largest "
        "of a few shuffles). With a value below zero it rises.\n\n"
    )
    return intro + table(header, rows) + more if rows else ""


def shown(facts: Facts) -> set[str]:
    """Return the columns that a model uses."""
    return {row.column for row in facts.judgement.importance}


def _fall(fall: Fall | None) -> str:
    """Return a column's importance, or that the model does not have it."""
    return "{:.4f} ({:.4f} to {:.4f})".format(*fall) if fall else "not used"


def dependence(facts: Facts) -> str:
    """The mean prediction with a column set to each of a few values."""
    parts = []
    for row in facts.judgement.dependence:
        models = _models(row)
        cells = (
            [code(value), *(rounded(means[n]) for means in models.values())]
            for n, value in enumerate(row.places)
        )
        of = f": {code(row.of)}" if row.of else ""
        header = [code(row.column), *(f"{name}{of}" for name in models)]
        parts.append(table(header, cells))
    intro = "Mean prediction with the column set to a value, all else as it is."
    return "\n\n".join([intro, *parts]) if parts else ""


def dependence_plot(facts: Facts) -> str:
    """The mean prediction by the value of a column."""
    drawn = ""
    for row in facts.judgement.dependence:
        models = {name: list(enumerate(means)) for name, means in _models(row).items()}
        lines = plots.of_models(models)
        drawn += plots.lines(row.column, "mean prediction", lines, row.places)
    return drawn


def _models(row: Dependence) -> dict[str, list[float]]:
    """Return the mean predictions of the models that have the column."""
    means = {"champion": row.champion, "challenger": row.challenger}
    return {name: values for name, values in means.items() if values}


def flips(facts: Facts) -> str:
    """A few rows that the models decide differently, with what moved the challenger."""
    rows = []
    for flip in facts.judgement.flips:
        reasons = (
            f"{code(f'{reason.column} = {reason.value}')} {reason.moved:+.3f}"
            for reason in flip.reasons
        )
        answers = [prediction(flip.champion), prediction(flip.challenger)]
        rows.append([*answers, _truth(flip.truth), ", ".join(reasons)])
    header = ["Champion", "Challenger", "Truth", "What moved the challenger"]
    return table(header, rows)


def _truth(truth: int | float | str) -> str:
    """Return a truth for people: 0 or 1, a class, or a number."""
    if isinstance(truth, str):
        return code(truth)
    return str(truth) if isinstance(truth, int) else rounded(truth)
