"""Says whether a canary is to be taken back: the monitor's rules, on its rows.

Which rows a canary answers is decided by a hash of their ids, so that its rows and
those that it could have had are two random samples of the same requests. The champion's
lines of the latter name it (`beside`); its others, such as those of Arrow bodies, other
hosts or the time after it, are of other requests. What the monitor asks of a
window against its holdout is asked of the canary's rows against the champion's: the
primary metric, and each gate.

It is looked at again and again, while its rows and labels grow. The chance that any
look takes a good canary back stays that of one run of the monitor, however many looks
there are: the k-th has 1 / (k (k + 1)) of it, and these shares sum to 1 (alpha
spending: Lan and DeMets 1983, Biometrika 70, 659-663; the bound is Bonferroni's).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mlgitops.monitor import data_quality, performance
from mlgitops.monitor.evidence import Fall, GatedMetric
from mlgitops.monitor.performance import PERFORMANCE, ProductionGate
from mlgitops.monitor.primary_metric import PrimaryMetric
from mlgitops.monitor.wording import plural
from mlgitops.pipeline.contract import Contract
from mlgitops.prediction_log import Entry, in_share
from mlgitops.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

LOOK_HOURS = 3  # from one look to the next: the schedule of monitor.yml


@dataclass(frozen=True)
class Canary:
    """The version that answers a share of the rows, as the ledger has it."""

    manifest_sha256: str
    share: float = 0.0  # of the rows that it is to answer
    look: int = 1  # the number of this look at it, from 1

    @classmethod
    def of(cls, record: Mapping[str, Any], now: datetime) -> Canary:
        """Return the canary of a record of the ledger, at its next look."""
        age = now - datetime.fromisoformat(record["since"])
        look = 1 + max(0, age // timedelta(hours=LOOK_HOURS))
        return cls(str(record["manifest_sha256"]), float(record["share"]), look)


@dataclass
class Comparison:
    """A canary's rows beside those of the champion while it answered."""

    manifest_sha256: str
    version: str | None = None
    rows: int = 0
    champion_rows: int = 0
    missed: int = 0  # rows of its share that the champion answered
    labels: int = 0
    champion_labels: int = 0
    metric: str = ""
    fall: Fall | None = None  # `window` is the canary, `holdout` the champion
    gated: list[GatedMetric] = field(default_factory=list)
    unmeasured: str = ""  # why there is no verdict yet
    take_back: str = ""  # why it is to be taken back

    def record(self) -> dict[str, Any]:
        """Return it as the ledger keeps it."""
        entry = {n: v for n, v in vars(self).items() if n not in ("fall", "gated")}
        if self.fall is not None:
            numbers = ("window", "holdout", "difference", "low", "high", "confidence")
            entry |= {name: round(getattr(self.fall, name), 6) for name in numbers}
        return entry


def compare(
    entries: Sequence[Entry],
    champion_sha256: str,
    canary: Canary,
    labels: Mapping[str, Any],
    contract: Contract,
    metric: PrimaryMetric,
    gates: Sequence[ProductionGate],
    limits: Monitor,
) -> Comparison:
    """Compare a canary's rows with those of the champion that it could have had."""
    canary_sha256 = canary.manifest_sha256
    entries_of_canary = [e for e in entries if e.manifest_sha256 == canary_sha256]
    result = Comparison(canary_sha256, metric=metric.label)
    if not entries_of_canary:
        result.unmeasured = "the prediction log has no row that it answered"
        return result
    times = [entry.logged_at for entry in entries_of_canary]
    since, until = min(times), max(times)
    of_champion = [e for e in entries if e.manifest_sha256 == champion_sha256]
    others = [
        entry
        for entry in of_champion
        if entry.beside == canary_sha256 and since <= entry.logged_at <= until
    ]
    result.version = entries_of_canary[0].version
    result.rows, result.champion_rows = len(entries_of_canary), len(others)
    result.missed = sum(
        since <= entry.logged_at <= until
        and in_share(canary_sha256, entry.id, canary.share)
        for entry in of_champion
    )
    canary_rows, champion_rows = (
        _labelled(part, labels, contract) for part in (entries_of_canary, others)
    )
    result.labels, result.champion_labels = len(canary_rows), len(champion_rows)
    if min(len(canary_rows), len(champion_rows)) < limits.min_labels:
        counts = f"{result.labels:,} and {result.champion_labels:,} labels"
        result.unmeasured = f"{counts}, both need {limits.min_labels:,}"
    elif not (metric.defined(canary_rows) and metric.defined(champion_rows)):
        result.unmeasured = "the labels lack a class, or are all the same"
    else:
        rate = limits.false_alarm_rate / (canary.look * (canary.look + 1))
        limits = replace(limits, false_alarm_rate=rate)
        _measure(result, canary_rows, champion_rows, metric, gates, limits)
    return result


def _measure(
    result: Comparison,
    canary: pd.DataFrame,
    champion: pd.DataFrame,
    metric: PrimaryMetric,
    gates: Sequence[ProductionGate],
    limits: Monitor,
) -> None:
    """Fill in the metrics of both, and why the canary is to be taken back, if so."""
    rate = limits.false_alarm_rate * PERFORMANCE / (2 if gates else 1)
    result.fall = fall = performance.fall(canary, champion, metric, 1 - 2 * rate)
    result.gated = performance.gated(canary, champion, metric, gates, rate)
    if fall.high < -limits.max_fall:
        result.take_back = (
            f"{metric.label} is {fall.window:.3f} beside the champion's "
            f"{fall.holdout:.3f}, difference {fall.difference:+.3f} "
            f"[{fall.low:+.3f}, {fall.high:+.3f}], limit {-limits.max_fall:+g}"
        )
        return
    for gate in result.gated:
        if gate.passed is False:
            result.take_back = (
                f"{gate.label} is {gate.window:.4g} beside the champion's "
                f"{gate.holdout:.4g}, limit {gate.limit:.4g}"
            )
            return


def rows(comparison: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return a comparison, as the ledger has it, as rows: name, value, note."""
    counts = f"{comparison['rows']:,}, champion {comparison['champion_rows']:,}"
    facts = [("rows answered while it did", counts, "")]
    if missed := comparison["missed"]:
        value = f"{missed:,} of {plural(comparison['rows'] + missed, 'row')}"
        note = "it refused them, failed, was late, or was not asked (docs/shadow.md)"
        facts.append(("of its share, answered by the champion", value, note))
    if "difference" in comparison:
        low, high = comparison["low"], comparison["high"]
        value = f"{comparison['window']:.4f}, champion {comparison['holdout']:.4f}"
        value += (
            f", difference {comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        )
        labels = plural(comparison["labels"], "label")
        note = f"of {labels}, champion {comparison['champion_labels']:,}"
        facts.append((comparison["metric"], value, note))
    else:
        facts.append((comparison["metric"], "not known", comparison["unmeasured"]))
    state = comparison["take_back"] or "no reason to"
    return [*facts, ("taken back", state, "")]


def _labelled(
    entries: Sequence[Entry], labels: Mapping[str, Any], contract: Contract
) -> pd.DataFrame:
    """Return the entries that keep the contract and have a label, as a table."""
    from mlgitops.monitor import window

    fitting = [e for e in entries if e.id in labels and window.fits(e, contract)]
    return data_quality.quarantine(
        window.frame(fitting, labels, contract), contract
    ).valid
