"""What a challenger is tried on: rows, truth, and one or two models before the judge.

Each part of the judge has `add(trial)`, which leaves in `trial.found` what it finds.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mlgitops.judge import sandbox
from mlgitops.judge.gates import Gates, Rules
from mlgitops.judge.tasks import TASKS, Task
from mlgitops.judgement import Judgement, Refused
from mlgitops.pipeline import data, task
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.serving.verify import distance

Scores = NDArray[np.float64]
Inputs = dict[str, NDArray[Any]]  # what a model is fed, per column [rows, 1]


@dataclass
class Side:
    """One model: its folder, its manifest, its answers to the holdout, (rows, ...)."""

    folder: Path
    manifest: dict[str, Any]
    scores: Scores = field(default_factory=lambda: np.empty(0))
    latency: Scores = field(default_factory=lambda: np.empty(0))  # ms of one row
    golden: float = 0.0  # the worst difference to the manifest's golden answers

    @property
    def decisions(self) -> NDArray[Any]:
        """What the model decides on each row of the holdout."""
        return self.task.decided(self.scores, self.manifest)

    @property
    def task(self) -> Task:
        """What the model is for."""
        return TASKS[self.manifest["task"]]


@dataclass(kw_only=True)
class Trial:
    """All that a part may look at; `gates` and `params` are main's."""

    contract: Contract
    params: dict[str, Any]
    gates: Gates
    holdout: pd.DataFrame  # rows that both models are new to
    challenger: Side
    champion: Side | None
    rows: pd.DataFrame  # all of the proposed data
    before: pd.DataFrame | None = None  # the champion's, where it is other data
    same_data: bool = True
    found: Judgement = field(default_factory=Judgement)

    @property
    def rules(self) -> Rules:
        """The rules that are not of one metric."""
        return self.gates.rules

    @property
    def y(self) -> NDArray[Any]:
        """The truth of the holdout, as the measures take it."""
        return data.truth(self.holdout, self.contract)

    @cached_property
    def clusters(self) -> NDArray[np.int64] | None:
        """The number of each row's entity, or None where every row is its own."""
        name = self.contract.entity
        return np.asarray(pd.factorize(self.holdout[name])[0]) if name else None

    @property
    def task(self) -> Task:
        """What the judge asks of this task."""
        return TASKS[self.contract.task]

    @property
    def sides(self) -> dict[str, Side]:
        """The models by name, the champion first where there is one."""
        both = {"champion": self.champion, "challenger": self.challenger}
        return {who: side for who, side in both.items() if side is not None}


def score(side: Side, rows: pd.DataFrame, contract: Contract) -> None:
    """Fill in the side's scores of the rows and of its golden rows, and its latency.

    Raises:
        Refused: the file cannot be scored, or answers what is no answer.
    """
    golden = side.manifest["golden"]
    known = pd.DataFrame([item["row"] for item in golden], dtype=object)
    clock = side.folder / "clock.npy"
    parts = [fed(side, table, contract) for table in (rows, known)]
    answers = predict(side, parts, contract, clock)
    side.scores = answers[: len(rows)]
    about = task.TASKS[contract.task]
    told = about.plain(answers[len(rows) :], contract.classes)
    side.golden = distance(golden, [{about.output: answer} for answer in told])
    side.latency = np.load(clock, allow_pickle=False)


def fed(side: Side, table: pd.DataFrame, contract: Contract) -> Inputs:
    """Return a table's rows as the model is fed with them.

    Raises:
        Refused: the contract and the model do not agree on the columns.
    """
    try:
        return data.inputs(table, contract, side.manifest["columns"])
    except (ContractError, KeyError, TypeError, ValueError) as error:
        why = f"main's contract does not give what the model needs: {error}"
        raise Refused("model_columns", why) from error


def predict(
    side: Side, parts: list[Inputs], contract: Contract, *clock: Path
) -> Scores:
    """Return the answers, float64, to the rows of all parts, scored in one child.

    Raises:
        Refused: the file cannot be scored, or answers what is no answer.
    """
    columns = side.manifest["columns"]
    arrays = [np.concatenate([part[name] for part in parts]) for name in columns]
    plain = [a.astype(str) if a.dtype == object else a for a in arrays]
    inputs, result = side.folder / "inputs.npz", side.folder / "scores.npy"
    np.savez(inputs, *plain, names=np.array(columns))  # a name may be any text
    model = side.folder / side.manifest["model"]["file"]
    output, k = task.TASKS[contract.task].output, len(contract.classes)
    what = (model, inputs, result, output, max(k, 1), *clock)
    sandbox.run("model_file", "mlgitops.judge.score", *what)
    answers = np.load(result, allow_pickle=False)
    shape = (len(arrays[0]), *([k] if k else []))
    if answers.shape != shape or answers.dtype != np.float64:
        raise Refused("predictions", f"the model does not give one {output} a row")
    good = TASKS[contract.task].possible(answers)
    if not good.all():
        raise Refused(
            "predictions",
            TASKS[contract.task].impossible,
            value=int((~good).sum()),
            operator="<=",
            limit=0,
            unit="rows",
        )
    return np.asarray(answers)


def read(folder: Path) -> Side | None:
    """Return the model in a folder, if there is one."""
    file = folder / "manifest.json"
    return Side(folder, json.loads(file.read_bytes())) if file.is_file() else None
