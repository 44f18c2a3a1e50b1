"""Measures a version where labels have come, and what retraining would bring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops import metrics, settings
from mlgitops.metrics import PAIRED, Difference
from mlgitops.metrics.groups import quantile
from mlgitops.monitor import null_distribution, permutation
from mlgitops.monitor.evidence import Fall, GatedMetric
from mlgitops.monitor.null_distribution import Integers
from mlgitops.monitor.permutation import Blocks
from mlgitops.monitor.primary_metric import Array, PrimaryMetric
from mlgitops.monitor.wording import listed, plural
from mlgitops.pipeline import sides
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.data import inputs
from mlgitops.pipeline.provenance import ESTIMATOR
from mlgitops.pipeline.settings import Prepare
from mlgitops.pipeline.task import TASKS

if TYPE_CHECKING:
    import pandas as pd

PERFORMANCE = 0.25  # of the false-alarm rate; `drift` has the rest
GATES = 0.5  # of this part, if a gate has a limit
GROUPS = 20  # of rows, left out one by one to see how a metric varies
Value = Callable[[Array, Array], float]
Sample = tuple[Array, Array]  # labels and predictions


class ProductionGate(NamedTuple):
    """A gate on another metric than the primary one."""

    metric: metrics.Metric
    bounds: settings.Bounds

    @property
    def bound(self) -> float | None:
        """How good the metric has to be."""
        low = self.metric.quality_bound == "min"
        return self.bounds.min if low else self.bounds.max

    @property
    def alarms(self) -> bool:
        """The gate has a limit in production; the other bound is one of leakage.

        A column that knew the answer shows as a fall there.
        """
        return self.bound is not None or self.bounds.margin is not None

    def limit(self, holdout: float) -> tuple[float | None, str]:
        """Return the strictest limit and where it comes from."""
        sign = 1 if self.metric.better == "higher" else -1
        name, bound, margin = self.metric.quality_bound, self.bound, self.bounds.margin
        limits = []
        if bound is not None and sign * bound <= sign * holdout:
            limits.append((sign * bound, f"the limit is the gate's {name}"))
        elif bound is not None:
            reason = f"the limit is the holdout's value; {name} is {bound:g}"
            limits.append((sign * holdout, reason))
        if margin is not None:
            change = "less" if sign > 0 else "plus"
            reason = f"the limit is the holdout's value {change} the margin {margin:g}"
            limits.append((sign * holdout - margin, reason))
        if not limits:
            return None, "no limit: the gate's only bound is one of leakage"
        strictest, reason = max(limits)
        return sign * strictest, reason


def gates(params: settings.Params, task: str) -> list[ProductionGate]:
    """Return main's gates on metrics that the task has beside the primary one.

    Raises:
        SettingsError: a gate, or a metric of the team's, is not valid.
    """
    try:
        others = {metric.key: metric for metric in metrics.of(task)[1:]}
    except ValueError as error:
        raise settings.SettingsError(str(error)) from error
    bounds = settings.gate_bounds(params, others)
    return [ProductionGate(others[key], bounds[key]) for key in bounds]


def measure(
    labelled: pd.DataFrame,
    holdout: pd.DataFrame,
    metric: PrimaryMetric,
    gates: Sequence[ProductionGate],
    contract: Contract,
    limits: settings.Monitor,
) -> tuple[Fall, list[GatedMetric]]:
    """Compare the primary metric, and those with a gate, with the holdout's.

    They share performance's part of the false alarms: half for each side.
    """
    rate = limits.false_alarm_rate * PERFORMANCE
    share = GATES if any(gate.alarms for gate in gates) else 0.0
    blocks = _blocks(labelled, holdout, contract, limits, rate)
    confidence = 1 - 2 * rate * (1 - share)
    return (
        fall(labelled, holdout, metric, confidence, blocks),
        gated(labelled, holdout, metric, gates, rate * GATES, blocks),
    )


def _blocks(
    labelled: pd.DataFrame,
    holdout: pd.DataFrame,
    contract: Contract,
    limits: settings.Monitor,
    rate: float,
) -> Blocks | None:
    """Return the weeks or days of both samples; by arrival where events have no time.

    Then the holdout has none. Its rows are put into blocks at random, or by the entity.
    """
    current = labelled[contract.time].dt.tz_localize(None)
    if contract.time:
        past = holdout[contract.time].dt.tz_localize(None)
        return permutation.choose_blocks(past, current, limits.block_days, rate)
    arrived, _ = null_distribution.choose_blocks(
        current, limits.block_days, window_days=0
    )
    groups = holdout.get(contract.entity)
    if arrived is None:
        return None
    return permutation.blocks_by_arrival(len(holdout), arrived, groups)


def fall(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    metric: PrimaryMetric,
    confidence: float,
    blocks: Blocks | None = None,
) -> Fall:
    """Compare the metric on labelled rows of the window with that on the holdout.

    The two samples share no row, so the variances (DeLong) add. Rows of one day, or
    week, resemble each other: with ``blocks`` the interval is at least as wide as they
    require (`jackknife`). Both tables have the predictions and the target.

    Raises:
        ValueError: the metric is undefined for one of them.
    """
    (current, variance), (past, past_variance) = (
        metric.with_variance(table) for table in (window, holdout)
    )
    difference = current - past
    half = float(quantile(confidence) * (variance + past_variance) ** 0.5)
    samples = [metric.truth_and_predictions(table) for table in (window, holdout)]
    if blocks is not None:
        parts = blocks.current, blocks.past
        half = max(half, jackknife(metric.value, samples, parts, confidence))
    low, high = difference - half, difference + half
    means = metric.means(*samples[0])
    return Fall(current, past, difference, low, high, confidence, *means)


def gated(
    window: pd.DataFrame,
    holdout: pd.DataFrame,
    primary: PrimaryMetric,
    gates: Sequence[ProductionGate],
    rate: float,
    blocks: Blocks | None = None,
) -> list[GatedMetric]:
    """Measure each metric that has a gate, and hold it against this gate.

    The interval is that of the difference to the holdout, and a limit never asks for
    more than the holdout has. So however near to its gate a version was accepted, at
    most ``rate`` of windows without drift fail, over all these metrics together
    (Bonferroni). Both samples have as many rows: some metrics depend on their number.
    """
    confidence = 1 - 2 * rate / max(sum(gate.alarms for gate in gates), 1)
    size, rng = min(len(window), len(holdout)), np.random.default_rng(0)
    rows = [np.sort(rng.permutation(len(t))[:size]) for t in (window, holdout)]
    samples = [
        primary.truth_and_predictions(table.iloc[kept])
        for table, kept in zip((window, holdout), rows, strict=True)
    ]
    groups = [[rng.permutation(size) % GROUPS for _ in samples]]
    if blocks is not None:
        groups.append([blocks.current[rows[0]], blocks.past[rows[1]]])

    def compared(gate: ProductionGate) -> GatedMetric:
        named = GatedMetric(*gate.metric[:3])
        value: Value = gate.metric.value
        try:
            current, past = (float(value(*sample)) for sample in samples)
            half = max(jackknife(value, samples, g, confidence) for g in groups)
        except ValueError as error:  # rows of one class, or the team's function
            return named._replace(note=f"not computed: {error}")
        limit, source = gate.limit(past)
        interval = current - half, current + half
        return GatedMetric(*named[:3], source, limit, size, current, past, *interval)

    return [compared(gate) for gate in gates]


def jackknife(
    value: Value,
    samples: Sequence[Sample],
    blocks: Sequence[Integers],
    confidence: float,
) -> float:
    """Return half the interval of a metric's difference, from what single blocks do.

    Student's for two samples of pseudo-values: what the metric loses when a block is
    left out. Kuensch (1989), Annals of Statistics 17(3), on the jackknife by blocks;
    Shao and Wu (1989), ibid., on metrics that are not smooth.

    Raises:
        ValueError: the metric is undefined without one of the blocks.
    """
    if min(len(np.unique(numbers)) for numbers in blocks) < 2:
        return 0.0  # nothing would be left without the only block
    pseudo_values = []
    for (y, p), numbers in zip(samples, blocks, strict=True):
        others = [numbers != number for number in np.unique(numbers)]
        without = np.array([value(y[rows], p[rows]) for rows in others])
        count = len(others)
        pseudo_values.append(count * value(y, p) - (count - 1) * without)
    counts = [len(values) for values in pseudo_values]
    freedom = sum(counts) - 2
    squares = sum(float(values.var() * len(values)) for values in pseudo_values)
    reach = quantile(confidence, freedom)
    return float(reach * (squares / freedom * sum(1 / n for n in counts)) ** 0.5)


def gain(
    past: pd.DataFrame,
    labelled: pd.DataFrame,
    window: pd.DataFrame,
    contract: Contract,
    params: settings.Params,
    metric: PrimaryMetric,
    group_by_id: Mapping[str, str] | None = None,
    part_by_id: Mapping[str, str] | None = None,
) -> Difference | str:
    """Estimate what retraining would bring: fit main's recipe on newer rows, try it.

    Labelled window rows are held out by main's split: the newest
    ``prepare.holdout_days``, or those that are on this side by themselves. The rest of
    ``past`` and ``labelled`` that retraining would keep is fitted, and both models are
    compared on the rows held out, as validation will do: by group, where the contract
    names an entity, on the rows whose group is known. ``group_by_id`` and
    ``part_by_id`` are what labels brought along where requests do not. A text says why
    nothing can be estimated.
    """
    # Its import takes a second, and most windows never come here.
    from mlgitops.pipeline import fitting as model
    from mlgitops.pipeline import folds, intervals

    limits, by_id = settings.monitor(params), {contract.part: part_by_id or {}}
    by_id[contract.entity] = group_by_id or {}
    labelled_only = contract.labelled_only
    recipe, rules = settings.train(params, contract.task), settings.prepare(params)
    if recipe.estimator == ESTIMATOR:
        return (
            "nothing is trained here (train.estimator is pretrained), so that newer "
            "rows change nothing: propose another file"
        )
    read = [*recipe.columns, *(recipe.mitigation.columns if recipe.mitigation else ())]
    read += [recipe.weights] if recipe.weights not in (None, "balanced") else []
    if unlogged := [name for name in read if name not in contract.columns]:
        return f"params.yaml trains on {listed(unlogged)}, which the log does not have"
    window, labelled = (
        rows.assign(**{n: rows[contract.id].map(dict(by_id[n])) for n in labelled_only})
        for rows in (window, labelled)
    )
    decides = contract.part if rules.split == "column" else ""
    for name in filter(None, (decides, contract.entity)):
        if not window[name].notna().any():
            role = "the part" if name == contract.part else "the entity"
            return (
                f'neither the prediction log nor the labels have "{name}" ({role} in '
                "contract.yaml): add that column to the labels"
            )
    rows = _training_rows(past, labelled, contract)
    split = _by_time if rules.split == "time" else _by_row
    train, held = split(rows, window, contract, rules)
    new = ~train[contract.id].isin(past[contract.id])
    if contract.time:
        new &= train[contract.time] > past[contract.time].max()
    newer = int(new.sum())
    holdout, groups = _with_groups(held, contract)
    if min(len(holdout), newer) < limits.min_labels:
        age = "newer than" if contract.time else "not among"
        return (
            f"{plural(len(holdout), 'labelled row')} of the window are held out, and "
            f"{newer:,} others are {age} the training data: both need "
            f"{limits.min_labels:,}"
        )
    if not (metric.defined(holdout) and metric.defined(train)):
        return "the rows held out, or those to train on, lack a class"
    if len(train) > limits.probe_rows:
        train = train.sample(limits.probe_rows, random_state=0).sort_index()
    train.attrs[folds.SPLIT] = rules.split
    try:
        fitted_on, _ = intervals.parts(train, contract, recipe)  # as the build does
        fitted = model.fit(fitted_on, contract, recipe)
    except ImportError as error:
        return (
            f"{error.name} is not among the monitor's packages, and the model is made "
            "with it: whether retraining helps is for its pull request to show"
        )
    except ContractError as error:
        return f"main's recipe cannot be fitted on these rows: {error}"
    X = model.table(inputs(holdout, contract, recipe.columns))
    challenger = TASKS[contract.task].fitted(fitted, X)
    y, champion = metric.truth_and_predictions(holdout)
    compare, confidence = PAIRED[contract.task], limits.confidence
    return compare(y, champion, challenger, confidence, groups)


def _by_time(
    rows: pd.DataFrame, window: pd.DataFrame, contract: Contract, rules: Prepare
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit, and the newest of the window, which are held out."""
    time = contract.time
    cut = window[time].max() - _days(rules.holdout_days)
    start = cut - _days(rules.train_days)
    train = rows[(rows[time] > start) & (rows[time] <= cut)]
    return train, window[window[time] > cut]


