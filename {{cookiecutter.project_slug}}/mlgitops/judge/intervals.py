"""What is said beside a prediction: does it hold as often as promised, on the holdout?

The build says the quantile; it is found again from the training table and the file.
That the model was not fitted on its calibration rows nobody can see here; a model that
was covers less of the holdout than it promises.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mlgitops import settings
from mlgitops.judge import checks, compare, evaluation
from mlgitops.judge.business import PER
from mlgitops.judge.compare import Array
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judge.tasks import Price
from mlgitops.judgement import Abstention, ByModel, Check, Covered, Intervals, Refused
from mlgitops.pipeline import data, folds, task
from mlgitops.pipeline import intervals as conformal
from mlgitops.pipeline.contract import Contract

ID, TITLE = "coverage.min", "Coverage of intervals"
PARTS = 4  # of the rows, by the prediction
FEWEST = 10  # rows of a part that is shown


def add(context: Evaluation) -> None:
    """Add how often the truth is inside, the gate on that, and what to look at.

    Raises:
        Refused: the training rows do not give the quantile that the manifest states.
    """
    judgement, rule = context.judgement, context.rules.coverage
    stated = context.each(lambda model: model.manifest.get("intervals"))
    if not any(stated.values()) and rule is None:
        return
    found = context.each(lambda model: _intervals(context, model))
    if stated["challenger"]:
        check_quantile(context, stated["challenger"])
    elif stated.get("champion"):
        judgement.cautions.append(
            "The champion says beside each prediction how far it may be off, and this "
            "model does not: clients that read `interval` or `set` will miss it."
        )
    if any(found.values()):
        judgement.intervals = ByModel(**found)
    if rule is not None:
        judgement.checks.append(_check(found["challenger"], rule.min))
    if mine := found["challenger"]:
        judgement.cautions += _cautions(mine)


def check_quantile(context: Evaluation, stated: dict[str, Any]) -> None:
    """Find the quantile again, from the training table and the exported file.

    Raises:
        Refused: it is another one, or is of another number of rows.
    """
    model = context.challenger
    try:
        own = Contract.read((model.folder / "contract.yaml").read_bytes())
        recipe = settings.trained(model.manifest, own.task)
        rules, rows = recipe.intervals, pd.read_parquet(model.folder / "train.parquet")
        if rules is None:
            raise ValueError("params.yaml has no train.intervals")
        fold = folds.one_fold(rows, own, rules.share, recipe.seed)
        rows = rows.iloc[fold.left_out]
        y = data.truth(rows, own)
        tables = [evaluation.inputs(model, rows, context.contract)]
        p = evaluation.predict(model, tables, context.contract)
        found = np.ravel(conformal.quantile(y, p, rules, own.task))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = "train.parquet does not hold the rows that intervals are calibrated on"
        raise Refused("manifest", reason) from error
    said = np.ravel(stated["quantile"])
    # By the holdout: main's contract bounds its values, not those of the training rows.
    scale = task.TASKS[own.task].scale(model.predictions)
    off = float(np.abs(found - said).max()) if len(found) == len(said) else np.inf
    if len(rows) == stated["rows"] and off <= context.rules.parity.max * scale:
        return
    listed = (", ".join(f"{number:.6g}" for number in q[:5]) for q in (said, found))
    raise Refused(
        "manifest",
        f"the manifest says that intervals have the quantile {next(listed)}, of "
        f"{stated['rows']:,} rows, but train.parquet and the model give "
        f"{next(listed)}, of {len(rows):,}: build it again",
    )


def _intervals(context: Evaluation, model: Model) -> Intervals | None:
    """Return how what a model says holds on the holdout; None if it says nothing."""
    stated = model.manifest.get("intervals")
    if not stated:
        return None
    y, p = context.y, model.predictions
    inside, sizes = conformal.covered(y, p, stated), conformal.sizes(p, stated)

    def covered(rows: Array, group: str = "") -> Covered:
        groups = None if context.groups is None else context.groups[rows]
        low, high = coverage(inside[rows], context.rules.confidence, groups)
        return Covered(
            group=group,
            rows=int(rows.sum()),
            coverage=float(inside[rows].mean()),
            low=low,
            high=high,
            size=float(sizes[rows].mean()),
        )

    parts = _parts(context, y, p)
    return Intervals(
        method=stated["method"],
        sets=stated["method"] == conformal.SETS,
        by_class=stated["by_class"],
        promised=stated["coverage"],
        calibrated=stated["rows"],
        every=covered(np.ones(len(y), bool)),
        groups=[covered(r, name) for name, r in parts if r.sum() >= FEWEST],
        abstention=_abstention(context, model, sizes) if stated["abstain"] else None,
    )


def coverage(
    inside: Array, confidence: float, groups: Array | None = None
) -> tuple[float, float]:
    """Return the interval of a share of rows [n]; by group, where rows have one.

    Clopper and Pearson (1934), Biometrika 26(4): exact, so never too narrow.
    """
    count, rows = int(inside.sum()), len(inside)
    if groups is not None:
        zeros = np.zeros(rows)
        mean = compare.mean_difference(zeros, inside, confidence, groups)
        return max(mean.low, 0.0), min(mean.high, 1.0)
    from scipy.special import betaincinv  # scipy.stats would take a second to import

    tail = (1 - confidence) / 2
    low = betaincinv(count, rows - count + 1, tail) if count else 0.0
    high = betaincinv(count + 1, rows - count, 1 - tail) if count < rows else 1.0
    return float(low), float(high)


def _parts(context: Evaluation, y: Array, p: Array) -> list[tuple[str, Array]]:
    """Return the rows of each class, or of each quarter of the predictions."""
    contract = context.contract
    if context.task.classifies:
        names = contract.classes or ("0", "1")
        return [
            (f"{contract.target} {name}", y == index)
            for index, name in enumerate(names)
        ]
    edges = np.unique(np.quantile(p, np.linspace(0, 1, PARTS + 1)))
    places = np.searchsorted(edges[1:-1], p, side="right")
    return [
        (f"predicted {_short(low)} to {_short(high)}", places == index)
        for index, (low, high) in enumerate(pairwise(edges))
    ]


def _short(number: float) -> str:
    """Return a prediction as the name of a part has it."""
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e12 else f"{number:.4g}"


def _abstention(context: Evaluation, model: Model, sizes: Array) -> Abstention:
    """Return what is decided, and how well, apart from the rows that are not."""
    y, decided = context.y, sizes == 1
    right, worth = context.task.correct(y, model.decisions), None
    section = settings.business(context.params, context.contract)
    if section is not None and decided.any():
        price = Price(section, context.contract.classes)
        worths = context.task.worth(y, model.decisions, price)
        worth = PER * float(worths[decided].mean())
    return Abstention(
        decided=int(decided.sum()),
        rows=len(y),
        right=float(right.mean()),
        right_decided=float(right[decided].mean()) if decided.any() else None,
        worth=worth,
    )


def _check(found: Intervals | None, least: float) -> Check:
    """Return the check that the truth is inside often enough."""
    if found is None:
        reason = (
            "the model says nothing beside its predictions, and gates.coverage wants "
            "it: write `intervals: {coverage: 0.9}` below `train`"
        )
        wanted: dict[str, Any] = {"operator": ">=", "limit": least, "unit": "share"}
        return Check(id=ID, title=TITLE, passed=False, reason=reason, **wanted)
    reasons = (
        "the truth is inside what is said beside a prediction",
        "the truth is too seldom inside what is said beside a prediction: see the "
        "section Intervals",
    )
    value, ends = found.every.coverage, (found.every.low, found.every.high)
    fields: dict[str, Any] = {"title": TITLE, "interval": ends, "gate": False}
    return checks.held(ID, value, ">=", least, reasons, unit="share", **fields)


def _cautions(found: Intervals) -> list[str]:
    """Say where the holdout shows another coverage, and who is not decided on."""
    said = "sets" if found.sets else "intervals"
    cautions, promised = [], f"{found.promised:.6g}"
    for part in found.groups if found.by_class else [found.every]:
        if part.low <= found.promised <= part.high:
            continue
        meaning = "they say less than they could"
        if part.high < found.promised:
            meaning = (
                "rows may have changed since the calibration rows, or the model was "
                "fitted on them"
            )
        of = f" of {part.group}" if part.group else ""
        cautions.append(
            f"Its {said} hold the truth of {part.coverage:.1%} of the rows held out"
            f"{of} ({part.low:.1%} to {part.high:.1%}), and {promised} is promised: "
            f"{meaning}. They were calibrated on {found.calibrated:,} rows."
        )
    poor = [part for part in found.groups if part.high < found.promised]
    if found.sets and poor and not found.by_class:
        worst = min(poor, key=lambda part: part.coverage)
        cautions.append(
            f"Its sets hold the truth of {worst.coverage:.1%} of the {worst.rows:,} "
            f"rows of {worst.group}: {promised} is promised for all rows "
            "together. With `by_class: true` in `train.intervals` it is for each class."
        )
    if found.abstention is not None:
        without = found.abstention.rows - found.abstention.decided
        cautions.append(
            f"It decides nothing on {without:,} of {found.abstention.rows:,} rows held "
            "out. Checks and numbers of decisions are those of what it would decide "
            "there; the section Intervals has those of the rows that it decides."
        )
    return cautions
