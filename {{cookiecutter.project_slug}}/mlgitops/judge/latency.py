"""How long one row takes on the exported file, and how large the file is."""

import numpy as np

from mlgitops.judge import gates
from mlgitops.judge.trial import Trial
from mlgitops.judgement import ByModel, Footprint


def add(trial: Trial) -> None:
    """Add both models' latency and size, and the gates on the challenger's."""
    new = trial.challenger
    p99 = float(np.quantile(new.latency, 0.99))
    trial.found.checks.append(gates.latency(p99, trial.rules))
    size = gates.size(new.manifest["model"]["bytes"], trial.rules)
    trial.found.checks.append(size)
    trial.found.footprint = ByModel(
        **{
            who: Footprint(
                p50_ms=float(np.median(side.latency)),
                p99_ms=float(np.quantile(side.latency, 0.99)),
                megabytes=side.manifest["model"]["bytes"] / 1e6,
            )
            for who, side in trial.sides.items()
        }
    )
