"""How alike groups are treated: the columns that main's section `fairness` names.

The vocabulary is Fairlearn's: selection rate, true and false positive rates, and the
equalized odds difference, which is the larger gap of those two. Of several classes it
is how often each is decided, and how often wrongly; of numbers, the mean error and the
mean absolute error. A gap is that between the highest and the lowest group. Refused is
a model whose gap is surely above its limit: some pair of groups has an interval that
lies above it, each interval so wide that all of them hold together (Bonferroni). A gap
that may be above is a caution. Where rows belong to entities, a group has as many rows
as say the same without it (groups that share entities count as if they did not).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import stdtrit

from mlgitops import judgement, settings
from mlgitops.judge import compare, slices
from mlgitops.judge.tasks import Rate
from mlgitops.judge.trial import Side, Trial
from mlgitops.judgement import Check, Fairness, Group
from mlgitops.metrics.groups import variances


@dataclass(frozen=True)
class Gap:
    """The largest gap of one rate, and the one that is surest to be large."""

    rate: str
    size: float
    low: float
    high: float
    pair: tuple[str, str]  # the group with the higher rate first
    surely: float  # the highest lower end of all pairs
    limit: float
    setting: str  # that the limit is from


def add(trial: Trial) -> None:
    """Add rates and gaps of each named column, with a check or a caution."""
    rules = settings.fairness(trial.params, trial.contract)
    if rules is not None:
        for column in rules.columns:
            _column(trial, column, rules)


def _column(trial: Trial, column: str, rules: settings.Fairness) -> None:
    """Add what one column shows."""
    codes, labels = slices.parts(trial.holdout[column])
    if column in trial.contract.sensitive:  # its values are never written
        labels = [f"group {n}" for n in range(1, len(labels) + 1)]
    counts = np.bincount(codes, minlength=len(labels))
    groups = np.flatnonzero(counts >= max(rules.min_rows, 1))
    if len(groups) < 2:
        trial.found.cautions.append(
            f"Nothing can be said about fairness across {column}: fewer than two "
            f"groups have {rules.min_rows:,} rows of the holdout."
        )
        return
    names = [labels[group] for group in groups]
    rates = {who: _rates(trial, side) for who, side in trial.sides.items()}
    counted = {who: _counts(each, codes, trial.clusters) for who, each in rates.items()}
    gaps = {
        who: [
            gap
            for place, rate in enumerate(rates[who])
            if (
                gap := _gap(
                    trial, rate, each[:, place][:, groups], names, rules, len(each[0])
                )
            )
        ]
        for who, each in counted.items()
    }
    trial.found.fairness.append(
        Fairness(
            column,
            [rate.short for rate in rates["challenger"]],
            [
                Group(
                    group=name,
                    rows=int(counts[group]),
                    **{who: _means(c[:, :, group]) for who, c in counted.items()},
                )
                for group, name in zip(groups, names, strict=True)
            ],
            [_shown(gap, gaps.get("champion", [])) for gap in gaps["challenger"]],
        )
    )
    _judge(trial, column, gaps["challenger"], len(groups))


def _rates(trial: Trial, side: Side) -> list[Rate]:
    """Return what is compared across groups."""
    return trial.task.rates(trial.y, side.decisions, trial.contract.classes)


def _counts(rates: list[Rate], codes: Any, clusters: Any) -> Any:
    """Return [sum, rows, sum of squares, effect, entities; rate; group] of rates."""
    groups = int(codes.max()) + 1
    found = []
    for rate in rates:
        values, of = np.asarray(rate.values, np.float64)[rate.among], codes[rate.among]
        counted = [np.bincount(of, values**power, groups) for power in (1, 0, 2)]
        whose = None if clusters is None else clusters[rate.among]
        found.append([*counted, *_effect(values, of, counted, whose)])
    return np.array(found, dtype=np.float64).transpose(1, 0, 2)


def _effect(values: Any, groups: Any, counted: Any, clusters: Any) -> Any:
    """Return how many rows say as much as one, and the entities they are of [group].

    The design effect of Rao and Scott (1992), Biometrics 48(2), at least 1; where no
    row differs, or one entity has all, an entity says as much as one row.
    """
    sums, rows, squares = counted
    if clusters is None:
        return np.ones(len(rows)), np.full(len(rows), np.inf)
    variance, entities = variances(values, groups, len(rows), clusters)
    many = np.maximum(rows, 1)
    plain = np.maximum(squares / many - (sums / many) ** 2, 0) / many
    known = (entities > 1) & (plain > 0)
    effect = np.where(
        known, variance / np.where(known, plain, 1), many / entities.clip(1)
    )
    return np.maximum(effect, 1), entities


def _means(counts: Any) -> list[float | None]:
    """Return the rates of one group; None where there was no row."""
    sums, rows, *_ = counts
    return [float(h / n) if n else None for h, n in zip(sums, rows, strict=True)]


def _gap(
    trial: Trial,
    rate: Rate,
    counts: Any,
    names: list[str],
    rules: settings.Fairness,
    rates: int,
) -> Gap | None:
    """Return the gap of one of the rates; None when fewer than two groups have it."""
    sums, rows, squares, effect, entities = counts
    known = [n for n in range(len(names)) if rows[n]]
    pairs = np.array(list(combinations(known, 2)))
    if not len(pairs):
        return None
    means = sums / np.maximum(rows, 1)
    swap = means[pairs[:, 0]] < means[pairs[:, 1]]
    pairs[swap] = pairs[swap, ::-1]
    high, low = pairs.T
    level = 1 - (1 - trial.rules.confidence) / (len(pairs) * rates)
    if trial.clusters is not None:
        few = stdtrit((entities - 1).clip(1), 0.5 + level / 2) / compare.normal(level)
        sums, rows, squares = (each / (effect * few**2) for each in counts[:3])
    if trial.task.shares:
        found = compare.rates(sums[high], rows[high], sums[low], rows[low], level)
    else:
        found = compare.means((sums, rows, squares), high, low, level)
    difference, least, most = found
    widest = int(np.argmax(difference))
    return Gap(
        rate.name,
        float(difference[widest]),
        float(least[widest]),
        float(most[widest]),
        (names[high[widest]], names[low[widest]]),
        float(least.max()),
        rules.limit(rate.limit),
        rate.limit,
    )


def _shown(gap: Gap, champion: list[Gap]) -> judgement.Gap:
    """Return what the report shows of a gap."""
    before = next((each.size for each in champion if each.rate == gap.rate), None)
    return judgement.Gap(
        rate=gap.rate,
        champion=before,
        challenger=gap.size,
        low=gap.low,
        high=gap.high,
        pair=gap.pair,
        limit=gap.limit,
    )


def _judge(trial: Trial, column: str, gaps: list[Gap], groups: int) -> None:
    """Add the check of a column, and a caution for what may be above its limit."""
    trial.found.cautions.extend(
        f"Fairness across {column}: {_sentence(gap)}, perhaps more than "
        f"{gap.limit:g}. A person decides."
        for gap in gaps
        if gap.size > gap.limit >= gap.surely
    )
    for setting in dict.fromkeys(gap.setting for gap in gaps):
        worst = max((g for g in gaps if g.setting == setting), key=lambda g: g.surely)
        trial.found.checks.append(_check(column, worst, groups))


def _check(column: str, worst: Gap, groups: int) -> Check:
    """Return the check of one limit, by the gap that is shown to be the largest."""
    rule, passed = worst.setting.removesuffix("_max"), worst.surely <= worst.limit
    return Check(
        id=f"fairness.{column}.{rule}",
        title=f"Fairness: {column}, {rule.replace('_', ' ')}",
        passed=passed,
        reason=f"no gap between the {groups} groups is shown to be above its limit"
        if passed
        else f"{_sentence(worst)}, more than {worst.limit:g}",
        metric=worst.rate,
        statistic="lower bound",
        value=worst.surely,
        operator="<=",
        limit=worst.limit,
        estimate=worst.size,
        gate=True,
    )


def _sentence(gap: Gap) -> str:
    """Say who is treated differently, by how much."""
    more, less = gap.pair
    return f"the {gap.rate} of {more} is {gap.size:.3f} above that of {less}"
