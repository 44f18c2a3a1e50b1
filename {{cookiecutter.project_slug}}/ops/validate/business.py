"""What the decisions are worth, by main's section `business` of params.yaml."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ops.validate import compare
from ops.validate.trial import Trial

KINDS = ("true_positive", "false_positive", "false_negative", "true_negative")
PER = 1_000  # decisions


def add(trial: Trial) -> None:
    """Add the value per 1,000 decisions, and the threshold that would be worth most."""
    section = parse(trial.params.get("business"))
    if section is None:
        return
    y = trial.y == 1
    values = {
        who: PER * worth(y, side.decisions, section)
        for who, side in trial.sides.items()
    }
    threshold, best = best_threshold(y, trial.challenger.scores, section)
    found: dict[str, Any] = {
        "unit": section["unit"],
        "per": PER,
        "champion": None,
        **{who: float(rows.mean()) for who, rows in values.items()},
        "threshold": trial.challenger.manifest["threshold"],
        "best_threshold": threshold,
        "best": PER * best,
    }
    if "champion" in values:
        pair = (values["champion"], values["challenger"])
        gap = compare.mean_difference(*pair, trial.rules.confidence)
        found |= {"difference": gap.difference, "low": gap.low, "high": gap.high}
    trial.found["business"] = found


def parse(section: Any) -> Mapping[str, Any] | None:
    """Read the section; None when a project has none.

    Raises:
        SystemExit: a value is missing, unknown or not a number.
    """
    if section is None:
        return None
    known = {"unit", *KINDS}
    if not isinstance(section, Mapping) or set(section) != known:
        names = ", ".join(sorted(known))
        raise SystemExit(
            f"params.yaml: section business has to name {names} and nothing else; "
            "or leave the section out"
        )
    for name in KINDS:
        value = section[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not np.isfinite(value):
            raise SystemExit(f"params.yaml: business.{name} has to be a number")
    return section


def worth(y: Any, decided: Any, section: Mapping[str, Any]) -> Any:
    """Return what each decision (bool [n]) is worth, given the truth (bool [n])."""
    right = np.where(y, section["true_positive"], section["false_positive"])
    left = np.where(y, section["false_negative"], section["true_negative"])
    return np.where(decided, right, left).astype(np.float64)


def best_threshold(
    y: Any, scores: Any, section: Mapping[str, Any]
) -> tuple[float, float]:
    """Return the threshold worth most on these rows, and its worth per decision.

    Every score is tried as a threshold, and one above all of them ("never").
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    yes = worth(y, np.ones(len(y), bool), section)
    no = worth(y, np.zeros(len(y), bool), section)
    total = float(no.sum()) + np.append(0.0, np.cumsum((yes - no)[order]))
    last = np.append(0, np.flatnonzero(np.append(np.diff(ranked) != 0, True)) + 1)
    place = int(last[np.argmax(total[last])])
    threshold = float(ranked[place - 1]) if place else float(np.nextafter(ranked[0], 2))
    return threshold, float(total[place] / len(y))
