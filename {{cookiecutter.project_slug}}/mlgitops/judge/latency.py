"""How long one row takes on the exported file, and how large the file is."""

import numpy as np

from mlgitops.judge import checks
from mlgitops.judge.evaluation import Evaluation, Model
from mlgitops.judgement import ByModel, Footprint


def add(evaluation: Evaluation) -> None:
    """Add both models' latency and size, and the gates on the challenger's."""
    footprint = ByModel(**evaluation.each(_footprint))
    rules, challenger = evaluation.rules, footprint.challenger
    evaluation.judgement.checks += [
        checks.latency(challenger.p99_ms, evaluation.served.slowest, rules),
        checks.size(challenger.megabytes, rules),
    ]
    evaluation.judgement.footprint = footprint


def _footprint(model: Model) -> Footprint:
    """Return one model's latency and size."""
    p50, p99 = np.quantile(model.latency, (0.5, 0.99))
    return Footprint(float(p50), float(p99), model.manifest["model"]["bytes"] / 1e6)
