"""Where a model fails: a small tree of slices, with honest numbers; pure.

A regression tree on the loss of each row, as in Nushi, Kamar and Horvitz (2018),
Towards accountable AI, HCOMP 6. Leaves that were chosen for a high loss look worse than
they are: one half of the holdout grows the tree, the other measures its leaves, as in
Athey and Imbens (2016), PNAS 113(27). The intervals hold for all leaves together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from mlgitops.metrics.groups import Codes, Vector, spread
from mlgitops.pipeline import sides
from mlgitops.pipeline.contract import FLOATS, Contract
from mlgitops.pipeline.data import seconds

LEAVES, DEPTH = 8, 3  # what a person reads
LEAST = 40  # rows of a leaf in the half that grows it,
SHARE = 0.02  # or this share of them
MEASURED = 25  # rows of a leaf in the other half; with fewer it is not shown
ENTITIES = 10  # of a leaf in that half, and outside of it: else it is not shown
MOST = 20_000  # rows that grow the tree
CATEGORIES = 30  # of a column, the most frequent
CONFIDENCE = 0.95  # of all intervals together
SEED = 7_120_016  # of the halves: no other hash of ours has it
DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Condition:
    """What a leaf says of a column: a range, or categories that it is, or is not.

    Times are days since 1970, UTC. ``missing`` tells whether missing values are in it.
    """

    column: str
    kind: str  # the column's type in the contract
    above: float = -np.inf
    until: float = np.inf
    missing: bool = False
    equal: str | None = None  # "" is a missing value
    other_than: tuple[str, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """The rows of the measuring half in one leaf, and how much more the model loses."""

    conditions: tuple[Condition, ...]
    rows: int
    loss: float
    rest: float  # mean loss of all other rows
    low: float  # the interval of the difference
    high: float
    wrong: float | None = None  # share of wrong decisions

    @property
    def worse(self) -> bool:
        """Whether the model is shown to lose more than on all other rows."""
        return self.low > 0


@dataclass(frozen=True)
class ErrorTree:
    """The leaves, the worst first; none where a tree finds nothing to split."""

    grown: int  # rows that chose the leaves
    measured: int  # rows that gave the numbers
    leaves: tuple[Leaf, ...]


class _Feature(NamedTuple):
    """One column of the tree's table: a number, or whether it is a category."""

    column: str
    kind: str
    values: NDArray[np.float32]
    category: str | None = None


def error_tree(
    rows: pd.DataFrame,
    contract: Contract,
    losses: Vector,
    wrong: NDArray[np.bool_] | None = None,
) -> ErrorTree:
    """Return where the losses [n] of a holdout's rows are high.

    Texts have no range, the groups of sensitive columns are compared by fairness, and
    an entity is a person, say: none of these is split by. `wrong` [n] tells which
    decisions are wrong.
    """
    who = rows[contract.entity or contract.id]
    shares = sides.shares(map(sides.text, who), SEED)
    grown, measured = np.flatnonzero(shares < 0.5), np.flatnonzero(shares >= 0.5)
    grown = np.sort(grown[np.argsort(shares[grown], kind="stable")[:MOST]])
    least = max(LEAST, int(SHARE * len(grown)))
    empty = ErrorTree(len(grown), len(measured), ())
    features = _features(rows, contract, grown, least)
    if len(grown) < 2 * least or not features:
        return empty
    table = np.column_stack([feature.values for feature in features])
    tree = DecisionTreeRegressor(
        max_leaf_nodes=LEAVES, max_depth=DEPTH, min_samples_leaf=least, random_state=0
    ).fit(table[grown], losses[grown])
    ends = tree.apply(table)[measured]
    groups = np.asarray(pd.factorize(who)[0])[measured] if contract.entity else None
    paths = {
        leaf: path
        for leaf, path in _paths(tree, features).items()
        if _enough(ends == leaf, groups)
    }
    leaves = [
        replace(
            _leaf(losses[measured], ends == leaf, groups, len(paths)),
            conditions=path,
            wrong=None
            if wrong is None
            else float(wrong[measured][ends == leaf].mean()),
        )
        for leaf, path in paths.items()
    ]
    leaves.sort(key=lambda leaf: leaf.rest - leaf.loss)
    return replace(empty, leaves=tuple(leaves))


