"""Does the server predict what was judged, for every row that it may be asked?

The server's own code loads the challenger in a confined child (`mlgitops.judge.serve`)
before anything else does, and is asked rows of the holdout and of the contract's edges.
"""

import msgspec
import numpy as np

from mlgitops.judge import checks, sandbox
from mlgitops.judge.evaluation import Evaluation, Served, inputs
from mlgitops.judgement import Refused
from mlgitops.pipeline import golden, task

SAMPLE = 200  # rows of the holdout that are asked
REASONS = (
    "{:,} rows get one prediction, alone and in batches, and those of the holdout the "
    "one that was judged",
    "the server does not predict what was judged",
)


def ask(evaluation: Evaluation) -> None:
    """Fill in what a server of the challenger predicts.

    Raises:
        Refused: it does not start, fails, or answers by something else than the row.
    """
    model, contract, rules = (
        evaluation.challenger,
        evaluation.contract,
        evaluation.rules,
    )
    table = evaluation.holdout.iloc[evaluation.sample(SAMPLE, seed=3)]
    inputs(model, table, contract)
    names = ("sample.json", "served.json", "asked.txt")
    sample, result, note = (model.folder / name for name in names)
    sample.write_bytes(msgspec.json.encode(golden.requests(table, contract)))
    limits = (str(rules.latency.p99_max_ms), str(rules.parity.max))
    arguments = (model.folder, sample, result, note, *limits)
    try:
        sandbox.run("serving", "mlgitops.judge.serve", *arguments)
    except Refused as refusal:
        asked = note.read_text(errors="replace").strip() if note.is_file() else ""
        about = f", when it was asked for {asked}" if asked else ""
        raise Refused("serving", f"the server: {refusal}{about}") from refusal
    served = msgspec.json.decode(result.read_bytes(), type=Served)
    if served.check:
        raise Refused(served.check, served.reason)
    evaluation.served = served


def add(evaluation: Evaluation) -> None:
    """Add the check that the server predicts what was judged."""
    served, challenger = evaluation.served, evaluation.challenger
    rows = evaluation.sample(SAMPLE, seed=3)[: len(served.predictions)]
    judged = challenger.predictions[rows]
    scale = task.TASKS[evaluation.contract.task].scale(judged)
    gap = float(np.abs(np.asarray(served.predictions) - judged).max()) / scale
    worst, limit = max(gap, served.difference), evaluation.rules.parity.max
    reasons = (REASONS[0].format(served.asked), REASONS[1])
    check = checks.held("serving", worst, "<=", limit, reasons, gate=False)
    evaluation.judgement.checks.append(check)
