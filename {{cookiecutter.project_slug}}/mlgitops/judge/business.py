"""What the decisions are worth, by main's section `business` of params.yaml."""

from typing import Any

from mlgitops import settings
from mlgitops.judge import compare
from mlgitops.judge.tasks import Price
from mlgitops.judge.trial import Trial

PER = 1_000  # decisions


def add(trial: Trial) -> None:
    """Add the value per 1,000 decisions, and the best that these answers could be."""
    task, y = trial.task, trial.y
    worth = settings.business(trial.params, trial.contract)
    if worth is None:
        return
    price = Price(worth, trial.contract.classes)
    values = {
        who: PER * task.worth(y, side.decisions, price)
        for who, side in trial.sides.items()
    }
    new = trial.challenger
    best = task.best(y, new.scores, new.manifest, price)
    found: dict[str, Any] = {
        "unit": worth.unit,
        "per": PER,
        "champion": None,
        **{who: float(rows.mean()) for who, rows in values.items()},
        **best,
        "best": PER * best["best"],
    }
    if "champion" in values:
        pair = (values["champion"], values["challenger"])
        gap = compare.mean_difference(*pair, trial.rules.confidence, trial.clusters)
        found |= {"difference": gap.difference, "low": gap.low, "high": gap.high}
    trial.found["business"] = found
