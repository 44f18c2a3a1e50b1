"""Keeps thresholds from one run to the next: the same question has the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlgitops.monitor.null_distribution import MOST_ROWS, Thresholds

FOLDER = Path("build", "thresholds")


def cached(draw: Callable[[], Thresholds], key: tuple[Any, ...]) -> Thresholds:
    """Return what ``draw`` gives, from the last time if version and size are the same.

    ``key`` is (version, which rows, columns, rows, blocks, settings).
    """
    version, which_rows, shape, rows, blocks, limits = key
    settings = [limits.false_alarm_rate, limits.block_days, limits.sample_rows]
    question = [version, which_rows, shape, min(rows, MOST_ROWS), blocks, settings]
    text = json.dumps(question, sort_keys=True, default=str)
    file = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError):
        return Thresholds(*json.loads(file.read_text(encoding="utf-8")))
    thresholds = draw()
    with suppress(OSError):  # a cache that cannot be written is only slower
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(thresholds), encoding="utf-8")
    return thresholds
