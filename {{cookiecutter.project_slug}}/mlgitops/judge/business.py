"""What the decisions are worth, by main's section `business` of params.yaml."""

import msgspec

from mlgitops import settings
from mlgitops.judge import compare
from mlgitops.judge.tasks import Price
from mlgitops.judge.trial import Trial
from mlgitops.judgement import Business

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
    old, gap = values.get("champion"), None
    if old is not None:
        pair = (old, values["challenger"])
        gap = compare.mean_difference(*pair, trial.rules.confidence, trial.clusters)
    trial.found.business = Business(
        unit=worth.unit,
        per=PER,
        champion=None if old is None else float(old.mean()),
        challenger=float(values["challenger"].mean()),
        difference=None if gap is None else gap.difference,
        low=None if gap is None else gap.low,
        high=None if gap is None else gap.high,
        best=msgspec.structs.replace(best, best=PER * best.best),
    )
