"""Keeps thresholds from one run to the next: the same question has the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mlgitops.monitor.null_distribution import Thresholds

FOLDER = Path("build", "thresholds")


def cached(draw: Callable[[], Thresholds], key: Sequence[object]) -> Thresholds:
    """Return what ``draw`` gives, from the last time if ``key`` is the same."""
    text = json.dumps(key, sort_keys=True, default=str)
    file = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError):
        return Thresholds(*json.loads(file.read_text(encoding="utf-8")))
    thresholds = draw()
    with suppress(OSError):  # a cache that cannot be written is only slower
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(thresholds), encoding="utf-8")
    return thresholds
