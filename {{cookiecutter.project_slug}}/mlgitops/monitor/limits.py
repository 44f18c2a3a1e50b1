"""What params.yaml tells the monitor, checked before anything is read; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlgitops.pipeline.contract import ContractError

SPANS: dict[str, tuple[float, float]] = {
    "window_days": (0.01, 10_000),
    "every_days": (0.01, 366),
    "min_rows": (30, 1e9),
    "min_labels": (100, 1e9),
    "false_alarm_rate": (1e-4, 0.2),
    "block_days": (0, 366),
    "confirm_parts": (1, 10),
    "cooldown_days": (0, 10_000),
    "precision": (1e-3, 0.1),
    "number": (1e-3, 10),
    "category": (1e-3, 1),
    "prediction": (1e-3, 10),
    "max_missing": (0, 1),
    "max_broken": (0, 1),
    "max_corrupt": (0, 1),
    "max_duplicate": (0, 1),
    "min_group": (10, 1e9),
    "confidence": (0.5, 0.99999),
    "max_fall": (0, 0.5),
    "min_gain": (0, 0.5),
    "probe_rows": (1000, 1e9),
}
SURE = 0.99  # that a sample is as precise as monitor.precision says


def limits(params: Any) -> dict[str, Any]:
    """Return the section ``monitor`` of the parsed params.yaml.

    Raises:
        ContractError: a setting is missing or makes no sense; names it.
    """
    found = dict(_mapping(params, "monitor"))
    for name, (low, high) in SPANS.items():
        _number(found, "monitor", name, low, high)
    found["columns"] = dict(found.get("columns") or {})
    for name in found["columns"]:
        _number(found["columns"], "monitor.columns", name, 1e-3, 1e3)
    found["sample_rows"] = sample_rows(float(found["precision"]))
    return found


def sample_rows(precision: float) -> int:
    """Return how many rows show every share of a column within ``precision``.

    With 99 % confidence, for the whole distribution function at once. Massart (1990),
    Annals of Probability 18(3): n = ln(2 / 0.01) / (2 precision^2).
    """
    return math.ceil(math.log(2 / (1 - SURE)) / (2 * precision**2))


def keep_days(params: Any) -> float:
    """Return ``retrain.keep_days``; raises ContractError when it makes no sense."""
    return _retrain(params, "keep_days", 0.01, 100_000)


def min_days(params: Any) -> float:
    """Return ``retrain.min_days``; raises ContractError when it makes no sense."""
    return _retrain(params, "min_days", 0, 100_000)


def _retrain(params: Any, name: str, low: float, high: float) -> float:
    """Return one setting of the section ``retrain``."""
    section = _mapping(params, "retrain")
    _number(section, "retrain", name, low, high)
    return float(section[name])


def _mapping(params: Any, name: str) -> Mapping[str, Any]:
    """Return a section."""
    found = params.get(name) if isinstance(params, Mapping) else None
    if not isinstance(found, Mapping):
        raise ContractError(f'params.yaml has no section "{name}"; add it.')
    return found


def _number(
    found: Mapping[str, Any], where: str, name: str, low: float, high: float
) -> None:
    """Refuse what is not a number in its span."""
    value = found.get(name)
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not low <= float(value or 0) <= high:
        raise ContractError(
            f"params.yaml: {where}.{name} is {value}; it must be a number from "
            f"{low:g} to {high:g}."
        )
