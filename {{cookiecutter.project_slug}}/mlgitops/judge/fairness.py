"""How differently groups are treated: the columns that main's section `fairness` names.

The vocabulary is Fairlearn's: selection rate, true and false positive rates, and the
equalized odds difference, which is the larger gap of those two. Of several classes it
is how often each is decided, and how often wrongly; of numbers, the mean error and the
mean absolute error. A gap is that between the highest and the lowest group. A model is
refused when the interval of the gap between some pair of groups lies above the limit;
the intervals are so wide that all hold together (Bonferroni). An estimate above the
limit whose interval is not is a caution. Where rows belong to entities, a group counts
as many independent rows as would give its rates the same variance.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from mlgitops import settings
from mlgitops.judge import checks, compare, slices
from mlgitops.judge.compare import Array, Codes
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import Rate
from mlgitops.judgement import Check, Fairness, Gap, Group, Judgement
from mlgitops.metrics.groups import quantile, variances


class _Samples(NamedTuple):
    """The values of a rate, summed by group; all [groups]."""

    rate: Rate
    sums: Array
    rows: Array
    squares: Array
    effect: Array  # how many rows count as one independent row
    entities: Array  # infinite where rows are independent

    @property
    def means(self) -> list[float | None]:
        """The rate in each group; None where no row counts."""
        pairs = zip(self.sums, self.rows, strict=True)
        return [float(total / rows) if rows else None for total, rows in pairs]


class _Finding(NamedTuple):
    """The largest gap of a rate, its setting, the highest lower end of all pairs."""

    gap: Gap
    setting: str
    lower_bound: float


def add(evaluation: Evaluation) -> None:
    """Add rates and gaps of each named column, with a check or a caution."""
    rules = settings.fairness(evaluation.params, evaluation.contract)
    if rules is not None:
        for column in rules.columns:
            _add_column(evaluation, column, rules)


def _add_column(evaluation: Evaluation, column: str, rules: settings.Fairness) -> None:
    """Add the rates, gaps and checks of one column."""
    kind = evaluation.contract.columns[column].type
    codes, labels = slices.parts(evaluation.holdout[column], kind)
    if column in evaluation.contract.sensitive:  # its values are never written
        labels = [f"group {n}" for n in range(1, len(labels) + 1)]
    counts = np.bincount(codes, minlength=len(labels))
    large = np.flatnonzero(counts >= max(rules.min_rows, 1))
    if len(large) < 2:
        evaluation.judgement.cautions.append(
            f"Fairness across {column} was not checked: fewer than two groups have "
            f"{rules.min_rows:,} rows of the holdout."
        )
        return
    names = [labels[group] for group in large]
    task, y, classes = evaluation.task, evaluation.y, evaluation.contract.classes
    samples = evaluation.each(
        lambda model: [
            _sampled(rate, codes, large, evaluation.groups)
            for rate in task.rates(y, model.decisions, classes)
        ]
    )
    findings = []
    for n in range(len(samples["challenger"])):
        if finding := _finding(evaluation, rules, names, samples, n):
            findings.append(finding)
    evaluation.judgement.fairness.append(
        Fairness(
            column,
            [sample.rate.short for sample in samples["challenger"]],
            _groups(names, counts[large], samples),
            [finding.gap for finding in findings],
        )
    )
    _add_checks(evaluation.judgement, column, findings, len(names))


def _groups(
    names: list[str], counts: Codes, samples: dict[str, list[_Samples]]
) -> list[Group]:
    """Return the rates of each group."""
    rates = {
        model: [[sample.means[n] for sample in each] for n in range(len(names))]
        for model, each in samples.items()
    }
    return [
        Group(
            group=name, rows=int(rows), **{m: values[n] for m, values in rates.items()}
        )
        for n, (name, rows) in enumerate(zip(names, counts, strict=True))
    ]


def _add_checks(
    judgement: Judgement, column: str, findings: list[_Finding], groups: int
) -> None:
    """Add a caution for each gap that may be above its limit, and a check per limit."""
    judgement.cautions += [
        f"Fairness across {column}: {_sentence(gap)}, perhaps above the limit of "
        f"{gap.limit:g}. A person decides."
        for gap, _, lower_bound in findings
        if gap.challenger > gap.limit >= lower_bound
    ]
    for setting in dict.fromkeys(finding.setting for finding in findings):
        limited = [finding for finding in findings if finding.setting == setting]
        worst = max(limited, key=lambda finding: finding.lower_bound)
        judgement.checks.append(_check(column, worst, groups))


def _sampled(rate: Rate, codes: Codes, large: Codes, groups: Codes | None) -> _Samples:
    """Return the samples of one rate."""
    values = np.asarray(rate.values, np.float64)[rate.included]
    strata, count = codes[rate.included], int(codes.max()) + 1
    sums, rows, squares = (
        np.bincount(strata, values**power, count) for power in (1, 0, 2)
    )
    effect, entities = np.ones(count), np.full(count, np.inf)
    if groups is not None:
        variance, entities = variances(values, strata, count, groups[rate.included])
        effect = _design_effect(sums, rows, squares, variance, entities)
    parts = (sums, rows, squares, effect, entities)
    return _Samples(rate, *(part[large] for part in parts))


def _design_effect(
    sums: Array, rows: Array, squares: Array, variance: Array, entities: Array
) -> Array:
    """Return how many rows of a group count as one independent row [groups].

    Rao and Scott (1992), Biometrics 48(2), at least 1; where no row differs, or one
    entity has all, an entity counts as one row.
    """
    rows = np.maximum(rows, 1)
    independent = np.maximum(squares / rows - (sums / rows) ** 2, 0) / rows
    defined = (entities > 1) & (independent > 0)
    effect = variance / np.where(defined, independent, 1)
    return np.maximum(np.where(defined, effect, rows / entities.clip(1)), 1)


def _finding(
    evaluation: Evaluation,
    rules: settings.Fairness,
    names: list[str],
    samples: dict[str, list[_Samples]],
    index: int,
) -> _Finding | None:
    """Return the largest gap of one rate; None when fewer than two groups have it."""
    rate, sums, rows, squares, effect, entities = samples["challenger"][index]
    pairs = np.array(list(combinations(np.flatnonzero(rows), 2))).T
    if not pairs.size:
        return None
    means = sums / np.maximum(rows, 1)
    pairs = np.where(means[pairs[0]] < means[pairs[1]], pairs[::-1], pairs)
    comparisons = pairs.shape[1] * len(samples["challenger"])
    level = 1 - (1 - evaluation.rules.confidence) / comparisons
    student = stdtrit((entities - 1).clip(1), 0.5 + level / 2) / quantile(level)
    sums, rows, squares = (n / (effect * student**2) for n in (sums, rows, squares))
    if evaluation.task.classifies:
        gaps, lows, highs = compare.difference_of_shares(
            sums[pairs], rows[pairs], level
        )
    else:
        gaps, lows, highs = compare.difference_of_means(
            sums, rows, squares, pairs, level
        )
    widest = int(np.argmax(gaps))
    higher, lower = pairs[:, widest]
    gap = Gap(
        rate=rate.name,
        champion=_spread(samples["champion"][index]) if "champion" in samples else None,
        challenger=float(gaps[widest]),
        low=float(lows[widest]),
        high=float(highs[widest]),
        pair=(names[higher], names[lower]),
        limit=rules.limit(rate.limit),
    )
    return _Finding(gap, rate.limit, float(lows.max()))


def _spread(sample: _Samples) -> float | None:
    """Return the gap between the highest and the lowest group, if two have a row."""
    means = [mean for mean in sample.means if mean is not None]
    return max(means) - min(means) if len(means) > 1 else None


def _check(column: str, worst: _Finding, groups: int) -> Check:
    """Return the check of one limit, by the gap with the highest lower bound."""
    gap, rule = worst.gap, worst.setting.removesuffix("_max")
    passed = f"no gap between the {groups} groups is shown to be above its limit"
    return checks.held(
        f"fairness.{column}.{rule}",
        worst.lower_bound,
        "<=",
        gap.limit,
        (passed, f"{_sentence(gap)}, above the limit of {gap.limit:g}"),
        title=f"Fairness: {column}, {rule.replace('_', ' ')}",
        metric=gap.rate,
        statistic="lower bound",
        estimate=gap.challenger,
    )


def _sentence(gap: Gap) -> str:
    """Say which group has the higher rate, and by how much."""
    higher, lower = gap.pair
    return f"the {gap.rate} of {higher} is {gap.challenger:.3f} above that of {lower}"
