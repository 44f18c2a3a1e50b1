"""Compares a challenger with the champion on the rows that both predicted.

The challenger is a shadow: it predicts what the champion answers, for a log of its own
in the folder `shadow` of the prediction log, and nobody sees it. Lines pair by id. What
the challenger skipped or refused has no pair, which is counted and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlgitops import distance
from mlgitops.metrics import PAIRED, Difference
from mlgitops.metrics.groups import Codes
from mlgitops.monitor import columns
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.wording import plural, shown
from mlgitops.pipeline.contract import Contract
from mlgitops.prediction_log import PATTERN, SHADOW, Entry, in_order, parse
from mlgitops.production_data import folder_of, has_columns, lines_of, located

if TYPE_CHECKING:
    import pandas as pd

FOLDER = SHADOW  # in the log
SHOWN = 5  # slices, those that change most
VERSIONS = 3  # of challengers, the newest


@dataclass
class Answers:
    """What one challenger predicted, by id, and when it began and ended to."""

    manifest_sha256: str
    version: str | None
    by_id: dict[str, Entry] = field(default_factory=dict)
    since: str = "~"  # by the server's clock, as its lines have it
    until: str = ""


class Disagreement(NamedTuple):
    """How many rows of a category have another decision."""

    column: str
    value: str
    rows: int
    changed: int


@dataclass
class Comparison:
    """A challenger beside the champion, on the rows of the window that both have."""

    manifest_sha256: str
    version: str | None
    rows: int  # that the champion answered while the challenger ran
    pairs: int
    few: str = ""  # why nothing more is said
    changed: int | None = None  # decisions; None for numbers
    moved: float | None = None  # mean distance of a row's two predictions
    distance: float | None = None  # of the predictions' distributions
    method: str = ""
    slices: list[Disagreement] = field(default_factory=list)
    labels: int = 0
    metric: str = ""
    difference: Difference | None = None  # challenger minus champion
    unmeasured: str = ""  # why there is none

    def record(self) -> dict[str, Any]:
        """Return it as the ledger keeps it: numbers with six digits."""
        entry = asdict(self)
        entry["slices"] = [each._asdict() for each in self.slices]
        if self.difference is not None:
            numbers = self.difference._asdict()
            entry["difference"] = {n: round(v, 6) for n, v in numbers.items()}
        for name in ("moved", "distance"):
            if entry[name] is not None:
                entry[name] = round(entry[name], 6)
        return entry


def read_answers(
    source: str, ids: set[str], classes: Sequence[str] = ()
) -> list[Answers]:
    """Return what challengers predicted of these ids, the newest challenger first.

    Probabilities are put in the order of ``classes``; a line with other classes, like
    one that cannot be read, is none. The first of an id stays.
    """
    folder = f"{folder_of(source).rstrip('/')}/{FOLDER}"
    if "://" not in source and not Path(folder).is_dir():
        return []
    by_manifest = dict[str, Answers]()
    paths, opened = located(folder, PATTERN)

    def read(line: str) -> Entry | None:
        entry = parse(line)
        return entry if entry and in_order(entry, line, classes) else None

    for path in paths:
        told = None
        if has_columns(path):
            told = columns.candidates(path, opened, ids, lambda line: bool(read(line)))
        for line in lines_of(path, opened) if told is None else told:
            if (entry := read(line)) is None:
                continue
            key, version = entry.manifest_sha256, entry.version
            answers = by_manifest.setdefault(key, Answers(key, version))
            answers.since = min(answers.since, entry.logged_at)
            answers.until = max(answers.until, entry.logged_at)
            if entry.id in ids:
                answers.by_id.setdefault(entry.id, entry)
    newest_first = sorted(by_manifest.values(), key=lambda a: a.until, reverse=True)
    return [answers for answers in newest_first if answers.by_id][:VERSIONS]


def compare(
    answers: Answers,
    champion: Sequence[Entry],
    valid: pd.DataFrame,
    labels: Mapping[str, Any],
    contract: Contract,
    metric: PrimaryMetric,
    fewest: int,
    min_labels: int,
    confidence: float,
    groups: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare a challenger with the champion's entries of a window.

    ``valid`` has the rows of them that keep the contract, with the predictions. Fewer
    than ``fewest`` pairs, or ``min_labels`` labels, are too few to say anything from.
    Rows of one of ``groups``, by id, are not independent.
    """
    while_running = [  # its own line of a row is the later one
        entry
        for entry in champion
        if answers.since <= entry.logged_at or entry.id in answers.by_id
    ]
    decided = {entry.id: entry.decision for entry in champion}
    table = valid[valid[contract.id].isin(answers.by_id.keys())]
    entries = [answers.by_id[key] for key in table[contract.id]]
    result = Comparison(
        answers.manifest_sha256,
        answers.version,
        rows=len(while_running),
        pairs=len(table),
        metric=metric.label,
    )
    if len(table) < fewest:
        result.few = f"{plural(len(table), 'row')} of both, at least {fewest:,} needed"
        return result
    p, q = _array(table[metric.predictions]), _array([e.prediction for e in entries])
    _add_distance(result, p, q)
    if contract.task != "regression":
        changes = np.array([decided[e.id] != e.decision for e in entries])
        result.changed = int(changes.sum())
        result.slices = slices(table, changes, contract, fewest)
    target = table[contract.id].map(labels)
    has_label = target.notna().to_numpy()
    labelled = table[has_label].assign(**{contract.target: target[has_label]})
    result.labels = len(labelled)
    if len(labelled) < min_labels:
        result.unmeasured = f"{len(labelled):,} labels of {min_labels:,}"
    elif not metric.defined(labelled):
        result.unmeasured = "the labels lack a class, or are all the same"
    else:
        y, _ = metric.truth_and_predictions(labelled)
        codes = _codes(labelled[contract.id], groups or {})
        compared = PAIRED[contract.task](
            y, p[has_label], q[has_label], confidence, codes
        )
        result.difference = compared
    return result


