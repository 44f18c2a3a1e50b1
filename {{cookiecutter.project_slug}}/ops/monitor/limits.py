"""What params.yaml tells the monitor, checked before anything is read; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ops.monitor.checks import DISTANCES
from pipeline.contract import ContractError

SPANS: dict[str, tuple[float, float]] = {
    "window_days": (0.01, 10_000),
    "min_rows": (100, 1e9),
    "min_labels": (100, 1e9),
    "sample_rows": (1000, 1e9),
    "max_missing": (0, 1),
    "max_broken": (0, 1),
    "max_corrupt": (0, 1),
    "max_duplicate": (0, 1),
    "confidence": (0.5, 0.99999),
    "max_fall": (0, 0.5),
    "min_gain": (0, 0.5),
    "probe_rows": (1000, 1e9),
}
RULES = ("number", "category", "prediction")


def limits(params: Any) -> dict[str, Any]:
    """Return the section ``monitor`` of the parsed params.yaml.

    Raises:
        ContractError: a setting is missing or makes no sense; names it.
    """
    found = dict(_mapping(params, "monitor"))
    for name, (low, high) in SPANS.items():
        _number(found, "monitor", name, low, high)
    for name in RULES:
        _rule(_mapping(found, name, "monitor."), f"monitor.{name}")
    found["columns"] = dict(found.get("columns") or {})
    for name, rule in found["columns"].items():
        if not isinstance(rule, Mapping):
            raise ContractError(
                f"params.yaml: monitor.columns.{name} is {rule}; type method or "
                "threshold, such as {threshold: 0.5}."
            )
    return found


def keep_days(params: Any) -> float:
    """Return ``retrain.keep_days``; raises ContractError when it makes no sense."""
    section = _mapping(params, "retrain")
    _number(section, "retrain", "keep_days", 0.01, 100_000)
    return float(section["keep_days"])


def _rule(rule: Mapping[str, Any], where: str) -> None:
    """Refuse a drift rule without a known method and a threshold above 0."""
    if rule.get("method") not in DISTANCES:
        raise ContractError(
            f"params.yaml: {where}.method is {rule.get('method')}; type one of "
            f"{', '.join(sorted(DISTANCES))}."
        )
    _number(rule, where, "threshold", 1e-9, 1e9)


def _mapping(params: Any, name: str, above: str = "") -> Mapping[str, Any]:
    """Return a section."""
    found = params.get(name) if isinstance(params, Mapping) else None
    if not isinstance(found, Mapping):
        raise ContractError(f'params.yaml has no section "{above}{name}"; add it.')
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
