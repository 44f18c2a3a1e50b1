"""What a mitigation of bias gains and what it costs, on the holdout.

A build with `train.mitigation` sends the same model without it as well, which is
compared here and never deployed: both on the same rows, at the same threshold.
The gap of a rate is that between the highest and the lowest group; the equalized odds
difference is the larger gap of two rates. The intervals of all gaps are so wide that
they hold together (Bonferroni). Nothing is refused by this: the gates on fairness judge
the mitigated model, whatever it would be without.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mlgitops import settings
from mlgitops.judge import bootstrap, compare, operators, slices
from mlgitops.judge.compare import Array, Codes, Interval, Pair, Vector
from mlgitops.judge.evaluation import Evaluation, Model, inputs, predict
from mlgitops.judge.tasks import Price, Rate, Task
from mlgitops.judgement import Effect, GapEffect, Mitigation, Refused
from mlgitops.pipeline import intervals, weights
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.schema import one_line

NAMES = {"equalized_odds_max": "equalized odds"}  # of a gap, where it has no rate's
PER = 1_000  # decisions
MOST = 0.5  # of the rows: more without a group, and its gap is that of few


def add(evaluation: Evaluation) -> None:
    """Add what the mitigation does, where the challenger has one.

    Raises:
        Refused: the model without it cannot be scored.
    """
    params = evaluation.challenger.manifest.get("params") or {}
    setting = params.get("mitigation")
    if setting is None:
        return
    other = _unmitigated(evaluation)
    evaluation.judgement.cautions += _unknown_groups(evaluation, setting["columns"])
    known = [name for name in setting["columns"] if name in evaluation.contract.columns]
    weighed = _weights(evaluation)
    found = Mitigation(
        method=setting["method"],
        columns=list(setting["columns"]),
        weights=(float(weighed.min()), float(weighed.max())),
        worth=float(weighed.sum() ** 2 / (weighed**2).sum() / len(weighed)),
        threshold=evaluation.challenger.manifest.get("threshold"),
        gaps=_gaps(evaluation, other, known),
        price=list(_price(evaluation, other)),
    )
    evaluation.judgement.mitigation = found
    if not found.lowers:
        evaluation.judgement.cautions.append(
            "The mitigation of bias is not shown to lower any gap between groups. "
            "Without train.mitigation the model is the simpler one."
        )


def _unmitigated(evaluation: Evaluation) -> Model:
    """Return the model without mitigation, with its predictions for the holdout."""
    challenger, contract = evaluation.challenger, evaluation.contract
    version = challenger.manifest
    file = version["unmitigated"]["file"]
    other = Model(challenger.folder, {**version, "model": version["unmitigated"]})
    try:
        operators.check(operators.read((other.folder / file).read_bytes()))
        tables = [inputs(other, evaluation.holdout, contract)]
        other.predictions = predict(other, tables, contract)
    except ValueError as error:
        raise Refused("model_file", f"{file}: {error}") from error
    except Refused as refusal:
        check = refusal.check
        raise Refused(check.id, f"{file}: {check.reason}") from refusal
    return other


def _unknown_groups(evaluation: Evaluation, columns: Sequence[str]) -> Iterator[str]:
    """Yield each column by which most rows of the holdout have no group to balance."""
    for name in columns:
        rows = evaluation.holdout
        share = float(rows[name].isna().mean()) if name in rows else 0.0
        if share > MOST:
            yield (
                f"Bias is mitigated by {one_line(name)}, which is missing in "
                f"{share:.0%} of the rows: to the weights these are one group of their "
                "own, and the comparison says nothing of the groups that they are of."
            )


def _weights(evaluation: Evaluation) -> Vector:
    """Return the weights of the training rows that were fitted, computed here again.

    Raises:
        Refused: the training table does not hold what they are made of.
    """
    model = evaluation.challenger
    try:
        own = Contract.read((model.folder / "contract.yaml").read_bytes())
        recipe = settings.trained(model.manifest, own.task)
        train = pd.read_parquet(model.folder / "train.parquet")
        fitted_on, _ = intervals.parts(train, own, recipe)
        found = weights.sample_weights(fitted_on, own, recipe)
        return np.ones(len(train)) if found is None else found
    except (ContractError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = "train.parquet does not hold the groups and targets to be weighted"
        raise Refused("manifest", reason) from error


def _gaps(evaluation: Evaluation, other: Model, columns: list[str]) -> list[GapEffect]:
    """Return each gap of each column without and with the mitigation."""
    section = settings.fairness(evaluation.params, evaluation.contract)
    rules, smallest = evaluation.rules, evaluation.rules.slices.min_rows
    if section is not None:
        columns = list(dict.fromkeys((*columns, *section.columns)))
        smallest = section.min_rows
    grouped = {name: _grouped(evaluation, name, max(smallest, 1)) for name in columns}
    grouped = {name: codes for name, codes in grouped.items() if codes.max() > 0}
    decisions = (other.decisions, evaluation.challenger.decisions)
    classes, y, task = evaluation.contract.classes, evaluation.y, evaluation.task
    limits = dict.fromkeys(rate.limit for rate in task.rates(y, decisions[0], classes))
    level = 1 - (1 - rules.confidence) / max(len(limits) * len(grouped), 1)
    found = []
    for name, codes in grouped.items():
        large, several = codes >= 0, len(classes) or 2
        before, after = ((codes * several + each)[large] for each in decisions)
        entities = None if evaluation.groups is None else evaluation.groups[large]
        pair = Pair(y[large].astype(np.int64), before, after, level, entities)
        for limit in limits:
            gap = partial(widest, task, classes, limit)
            interval = difference(gap, pair)
            ones = np.ones((1, len(pair.y)))
            sizes = [float(gap(ones, pair.y, each)[0]) for each in (before, after)]
            label = NAMES.get(limit, limit.removesuffix("_max").replace("_", " "))
            effect = _effect(label, sizes, interval)
            found.append(GapEffect(column=name, **effect))
    return found


def _grouped(evaluation: Evaluation, column: str, smallest: float) -> Codes:
    """Return the number of each row's group, [n]; -1 where that has too few rows."""
    kind = evaluation.contract.columns[column].type
    codes, labels = slices.parts(evaluation.holdout[column], kind)
    large = np.bincount(codes, minlength=len(labels)) >= smallest
    return np.where(large, np.cumsum(large) - 1, -1)[codes]