def slices(
    table: pd.DataFrame, changes: np.ndarray[Any, Any], contract: Contract, fewest: int
) -> list[Disagreement]:
    """Return the categories with the largest share of changed decisions."""
    import pandas as pd

    result = []
    for name, column in contract.columns.items():
        if column.type not in ("category", "boolean") or name in contract.sensitive:
            continue
        values = table[name].reset_index(drop=True)
        counts = pd.Series(changes).groupby(values).agg(["size", "sum"])
        for value, (size, changed) in counts.iterrows():
            if size >= fewest and changed:
                text = shown(str(value))
                result.append(Disagreement(name, text, int(size), int(changed)))
    result.sort(key=lambda d: (-d.changed / d.rows, d.column, d.value))
    return result[:SHOWN]


def rows(comparison: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return a comparison, as the ledger has it, as rows: name, value, note."""
    pairs, total = comparison["pairs"], comparison["rows"]
    share = pairs / total if total else 0.0
    text = f"{pairs:,} of {plural(total, 'row')} ({share:.1%})"
    note = "the others it skipped or refused, or they broke the contract"
    facts = [("predicted by both", text, note if pairs < total else "")]
    if comparison["few"]:
        return [*facts, ("compared", "no", comparison["few"])]
    if (changed := comparison["changed"]) is not None:
        facts.append(("changed decisions", f"{changed:,} ({changed / pairs:.2%})", ""))
    moved = f"{comparison['moved']:.4g} on average"
    facts.append(("distance of a row's two predictions", moved, ""))
    value = f"{comparison['distance']:.3f} ({comparison['method']})"
    facts.append(("distance of the distributions", value, ""))
    for each in comparison["slices"]:
        value = f"{each['changed'] / each['rows']:.1%} of {plural(each['rows'], 'row')}"
        name = f"changed where {each['column']} is {each['value']}"
        facts.append((name, value, ""))
    return [*facts, _measured(comparison)]


def _measured(comparison: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the row on the primary metric."""
    name, pair = comparison["metric"], comparison["difference"]
    if pair is None:
        return name, "not known", comparison["unmeasured"]
    interval = f"[{pair['low']:+.4f}, {pair['high']:+.4f}]"
    value = f"{pair['challenger']:.4f}, champion {pair['champion']:.4f}"
    value += f", difference {pair['difference']:+.4f} {interval}"
    labels = plural(comparison["labels"], "label")
    return name, value, f"{pair['confidence']:.0%} interval, paired, of {labels}"


def _add_distance(result: Comparison, p: Any, q: Any) -> None:
    """Fill in how far predictions are apart, row by row and as a whole."""
    apart = np.abs(q - p)
    result.moved = float((apart.max(axis=1) if p.ndim == 2 else apart).mean())
    result.method = "Wasserstein, in the champion's standard deviations"
    columns = zip(p.T, q.T, strict=True) if p.ndim == 2 else [(p, q)]
    result.distance = max(distance.wasserstein(a, b) for a, b in columns)
    if p.ndim == 2:
        result.method += ", of the class that moved most"


def _codes(ids: pd.Series, groups: Mapping[str, str]) -> Codes | None:
    """Return each row's group as a number; a row without one is its own."""
    if not groups:
        return None
    names = [groups.get(key, key) for key in ids]
    return np.unique(names, return_inverse=True)[1]


def _array(predictions: Any) -> Any:
    """Return predictions as an array, [n] or [n, k]."""
    return np.array([*predictions], np.float64)
