"""The promise of a version's intervals or sets, watched as a gate on a metric; pure.

It is recomputed from logged predictions and the manifest: nothing more is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mlgitops import metrics, settings
from mlgitops.monitor.evidence import Abstained
from mlgitops.monitor.performance import ProductionGate
from mlgitops.pipeline import intervals


def gates(manifest: Mapping[str, Any]) -> list[ProductionGate]:
    """Return the gate that the truth is inside as often as promised, or none.

    Its limit is the promised coverage, or what the version had on its holdout where
    that is less (`ProductionGate.limit`): below it beyond doubt is an alarm.
    """
    stated = manifest.get("intervals")
    if stated is None:
        return []

    def coverage(y: ArrayLike, p: ArrayLike) -> float:
        inside = intervals.covered(np.asarray(y), np.asarray(p), stated)
        return float(inside.mean())

    said = "sets" if stated["method"] == intervals.SETS else "intervals"
    metric = metrics.Metric("coverage", f"Coverage of {said}", "higher", coverage)
    return [ProductionGate(metric, settings.Bounds(min=stated["coverage"]))]


def abstained(
    manifest: Mapping[str, Any], window: ArrayLike, holdout: ArrayLike
) -> Abstained | None:
    """Return on which share of rows nothing was decided; None where all rows are.

    `window` and `holdout` are predictions, [n] or [n, classes]. It needs no label.
    """
    stated = manifest.get("intervals")
    if stated is None or not stated["abstain"]:
        return None
    shares = (
        float((intervals.sizes(np.asarray(p), stated) != 1).mean())
        for p in (window, holdout)
    )
    return Abstained(*shares)
