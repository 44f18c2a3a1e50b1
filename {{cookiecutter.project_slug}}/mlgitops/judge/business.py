"""What the decisions are worth, by main's section `business` of params.yaml."""

import msgspec

from mlgitops import settings
from mlgitops.judge import compare
from mlgitops.judge.evaluation import Evaluation
from mlgitops.judge.tasks import Price
from mlgitops.judgement import Business

PER = 1_000  # decisions


def add(evaluation: Evaluation) -> None:
    """Add the worth per 1,000 decisions, and the best these predictions could be."""
    section = settings.business(evaluation.params, evaluation.contract)
    if section is None:
        return
    task, y, model = evaluation.task, evaluation.y, evaluation.challenger
    price = Price(section, evaluation.contract.classes)
    best = task.best(y, model.predictions, model.manifest, price)
    worth = PER * task.worth(y, model.decisions, price)
    business = Business(
        unit=section.unit,
        per=PER,
        challenger=float(worth.mean()),
        best=msgspec.structs.replace(best, best=PER * best.best),
    )
    if evaluation.champion is not None:
        before = PER * task.worth(y, evaluation.champion.decisions, price)
        gap = compare.mean_difference(
            before, worth, evaluation.rules.confidence, evaluation.groups
        )
        business = msgspec.structs.replace(
            business,
            champion=float(before.mean()),
            difference=gap.difference,
            low=gap.low,
            high=gap.high,
        )
    evaluation.judgement.business = business