def _enough(inside: NDArray[np.bool_], groups: Codes | None) -> bool:
    """Tell whether both sides have enough rows, and entities, for an interval."""
    sides_of = (inside, ~inside)
    if groups is not None and any(
        len(np.unique(groups[side])) < ENTITIES for side in sides_of
    ):
        return False
    return all(int(side.sum()) >= MEASURED for side in sides_of)


def _leaf(
    losses: Vector, inside: NDArray[np.bool_], groups: Codes | None, leaves: int
) -> Leaf:
    """Return a leaf's numbers; its interval is Bonferroni's for so many leaves."""
    confidence = 1 - (1 - CONFIDENCE) / leaves
    loss, rest = float(losses[inside].mean()), float(losses[~inside].mean())
    signed = np.where(inside, losses, -losses)
    variance = spread(signed, inside.astype(np.int64), groups)
    low, high = variance.ends(loss - rest, confidence)
    return Leaf((), int(inside.sum()), loss, rest, low, high)


def _features(
    rows: pd.DataFrame, contract: Contract, grown: Codes, least: int
) -> list[_Feature]:
    """Return what the tree may split by."""
    features = []
    for name, column in contract.columns.items():
        if name in (*contract.sensitive, contract.entity) or name not in rows:
            continue
        if column.type in FLOATS:
            values = rows[name].to_numpy(np.float32, na_value=np.nan)
            features.append(_Feature(name, column.type, values))
        elif column.type == "datetime":
            days = (np.asarray(seconds(rows[name])) / DAY).astype(np.float32)
            features.append(_Feature(name, column.type, days))
        elif column.type == "category":
            texts = rows[name].astype(object).where(rows[name].notna(), "").map(str)
            counts = texts.iloc[grown].value_counts()
            if contract.entity:  # a name that few have can tell who they are
                entities = rows[contract.entity].iloc[grown].groupby(texts.iloc[grown])
                counts = counts[entities.nunique().reindex(counts.index) >= ENTITIES]
            names = sorted(counts[counts >= least].index[:CATEGORIES])
            features += [
                _Feature(name, column.type, (texts == each).to_numpy(np.float32), each)
                for each in names
            ]
    return [each for each in features if np.isfinite(each.values).any()]


def _paths(
    tree: DecisionTreeRegressor, features: list[_Feature]
) -> dict[int, tuple[Condition, ...]]:
    """Return the conditions of each leaf by the leaf's number."""
    nodes, paths = tree.tree_, dict[int, tuple[Condition, ...]]()
    waiting: list[tuple[int, dict[str, Condition]]] = [(0, {})]
    while waiting:
        node, path = waiting.pop()
        left, right = int(nodes.children_left[node]), int(nodes.children_right[node])
        if left < 0:
            paths[node] = tuple(path.values())
            continue
        feature, border = features[nodes.feature[node]], float(nodes.threshold[node])
        missing_left = bool(nodes.missing_go_to_left[node])
        for child, lower in ((left, True), (right, False)):
            before = path.get(feature.column)
            narrowed = _narrowed(before, feature, border, lower, missing_left == lower)
            waiting.append((child, {**path, feature.column: narrowed}))
    return dict(sorted(paths.items()))


def _narrowed(
    before: Condition | None, feature: _Feature, border: float, lower: bool, miss: bool
) -> Condition:
    """Return a condition after one more split of its column."""
    if before is None:
        has = bool(np.isnan(feature.values).any())
        before = Condition(feature.column, feature.kind, missing=has)
    if feature.category is not None:
        if not lower:
            return replace(before, equal=feature.category, other_than=())
        return replace(before, other_than=(*before.other_than, feature.category))
    before = replace(before, missing=before.missing and miss)
    if lower:
        return replace(before, until=min(before.until, border))
    return replace(before, above=max(before.above, border))
