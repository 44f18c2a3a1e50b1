"""Keeps thresholds from one run to the next: the same question has the same answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlgitops.monitor.calibrate import MOST_ROWS, Null

FOLDER = Path("build", "thresholds")


def cached(make: Callable[[], Null], key: tuple[Any, ...]) -> Null:
    """Return what ``make`` gives, from the last time if version and size are the same.

    ``key`` is (version, which rows, columns, rows, blocks, settings).
    """
    version, words, shape, rows, blocks, limits = key
    asked = [limits.false_alarm_rate, limits.block_days, limits.sample_rows]
    question = [version, words, shape, min(rows, MOST_ROWS), blocks, asked]
    text = json.dumps(question, sort_keys=True, default=str)
    place = FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError):
        return Null(*json.loads(place.read_text(encoding="utf-8")))
    found = make()
    with suppress(OSError):  # a cache that cannot be written is only slower
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(found), encoding="utf-8")
    return found