def _by_row(
    rows: pd.DataFrame, window: pd.DataFrame, contract: Contract, rules: Prepare
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to fit, and those of the window that are held out, by themselves.

    The version was not fitted on any of these either: a row never changes sides.
    """
    held_out = sides.held_out
    train = rows[~held_out(rows, contract, rules)]
    return train, window[held_out(window, contract, rules)]


def _with_groups(rows: pd.DataFrame, contract: Contract) -> tuple[pd.DataFrame, Any]:
    """Return the rows whose group is known, and the groups as numbers, [rows]."""
    import pandas as pd

    if not contract.entity:
        return rows, None
    groups = rows[contract.entity]
    return rows[groups.notna()], pd.factorize(groups.dropna())[0]


def _training_rows(
    past: pd.DataFrame, labelled: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """Return the rows of both tables, one per id, oldest first."""
    import pandas as pd

    order = [name for name in (contract.time, contract.id) if name]
    columns = [*order, *contract.columns, *contract.labelled_only, contract.target]
    rows = pd.concat([past[columns], labelled[columns]], ignore_index=True)
    return rows.drop_duplicates(contract.id).sort_values(order)


def _days(count: float) -> pd.Timedelta:
    """Return so many days."""
    import pandas as pd

    return pd.Timedelta(days=count)