def difference(gap: bootstrap.Statistic, pair: Pair) -> Interval:
    """Return the difference of a gap, with its interval.

    Chance makes a gap that is nearly 0 larger, and a resample does so once more: the
    percentiles understate what is gained where the mitigation leaves no gap, and the
    basic interval, which mirrors them, is wrong where it turns a small gap round
    (Davison and Hinkley 1997, Bootstrap Methods and their Application, 5.2). This is
    the interval that holds both. Where one model has no gap between many groups, it may
    still understate the change; it seldom overstates it.
    """
    found = bootstrap.weighted(gap, pair, discrete=True)
    ends = (found.low, found.high)
    mirrored = [2 * found.difference - end for end in ends]
    return found._replace(low=min(*ends, *mirrored), high=max(*ends, *mirrored))


def widest(
    task: Task,
    classes: tuple[str, ...],
    limit: str,
    weights: Vector,
    y: Array,
    coded: Array,
) -> Vector:
    """Return the largest gap of the rates with a limit, for weights [r, n] of rows.

    `coded` [n] are groups times the number of decisions, plus the decision. A group
    without a row that counts has no rate.
    """
    group, decisions = np.divmod(np.asarray(coded, np.int64), len(classes) or 2)
    largest: Vector = np.zeros(len(weights))
    for rate in task.rates(y, decisions, classes):
        if rate.limit == limit:
            shares = _shares(weights, group, rate)
            gap = np.fmax.reduce(shares, axis=1) - np.fmin.reduce(shares, axis=1)
            largest = np.fmax(largest, gap)
    return largest


def _shares(weights: Vector, group: Codes, rate: Rate) -> Vector:
    """Return the rate in each group, [r, groups]; NaN without a row that counts."""
    inside = np.flatnonzero(rate.included)
    group, values, count = group[inside], rate.values[inside], int(group.max()) + 1
    rows = [np.bincount(group, row[inside], count) for row in weights]
    sums = [np.bincount(group, row[inside] * values, count) for row in weights]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.divide(sums, rows))


def _price(evaluation: Evaluation, other: Model) -> Iterator[Effect]:
    """Yield what the mitigation does to the primary metric and to what is decided."""
    task, y, challenger = evaluation.task, evaluation.y, evaluation.challenger
    metric, rules = task.primary_metric, evaluation.rules
    before, after = other.predictions, challenger.predictions
    pair = Pair(y, before, after, rules.confidence, evaluation.groups)
    interval = task.difference(metric.key, pair)
    values = [metric.value(y, p) for p in (before, after)]
    yield Effect(**_effect(metric.label, values, interval))
    yield from _worth(evaluation, other)


def _worth(evaluation: Evaluation, other: Model) -> Iterator[Effect]:
    """Yield what it does to what decisions are worth, as a share and in a unit."""
    contract, task, y = evaluation.contract, evaluation.task, evaluation.y
    stated = settings.business(evaluation.params, contract)
    value = evaluation.judgement.decision_value
    if value is None:
        return
    section = stated or task.implied_worth(value.threshold, contract.classes)
    if section is None:
        return
    price = Price(section, contract.classes)
    reference = task.reference(y, price)
    span = reference.perfect - reference.constant
    before, after = (
        task.worth(y, model.decisions, price)
        for model in (other, evaluation.challenger)
    )
    confidence, groups = evaluation.rules.confidence, evaluation.groups
    interval = compare.ratio_of_means(after - before, span, confidence, groups)
    means = [
        float((worth - reference.constant).mean() / span.mean())
        for worth in (before, after)
    ]
    yield Effect(**_effect("decision value", means, interval))
    if stated is not None:
        worths = (PER * before, PER * after)
        interval = compare.mean_difference(*worths, confidence, groups)
        means = [float(worth.mean()) for worth in worths]
        unit = f"{stated.unit} per {PER:,} decisions"
        yield Effect(**_effect("worth", means, interval), unit=unit)


def _effect(label: str, values: Sequence[float], gap: Interval) -> dict[str, Any]:
    """Return the fields of an effect; `values` are without and with mitigation."""
    unmitigated, mitigated = values
    known = math.isfinite(gap.low) and math.isfinite(gap.high)
    return {
        "label": label,
        "unmitigated": unmitigated,
        "mitigated": mitigated,
        "difference": gap.difference,
        "low": gap.low if known else None,
        "high": gap.high if known else None,
    }
