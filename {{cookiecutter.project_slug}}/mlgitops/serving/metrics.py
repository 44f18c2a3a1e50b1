"""What a server counts, for Prometheus: requests, refusals, time, rows, the log.

Counting is plain arithmetic, as each request pays for it. Only who asks for /metrics
loads the library that writes the format down.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from mlgitops.prediction_log import Value
from mlgitops.serving.reasons import Reason
from mlgitops.serving.typed import Usual

if TYPE_CHECKING:
    from prometheus_client import Metric

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)  # s
TYPE = b"text/plain; version=0.0.4; charset=utf-8"
OUTCOMES = ("rows", "refused", "failed", "unlogged", "skipped", "queued")  # of a shadow
STATES = ("written", "queued", "dropped", "lost")  # of lines of the prediction log


class Counts:
    """Numbers since the start of a server."""

    def __init__(self, columns: Mapping[str, Mapping[str, Any]]) -> None:
        """`columns` are those of the contract; none where there is no model."""
        self.responses: Counter[tuple[str, int]] = Counter()  # by path and status
        self.reasons: Counter[str] = Counter()  # of those that are not 200
        self.durations = [0] * (len(BUCKETS) + 1)  # of predictions, by bucket
        self.seconds = 0.0
        self.timed = {"/predict"}  # paths that predict
        self.rows = 0
        self.unknown: Counter[str] = Counter()  # categories that training never saw
        self.outside: Counter[str] = Counter()  # numbers outside the contract's range
        self.known = {
            name: frozenset(map(str, column.get("categories") or ()))
            for name, column in columns.items()
            if column["type"] == "category"
        }
        self.ranges = {
            name: (float(column.get("min", -inf)), float(column.get("max", inf)))
            for name, column in columns.items()
            if column["type"] in ("number", "integer")
        }
        self._usual = _usual(self.known, self.ranges)

    def responded(self, path: str, seconds: float) -> None:
        """Count a response with status 200; `path` is one that the server knows."""
        self.responses[path, 200] += 1
        if path in self.timed:
            self.durations[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds

    def refused(self, path: str, status: int, reason: Reason) -> None:
        """Count another response; `path` is one that the server knows, or "other"."""
        self.responses[path, status] += 1
        self.reasons[reason] += 1

    def predicted(self, rows: Sequence[Mapping[str, Value]]) -> None:
        """Count rows that got a prediction, and what training never saw in them."""
        self.rows += len(rows)
        if self._usual(rows):
            return
        for row in rows:
            if len(rows) > 1 and self._usual([row]):
                continue
            for name, known in self.known.items():
                value = row.get(name)
                if value is not None and value != "" and value not in known:
                    self.unknown[name] += 1
            for name, (low, high) in self.ranges.items():
                number: Any = row.get(name)
                if number is not None and not low <= number <= high:
                    self.outside[name] += 1

    def predicted_columns(
        self, rows: int, unknown: Counter[str], outside: Counter[str]
    ) -> None:
        """Count rows that came as columns, and what training never saw in them."""
        self.rows += rows
        self.unknown.update(unknown)
        self.outside.update(outside)

    @property
    def columns(self) -> tuple[list[str], list[str]]:
        """The columns with categories, and those with a range."""
        return [*self.known], [*self.ranges]


def _usual(
    categories: Mapping[str, frozenset[str]], ranges: Mapping[str, tuple[float, float]]
) -> Callable[[Sequence[Mapping[str, Value]]], bool]:
    """Return what tells of most requests that there is nothing to count in them."""
    try:
        return Usual(categories, ranges)
    except ValueError:  # a name with a quote, which msgspec refuses
        return lambda rows: False


def load() -> None:
    """Load the library that `text` needs; the first time takes a tenth of a second."""
    import prometheus_client  # noqa: F401


def text(counts: Counts, info: Mapping[str, Any]) -> bytes:
    """Return the numbers in Prometheus' text format; `info` is what /info says."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collected:
        def collect(self) -> Iterator[Metric]:
            return _families(counts, info)

    registry = CollectorRegistry()
    registry.register(Collected())
    return generate_latest(registry)


def _families(counts: Counts, info: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield each family of numbers; the names follow Prometheus' own conventions."""
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    responses = CounterMetricFamily(
        "model_responses", "Responses by path and status.", labels=("path", "status")
    )
    for (path, status), number in sorted(counts.responses.items()):
        responses.add_metric((path, str(status)), number)
    yield responses
    refusals = CounterMetricFamily(
        "model_refusals",
        "Responses with another status than 200, by reason.",
        labels=("reason",),
    )
    for reason in Reason:
        refusals.add_metric((reason.value,), counts.reasons[reason])
    yield refusals
    yield HistogramMetricFamily(
        "model_prediction_seconds",
        "Time from the request to the response of a prediction, where it was 200.",
        buckets=_cumulative(counts.durations),
        sum_value=counts.seconds,
    )
    yield CounterMetricFamily("model_rows", "Rows with a prediction.", counts.rows)
    categories, ranges = counts.columns
    for name, about, found, columns in (
        (
            "unknown_categories",
            "Categories not in contract.yaml",
            counts.unknown,
            categories,
        ),
        (
            "out_of_range",
            "Numbers outside contract.yaml's range",
            counts.outside,
            ranges,
        ),
    ):
        family = CounterMetricFamily(
            f"model_{name}", f"{about}, by column.", labels=("column",)
        )
        for column in columns:
            family.add_metric((column,), found[column])
        yield family
    lines = GaugeMetricFamily(
        "model_log_lines", "Lines of the prediction log, by state.", labels=("state",)
    )
    for state in STATES if info["log"] else ():
        lines.add_metric((state,), info["log"][state])
    yield lines
    if shadow := info.get("shadow"):
        rows = GaugeMetricFamily(
            "model_shadow_rows",
            "Answered rows that a challenger was to predict too, by outcome.",
            labels=("outcome", "manifest_sha256"),
        )
        for outcome in OUTCOMES:
            names = (outcome, str(shadow["manifest_sha256"] or ""))
            rows.add_metric(names, shadow[outcome])
        yield rows
        description = "Seconds of CPU that the challenger took."
        yield CounterMetricFamily(
            "model_shadow_cpu", description, shadow["cpu_seconds"]
        )
    if canary := info.get("canary"):
        description = "Rows that the canary answered; its share is in /info."
        yield CounterMetricFamily("model_canary_rows", description, canary["rows"])
        description = "Requests with rows that the champion answered in its place."
        yield CounterMetricFamily("model_canary_faults", description, canary["faults"])
        description = "1 while the canary answers."
        yield GaugeMetricFamily(
            "model_canary_answers", description, float(canary["answers"])
        )
    ready = GaugeMetricFamily(
        "model_ready",
        "1 where predictions are answered; the labels say by which version.",
        labels=("name", "version", "manifest_sha256"),
    )
    labels = [str(info[n] or "") for n in ("name", "version", "manifest_sha256")]
    ready.add_metric(labels, float(info["ready"]))
    yield ready


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return (upper bound, how many are at most that)."""
    bounds, total, found = [*map(str, BUCKETS), "+Inf"], 0, []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        found.append((bound, float(total)))
    return found
